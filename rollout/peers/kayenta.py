"""Kayenta's NetflixACAJudge: Mann-Whitney on points per minute of canary and baseline, at a few looks.

After ``MannWhitneyClassifier.scala`` and ``MannWhitney.scala``: confidence 0.98, tolerance 0.25 of the estimated shift,
NaN points removed, one critical metric per indicator that must not increase. A look fails when its score is at most
``marginal``; a failed critical metric scores 0.
"""

from dataclasses import dataclass

import numpy as np

from rollout.evidence.mixture import Array
from rollout.evidence.stack import CHALLENGER, CHAMPION
from rollout.peers.rule import Course, Flags, History
from rollout.simulate.engine import End

TOLERANCE = 0.25
QUANTILE = 2.3263478740408408
BRENT_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Kayenta:
    """Settings: the canary's share, seconds of analysis and between looks, and per point; indicators judged."""

    name: str = "Kayenta, guide"
    weight: float = 0.1
    lifetime_s: float = 3 * 3600.0
    interval_s: float = 3600.0
    step_s: float = 60.0
    allowed_increase: float = 1.0
    indicators: int = 1

    def begin(self, runs: int) -> Course:
        """Begin at the canary's share, which stays."""
        return Course.begin(runs, self.weight)

    def look(self, course: Course, history: History) -> Course:
        """Judge all points so far; promote at the end of the lifetime."""
        bad, total = history.points(self.step_s, self.lifetime_s)
        with np.errstate(divide="ignore", invalid="ignore"):
            rates = bad / total
        failed = np.zeros(course.weight.size, dtype=bool)
        for run in np.flatnonzero(course.end == End.RUNNING):
            failed[run] = any(
                self.judge(rates[:, run, k, CHALLENGER], rates[:, run, k, CHAMPION]) != "pass"
                for k in range(self.indicators)
            )
        course = course.ended(End.ROLLED_BACK, failed)
        over: Flags = np.full(failed.shape, history.at_s >= self.lifetime_s - 1e-9)
        return course.ended(End.PROMOTED, over)

    def judge(self, canary: Array, baseline: Array) -> str:
        """Return ``pass``, ``high`` or ``nodata`` for one metric whose increase is bad."""
        x, y = canary[~np.isnan(canary)], baseline[~np.isnan(baseline)]
        if not x.size or not y.size:
            return "nodata"
        if (x.size == y.size and np.array_equal(np.sort(x), np.sort(y))) or np.ptp(np.concatenate([x, y])) == 0:
            return "pass"
        lower, estimate = mann_whitney_bound(x, y, QUANTILE), mann_whitney_bound(x, y, 0.0)
        effect = x.mean() / y.mean() if x.mean() and y.mean() else np.nan
        high = lower > TOLERANCE * abs(estimate) and (np.isnan(effect) or effect >= self.allowed_increase)
        return "high" if high else "pass"


def code_default() -> Kayenta:
    """Return the judge with its default of a single look, at the end of the lifetime."""
    return Kayenta(name="Kayenta, code default", interval_s=3 * 3600.0)


def mann_whitney_bound(x: Array, y: Array, quantile: float) -> float:
    """Return the shift of ``x`` against ``y`` at which the rank-sum statistic reaches ``quantile``, by Brent's method.

    Quantile 0 gives the Hodges-Lehmann estimate. Without a change of sign, the end of the range where the statistic
    is nearest to the quantile, as Kayenta does.
    """
    from scipy.optimize import brentq

    low, high = float(x.min() - y.max()), float(x.max() - y.min())
    at_low, at_high = _statistic(x, y, low, quantile), _statistic(x, y, high, quantile)
    if at_low * at_high > 0:
        return low if abs(at_low) <= abs(at_high) else high
    if at_low == 0 or at_high == 0:
        return low if at_low == 0 else high
    return float(brentq(lambda shift: _statistic(x, y, shift, quantile), low, high, xtol=BRENT_TOLERANCE))


def _statistic(x: Array, y: Array, shift: float, quantile: float) -> float:
    n, m = x.size, y.size
    joined = np.concatenate([x - shift, y])
    _, inverse, ties = np.unique(joined, return_inverse=True, return_counts=True)
    ends = np.cumsum(ties)
    ranks = (ends - (ties - 1) / 2)[inverse]
    z = ranks[:n].sum() - n * (n + 1) / 2 - n * m / 2
    size = n + m
    spread = n * m / 12 * ((size + 1) - (ties**3 - ties).sum() / (size * (size - 1)))
    if spread <= 0:
        return -quantile
    return float((z - 0.5 * np.sign(z)) / np.sqrt(spread) - quantile)
