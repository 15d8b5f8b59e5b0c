"""The watch over all streams: one false-alarm budget for every metric and prompt class together."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from contracts.errors import InvalidInput
from evaluation.drift.detector import Alarm, Array, Detector, Side, expected_delay
from evaluation.drift.features import Streams, fit_streams
from evaluation.drift.records import Record
from evaluation.drift.reference import (
    LEAST_VALUES,
    Matched,
    Reference,
    frozen_reference,
    hour_of_week,
    lower_bound,
    match,
    no_difference,
)

REFERENCE_SHARE = 0.2
SIDES = 2
INTERVAL_LEVEL = 0.05


class Outcome(StrEnum):
    """What the watch says of one stream."""

    DRIFTED = "drifted"
    STEADY = "steady"
    NO_DATA = "not-enough-data"


class Against(StrEnum):
    """What live values are compared with: a frozen mean, the same hour of the week, or the same hour of a control."""

    FROZEN = "frozen"
    SEASON = "season"
    CONTROL = "control"


@dataclass(frozen=True, slots=True)
class Budget:
    """At most ``alpha`` is the probability of any false alarm among ``values`` values, all streams together.

    A fifth of it pays for references that are not known exactly. Doob's inequality charges each value 1/A on each
    side, so streams share the budget by their values and none has to be weighed beforehand.
    """

    values: int
    alpha: float = 0.01

    def __post_init__(self) -> None:
        if self.values < 1 or not 0.0 < self.alpha < 1.0:
            raise InvalidInput(f"budget: {self.alpha!r} over {self.values} values", hint="alpha lies between 0 and 1")

    def average_run_length(self, *, is_exact: bool) -> float:
        """Return A; nothing is kept back for references that are exact."""
        return SIDES * self.values / (self.alpha * (1.0 if is_exact else 1.0 - REFERENCE_SHARE))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of one metric in one prompt class.

    ``mean`` with its interval (95 %) over ``n`` live values beside ``reference_mean`` over ``n_reference``; differences
    are those of matched pairs and have reference mean zero. ``evidence`` is ln R, ``needed`` what is an alarm.
    ``since_s`` is when a shift began. ``expected_false_alarms`` bounds those of this check.
    """

    metric: str
    prompt_class: str
    outcome: Outcome
    sentence: str
    n: int
    n_reference: int
    mean: float = math.nan
    low: float = math.nan
    high: float = math.nan
    reference_mean: float = math.nan
    evidence: float = -math.inf
    needed: float = math.nan
    since_s: float | None = None
    expected_false_alarms: float = 0.0

    def to_document(self) -> dict[str, Any]:
        """Return the verdict as JSON: what is not a number is null."""
        document = {name: getattr(self, name) for name in self.__slots__}
        return {n: None if isinstance(v, float) and not math.isfinite(v) else v for n, v in document.items()}


