"""A sequential detector of a shifted mean that may be asked after every value, with a stated false-alarm rate.

A Shiryaev-Roberts e-detector (Shin, Ramdas & Rinaldo 2023) whose increments are bets (Waudby-Smith & Ramdas 2024): for
values in [0, 1] whose mean was between ``low`` and ``high``, and bets λ_k with prior π_k::

    R_k ← (1 + R_k) · (1 + λ_k (low - x))          R = Σ_k π_k R_k

R_t - t is a supermartingale as long as the mean is at least ``low``, so the expected number of values until R reaches A
is at least A, and by Doob's inequality P(alarm among the first N values) ≤ N/A. The other side bets on values above
``high``. Nothing is assumed of the values' distribution but that, given those before, their mean is as it was.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.errors import InvalidInput

Array = npt.NDArray[np.float64]

SHIFTS_SD = np.array([0.1, 0.16, 0.3, 0.8])
"""The shifts, in standard deviations, that the bets are made for; the mass lies on what must be caught quickly."""
LOG_PRIOR = np.log(np.array([1.0, 4.0, 1.0, 1.0]) / 7.0)
LARGEST_LOSS = 0.95
LEAST_SD = 0.03
CHUNK = 2048


class Side(StrEnum):
    """Where a mean has gone."""

    BELOW = "below"
    ABOVE = "above"


@dataclass(frozen=True, slots=True)
class Range:
    """What a mean was before: between ``low`` and ``high``; ``sd`` is the values' standard deviation."""

    low: float
    high: float
    sd: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.low <= self.high <= 1.0:
            raise InvalidInput(f"range: [{self.low:g}, {self.high:g}] is not within [0, 1]")


@dataclass(frozen=True, slots=True)
class Alarm:
    """A mean that has left its range.

    ``at`` counts the values since the detector's start up to the alarm; ``since`` is where the shift began, by the
    largest cumulative sum. ``run_length`` is R at the alarm: this many values without a shift are expected before it.
    """

    side: Side
    at: int
    since: int
    run_length: float


