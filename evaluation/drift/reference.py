"""What was normal: a frozen reference with its uncertainty, or values of a control to subtract.

A control that served at the same time (the champion beside the challenger) comes before a frozen reference: a campaign
that changes the prompts moves both. Without one, last month's values of the same hour and weekday are the control.
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from evaluation.drift.detector import LEAST_SD, Array, Range

BISECTIONS = 40
LEAST_VALUES = 100


@dataclass(frozen=True, slots=True)
class Reference:
    """The mean of reference values with the range that holds it (confidence 1 - ``level``), and their number."""

    mean: float
    range: Range
    n: int
    level: float

    @property
    def slack_sd(self) -> float:
        """How far the range reaches from the mean, in standard deviations of one value."""
        return max(self.mean - self.range.low, self.range.high - self.mean) / max(self.range.sd, LEAST_SD)


def frozen_reference(values: Array, level: float) -> Reference | None:
    """Return what reference values in [0, 1] say of their mean; None with fewer than a hundred. NaN is no value."""
    values = np.asarray(values, dtype=float)
    values = values[~np.isnan(values)]
    if values.size < LEAST_VALUES:
        return None
    low = lower_bound(values, level / 2)
    high = 1.0 - lower_bound(1.0 - values, level / 2)
    mean = float(values.mean())
    return Reference(mean, Range(low, max(high, low), float(values.std(ddof=1))), values.size, level)


def lower_bound(values: Array, level: float) -> float:
    """Return a bound that lies above the mean of values in [0, 1] with probability at most ``level``.

    The smallest mean that betting doesn't reject, each bet made for the variance of the values before it (Waudby-Smith
    & Ramdas 2024, predictable plug-in); holds for any distribution, also for a thousand values that are all one.
    """
    n = values.size
    if not n:
        return 0.0
    count = np.arange(1, n + 1)
    mean = (0.5 + np.concatenate([[0.0], np.cumsum(values)[:-1]])) / count
    squares = np.concatenate([[0.0], np.cumsum((values - mean) ** 2)[:-1]])
    bets = np.sqrt(2 * math.log(1 / level) / (n * (0.25 + squares) / count))
    low, high = 0.0, float(values.mean())
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        wealth = np.log1p(np.minimum(bets, 0.5 / max(middle, 1e-12)) * (values - middle)).sum()
        low, high = (middle, high) if wealth >= math.log(1 / level) else (low, middle)
    return low


def hour_of_week(at_s: float) -> int:
    """Return 0 to 167: Monday 00 h to Sunday 23 h, UTC."""
    moment = datetime.fromtimestamp(at_s, UTC)
    return 24 * moment.weekday() + moment.hour


@dataclass(frozen=True, slots=True)
class Matched:
    """Differences of live values from control values, mapped to [0, 1]; one half is no difference.

    ``positions`` (n,) are those of the live values used; ``unmatched`` had no control value left.
    """

    differences: Array
    positions: Array
    unmatched: int


def match(live: Array, live_keys: Sequence[Hashable], control: Array, control_keys: Sequence[Hashable]) -> Matched:
    """Subtract from each live value a control value of the same key (class, hour of the week), each used once.

    Live values whose distribution is the control's then have differences of mean exactly one half, whatever the
    season: no reference has to be estimated. Values that are NaN are left out.
    """
    waiting: dict[Hashable, list[float]] = defaultdict(list)
    for value, key in zip(control[::-1], control_keys[::-1], strict=True):
        if not math.isnan(value):
            waiting[key].append(float(value))
    differences, positions, unmatched = [], [], 0
    for position, (value, key) in enumerate(zip(live, live_keys, strict=True)):
        if math.isnan(value):
            continue
        if waiting[key]:
            differences.append((float(value) - waiting[key].pop() + 1) / 2)
            positions.append(position)
        else:
            unmatched += 1
    return Matched(np.array(differences), np.array(positions, dtype=float), unmatched)


def no_difference(differences: Array, *, first: int = LEAST_VALUES) -> Reference | None:
    """Return the reference of matched differences: their mean was exactly one half.

    The standard deviation, which only sizes the bets, is that of the ``first`` differences. None with fewer.
    """
    if differences.size < first:
        return None
    spread = max(float(differences[:first].std(ddof=1)), LEAST_SD)
    return Reference(0.5, Range(0.5, 0.5, spread), differences.size, 0.0)