@dataclass
class Watch:
    """Streams fitted on reference records, and the smallest shift that is worth an alarm (standard deviations)."""

    reference: Sequence[Record]
    budget: Budget
    against: Against = Against.FROZEN
    least_shift_sd: float = 0.2
    streams: Streams = field(init=False)

    def __post_init__(self) -> None:
        self.streams = fit_streams(self.reference)

    def check(self, live: Sequence[Record]) -> list[Verdict]:
        """Return a verdict on each metric in each prompt class, in the order of time within each.

        Raises:
            InvalidInput: without a live record.
        """
        if not live:
            raise InvalidInput("live: there is no record", hint="give a window of scored outputs")
        classes = sorted({record.prompt_class for record in live})
        count = max(len(classes) * len(self.streams.features), 1)
        grouped = {c: [r for r in live if r.prompt_class == c] for c in classes}
        normal = {c: [r for r in self.reference if r.prompt_class == c] for c in classes}
        return [
            self._judge(name, c, grouped[c], normal[c], level=REFERENCE_SHARE * self.budget.alpha / count)
            for c in classes
            for name in self.streams.features
        ]

    def _judge(
        self, name: str, prompt_class: str, live: Sequence[Record], normal: Sequence[Record], *, level: float
    ) -> Verdict:
        values = self.streams.values(name, live)
        usual = self.streams.reference_values(name, normal)
        if self.against is not Against.FROZEN:
            keys = [self._key(record) for record in live]
            used = normal[1::2] if name in self.streams.is_fitted else normal
            matched = match(values, keys, usual, [self._key(record) for record in used])
            times = np.array([record.at_s for record in live])[matched.positions.astype(int)]
            return self._judge_matched(name, prompt_class, matched, times)
        some = ~np.isnan(values)
        times = np.array([record.at_s for record in live])[some]
        reference = frozen_reference(usual, level)
        n_reference = int((~np.isnan(usual)).sum())
        if reference is None:
            why = f"the reference has {n_reference} values, {LEAST_VALUES} are the least"
            return Verdict(name, prompt_class, Outcome.NO_DATA, why, int(some.sum()), n_reference)
        if reference.slack_sd >= self.least_shift_sd:
            why = (
                f"the reference of {reference.n} values leaves its mean open by {reference.slack_sd:.2f} sd, "
                f"a shift of {self.least_shift_sd:g} sd can't be told from that"
            )
            n = int(some.sum())
            return Verdict(name, prompt_class, Outcome.NO_DATA, why, n, reference.n, reference_mean=reference.mean)
        return self._run(name, prompt_class, values[some], times, reference)

    def _key(self, record: Record) -> int:
        return hour_of_week(record.at_s) if self.against is Against.SEASON else int(record.at_s // 3600)

    def _judge_matched(self, name: str, prompt_class: str, matched: Matched, times: Array) -> Verdict:
        reference = no_difference(matched.differences)
        n = int(matched.differences.size)
        if reference is None:
            why = f"{n} values have a counterpart of the same hour, {LEAST_VALUES} are the least"
            return Verdict(name, prompt_class, Outcome.NO_DATA, why, n, n)
        return self._run(name, prompt_class, matched.differences, times, reference)

    def _run(self, name: str, prompt_class: str, values: Array, times: Array, reference: Reference) -> Verdict:
        is_exact = self.against is not Against.FROZEN
        length = self.budget.average_run_length(is_exact=is_exact)
        detector = Detector(reference.range, length)
        alarms = detector.update(values)
        needed_n = expected_delay(reference.range, reference.mean, self.least_shift_sd, length)
        outcome = Outcome.DRIFTED if alarms else Outcome.STEADY if values.size >= needed_n else Outcome.NO_DATA
        low, high = _interval(values)
        scale, offset = (2.0, -1.0) if is_exact else (1.0, 0.0)
        return Verdict(
            name,
            prompt_class,
            outcome,
            _sentence(outcome, alarms, values.size, needed_n, self.least_shift_sd),
            n=int(values.size),
            n_reference=reference.n,
            mean=scale * float(values.mean()) + offset if values.size else math.nan,
            low=scale * low + offset,
            high=scale * high + offset,
            reference_mean=scale * reference.mean + offset,
            evidence=math.log(alarms[0].run_length) if alarms else detector.log_evidence,
            needed=math.log(length),
            since_s=float(times[min(alarms[0].since, times.size - 1)]) if alarms else None,
            expected_false_alarms=SIDES * values.size / length,
        )


def expected_false_alarms(verdicts: Sequence[Verdict]) -> float:
    """Return what the checks may raise without any drift, at most: the sum over streams of values over A."""
    return sum(verdict.expected_false_alarms for verdict in verdicts)


def count_outcomes(verdicts: Sequence[Verdict]) -> Mapping[Outcome, int]:
    """Return how many streams drifted, are steady, or had not enough data."""
    return {outcome: sum(verdict.outcome is outcome for verdict in verdicts) for outcome in Outcome}


def _interval(values: Array) -> tuple[float, float]:
    if not values.size:
        return 0.0, 1.0
    return lower_bound(values, INTERVAL_LEVEL / 2), 1.0 - lower_bound(1.0 - values, INTERVAL_LEVEL / 2)


def _sentence(outcome: Outcome, alarms: Sequence[Alarm], n: int, needed_n: float, shift_sd: float) -> str:
    if outcome is Outcome.DRIFTED:
        first = alarms[0]
        where = "lower" if first.side is Side.BELOW else "higher"
        again = f"; {len(alarms) - 1} more alarms after it" if len(alarms) > 1 else ""
        return f"{where} since value {first.since + 1}, seen at value {first.at} of {n}{again}"
    if outcome is Outcome.STEADY:
        return f"no shift in {n} values; one of {shift_sd:g} sd takes about {needed_n:.0f} to be seen"
    if math.isinf(needed_n):
        return f"{n} values, and the reference is too wide for {shift_sd:g} sd"
    return f"{n} values; a shift of {shift_sd:g} sd takes about {needed_n:.0f} to be seen"