@dataclass
class Detector:
    """Watches one stream in both directions.

    ``average_run_length`` is A: the expected number of values between false alarms, on each side, is at least that.
    After an alarm the detector goes on from its start, so that a second shift is an alarm of its own.
    """

    range: Range
    average_run_length: float
    seen: int = 0
    log_r: Array = field(default_factory=lambda: np.full((2, SHIFTS_SD.size), -np.inf))
    log_cusum: Array = field(default_factory=lambda: np.zeros((2, SHIFTS_SD.size)))
    since: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros((2, SHIFTS_SD.size), dtype=np.int64))

    def __post_init__(self) -> None:
        if not self.average_run_length > 1:
            raise InvalidInput(f"average_run_length: {self.average_run_length!r} is not more than one value")

    @property
    def log_evidence(self) -> float:
        """Ln R of the stronger side; an alarm at ln A."""
        return float(np.logaddexp.reduce(self.log_r + LOG_PRIOR, axis=1).max())

    def update(self, values: Array) -> list[Alarm]:
        """Take values in their order and return the alarms they raise; NaN is no value.

        Raises:
            InvalidInput: when a value lies outside [0, 1]; none of them is then taken.
        """
        values = np.asarray(values, dtype=float)
        values = values[~np.isnan(values)]
        if values.size and (values.min() < 0 or values.max() > 1):
            raise InvalidInput("values: a score lies outside [0, 1]", hint="scores are scaled by the scorer")
        alarms = []
        while values.size:
            taken, alarm = self._advance(values[:CHUNK])
            values = values[taken:]
            if alarm is not None:
                alarms.append(alarm)
                self._begin_again()
        return alarms

    def _advance(self, values: Array) -> tuple[int, Alarm | None]:
        """Take values up to the first alarm; return how many."""
        log_return = np.log1p(returns(self.range, values))
        total = np.cumsum(log_return, axis=0)
        before = np.concatenate([np.zeros((1, *total.shape[1:])), total[:-1]])
        log_r = total + np.logaddexp.accumulate(np.concatenate([self.log_r[None], -before]), axis=0)[1:]
        crossed = np.logaddexp.reduce(log_r + LOG_PRIOR, axis=2) >= math.log(self.average_run_length)
        first = np.flatnonzero(crossed.any(axis=1))
        taken = int(first[0]) + 1 if first.size else len(values)
        self._follow_onset(total[:taken])
        self.log_r, self.seen = log_r[taken - 1], self.seen + taken
        if not first.size:
            return taken, None
        strength = np.logaddexp.reduce(self.log_r + LOG_PRIOR, axis=1)
        side = int(strength.argmax())
        bet = int((self.log_cusum[side] + LOG_PRIOR).argmax())
        return taken, Alarm(
            tuple(Side)[side], self.seen, int(self.since[side, bet]), float(np.exp(min(strength[side], 700.0)))
        )

    def _follow_onset(self, total: Array) -> None:
        """Keep each bet's cumulative sum from its best starting point, and where that point lies."""
        path = np.concatenate([self.log_cusum[None], self.log_cusum + total])
        lowest = path.shape[0] - 1 - path[::-1].argmin(axis=0)
        fresh = np.take_along_axis(path, lowest[None], axis=0)[0] <= 0
        self.since = np.where(fresh, self.seen + lowest, self.since)
        self.log_cusum = path[-1] - np.where(fresh, np.take_along_axis(path, lowest[None], axis=0)[0], 0.0)

    def _begin_again(self) -> None:
        self.log_r = np.full_like(self.log_r, -np.inf)
        self.log_cusum = np.zeros_like(self.log_cusum)
        self.since = np.full_like(self.since, self.seen)

    def to_document(self) -> dict[str, Any]:
        """Return the state as JSON; read back it goes on as if it had never stopped."""
        return {
            "range": [self.range.low, self.range.high, self.range.sd],
            "average_run_length": self.average_run_length,
            "seen": self.seen,
            "log_r": np.where(np.isinf(self.log_r), -1e300, self.log_r).tolist(),
            "log_cusum": self.log_cusum.tolist(),
            "since": self.since.tolist(),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Detector":
        """Read what ``to_document`` returned.

        Raises:
            InvalidInput: when it is something else.
        """
        shape = (2, SHIFTS_SD.size)
        try:
            return cls(
                Range(*document["range"]),
                float(document["average_run_length"]),
                int(document["seen"]),
                np.array(document["log_r"], dtype=float).reshape(shape),
                np.array(document["log_cusum"], dtype=float).reshape(shape),
                np.array(document["since"], dtype=np.int64).reshape(shape),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"detector: not the state of a detector ({error})") from None


def returns(within: Range, values: Array) -> Array:
    """Return what the bets win by each value: (n,) → (n, 2, K), below first; never a loss of the whole stake."""
    bets = SHIFTS_SD / max(within.sd, LEAST_SD)
    down = np.minimum(bets, LARGEST_LOSS / max(1.0 - within.low, 1e-9))
    up = np.minimum(bets, LARGEST_LOSS / max(within.high, 1e-9))
    below = (within.low - values)[:, None] * down
    above = (values - within.high)[:, None] * up
    return np.stack([below, above], axis=1)


def expected_delay(within: Range, mean: float, shift_sd: float, average_run_length: float) -> float:
    """Return about how many values it takes to see a shift of ``shift_sd`` from ``mean``, infinite when it can't be.

    (ln A - ln(1/I)) / I, with I half the squared distance from the range in standard deviations.
    """
    sd = max(within.sd, LEAST_SD)
    slack_sd = max(mean - within.low, within.high - mean) / sd
    distance = shift_sd - slack_sd
    if distance <= 0:
        return math.inf
    gain = distance**2 / 2
    return max(math.log(average_run_length) + 0.6 + math.log(gain), 1.0) / gain
