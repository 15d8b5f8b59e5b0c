"""Quantiles of latencies with exact intervals: no assumption but that the repeats are alike and independent.

The number of repeats below the q-quantile is binomial, so two order statistics enclose it with a known probability
(David & Nagaraja, *Order Statistics*, 3rd ed., 7.1). Repeats on a busy machine are not quite independent; that each
round visits all points in another order makes them more so.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.stats import binom

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Quantile:
    """An estimated quantile and its 95 % interval; an end is None where there are too few repeats to give one."""

    value: float
    low: float | None
    high: float | None

    @property
    def half_width(self) -> float:
        """Half of the interval's width relative to the value; infinite when an end is missing."""
        if self.low is None or self.high is None or self.value <= 0:
            return math.inf
        return (self.high - self.low) / 2 / self.value


def estimate_quantile(values: Sequence[float], q: float) -> Quantile:
    """Return the q-quantile of some positive values, none of them missing, with its interval."""
    ordered = np.sort(np.asarray(values, dtype=float))
    low, high = _ranks(len(ordered), q)
    return Quantile(
        value=float(np.quantile(ordered, q)),
        low=float(ordered[low - 1]) if low >= 1 else None,
        high=float(ordered[high - 1]) if high <= len(ordered) else None,
    )


@cache
def _ranks(n: int, q: float) -> tuple[int, int]:
    """Return the ranks of the order statistics that enclose the q-quantile: 0 and n + 1 where there is none.

    The low one is the largest l with P(fewer than l of n lie below the quantile) within half of what may go wrong, the
    high one the smallest h with P(h or more lie below) within the other half.
    """
    tail = (1 - CONFIDENCE) / 2
    return int(binom.ppf(tail, n, q)), int(binom.ppf(1 - tail, n, q)) + 1
