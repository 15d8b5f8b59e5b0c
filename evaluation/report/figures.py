"""Figures: no number without how many it is of, an interval, and where to look it up."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from contracts.notation import format_evidence
from contracts.sketch import quantile_s
from contracts.units import format_duration, format_fraction
from evaluation.drift.detector import Array
from evaluation.drift.reference import lower_bound

Z = 1.959964
LEVEL = 0.05
MISSING = "no data"


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with its interval (95 %) over ``n`` observations; ``evidence`` is the id of what it was computed from.

    ``unit``: ``share``, ``score``, ``seconds``, ``count``, ``points`` (a difference of shares), ``usd``, ``evidence``
    (an e-value) or ``number``. A ``value`` of None is missing, and ``why`` says so.
    """

    value: float | None
    n: int = 0
    low: float | None = None
    high: float | None = None
    unit: str = "number"
    evidence: str = ""
    why: str = ""

    @property
    def text(self) -> str:
        """The figure for people, without its interval."""
        return MISSING if self.value is None else _show(self.value, self.unit)

    @property
    def interval_text(self) -> str:
        """The interval for people, empty when there is none."""
        if self.value is None or self.low is None or self.high is None:
            return ""
        return f"{_show(self.low, self.unit)} to {_show(self.high, self.unit)}"

    def to_document(self) -> dict[str, Any]:
        """Return the figure as JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


def missing(why: str, *, unit: str = "number", evidence: str = "") -> Figure:
    """Return a figure that is not there, and why."""
    return Figure(None, unit=unit, evidence=evidence, why=why)


def count(amount: float, *, evidence: str = "") -> Figure:
    """Return an exact count: it is its own number of observations, and has no interval."""
    return Figure(float(amount), int(amount), unit="count", evidence=evidence)


def rate(part: float, total: float, *, evidence: str = "", unit: str = "share") -> Figure:
    """Return a share with Wilson's interval; missing without observations."""
    if total <= 0:
        return missing("nothing was counted", unit=unit, evidence=evidence)
    low, high = wilson(part, total)
    return Figure(part / total, int(total), low, high, unit, evidence)


def wilson(part: float, total: float) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share (Wilson 1927)."""
    share = part / total
    middle = (share + Z**2 / (2 * total)) / (1 + Z**2 / total)
    half = Z * math.sqrt(share * (1 - share) / total + Z**2 / (4 * total**2)) / (1 + Z**2 / total)
    # At no and at all bad the share is an end of the interval, but for rounding.
    return max(min(middle - half, share), 0.0), min(max(middle + half, share), 1.0)


def mean_score(values: Array, *, evidence: str = "", why: str = "nothing was scored") -> Figure:
    """Return a mean of scores in [0, 1] with an interval that holds for any distribution; missing without scores."""
    if not values.size:
        return missing(why, unit="score", evidence=evidence)
    low, high = lower_bound(values, LEVEL / 2), 1 - lower_bound(1 - values, LEVEL / 2)
    return Figure(float(values.mean()), int(values.size), low, high, "score", evidence)


def difference(now: Figure, before: Figure, *, evidence: str = "") -> Figure:
    """Return now minus before, its interval by Newcombe's rule (1998) from both intervals; missing when one is."""
    unit = "points" if now.unit == "share" else "change" if now.unit == "score" else now.unit
    if now.value is None or before.value is None:
        return missing("nothing to compare with", unit=unit, evidence=evidence)
    change = now.value - before.value
    down = math.hypot(now.value - (now.low or 0.0), (before.high or 0.0) - before.value)
    up = math.hypot((now.high or 0.0) - now.value, before.value - (before.low or 0.0))
    return Figure(change, min(now.n, before.n), change - down, change + up, unit, evidence)


def paired_mean(differences: Array, *, evidence: str = "") -> Figure:
    """Return a mean of paired differences in [-1, 1] with its interval; missing without pairs."""
    if not differences.size:
        return missing("no pair was scored", unit="change", evidence=evidence)
    half = mean_score((differences + 1) / 2)
    low, high = 2 * (half.low or 0.0) - 1, 2 * (half.high or 1.0) - 1
    return Figure(float(differences.mean()), half.n, low, high, "change", evidence)


def quantile(sketch: Mapping[int, int], share: float, *, evidence: str = "") -> Figure:
    """Return a latency quantile (within 2 %) with the interval of its rank; missing without answers."""
    n = sum(sketch.values())
    value = quantile_s(sketch, share)
    if value is None:
        return missing("no answer was timed", unit="seconds", evidence=evidence)
    half = Z * math.sqrt(share * (1 - share) / n)
    low, high = (quantile_s(sketch, min(max(share + side, 0.0), 1.0)) for side in (-half, half))
    return Figure(value, n, low, high, "seconds", evidence)


def as_array(values: Sequence[float | None]) -> Array:
    """Return the values that are there, in order."""
    return np.array([value for value in values if value is not None and not math.isnan(value)], dtype=float)


def _show(value: float, unit: str) -> str:
    if unit == "share":
        # A budget that is overspent is no share any more.
        return format_fraction(value) if 0 <= value <= 1 else f"{100 * value:.3g} %"
    if unit == "evidence":
        return format_evidence(value)
    if unit == "points":
        return f"{100 * value:+.2f} pp"
    if unit == "change":
        return f"{value:+.3f}"
    if unit == "score":
        return f"{value:.3f}"
    if unit == "seconds":
        return format_duration(value)
    if unit == "usd":
        return f"$ {value:.2f}"
    return f"{value:,.0f}".replace(",", "\u202f") if unit == "count" else f"{value:.3g}"
