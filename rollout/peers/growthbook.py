"""GrowthBook's sequential rule for guardrails: an asymptotic confidence sequence on the difference of means.

After ``packages/stats/gbstats/frequentist/tests.py`` (Waudby-Smith et al., arXiv 2103.06476): tuned to N* = 5000, one
sided at level ``alpha``. Ramp 1, 5, 10, 25, 50 %; an inconclusive end ships. Not exact for rare errors at small n.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from rollout.evidence.mixture import Array
from rollout.evidence.stack import CHALLENGER, CHAMPION
from rollout.peers.rule import Course, History
from rollout.simulate.engine import End

FOREVER_S = 1e12


@dataclass(frozen=True, slots=True)
class GrowthBook:
    """Settings: level, tuning, ramp, and seconds between refreshes (six hours by default, ten minutes at least)."""

    name: str = "GrowthBook, fastest"
    alpha: float = 0.05
    tuned_to: int = 5000
    steps: tuple[float, ...] = (0.01, 0.05, 0.1, 0.25, 0.5)
    interval_s: float = 600.0
    indicators: int = 1

    def begin(self, runs: int) -> Course:
        """Begin at the first step."""
        return Course.begin(runs, self.steps[0])

    def look(self, course: Course, history: History) -> Course:
        """Refresh: roll back what is significantly worse, else go on to the next step, and ship after the last."""
        bad, total = (array[..., : self.indicators, :] for array in history.window(FOREVER_S))
        worse = np.asarray((self.lower_bound(bad, total) > 0).any(axis=-1))
        course = course.ended(End.ROLLED_BACK, worse)
        step = round(history.at_s / self.interval_s)
        if step >= len(self.steps):
            return course.ended(End.PROMOTED, course.end == End.RUNNING)
        return replace(course, weight=np.where(course.end == End.RUNNING, self.steps[step], course.weight))

    def lower_bound(self, bad: Array, total: Array) -> Array:
        """Return the lower bound of the difference of bad rates, challenger minus champion; -inf without data."""
        level = 2 * self.alpha
        rho = math.sqrt((-2 * math.log(level) + math.log(-2 * math.log(level) + 1)) / self.tuned_to)
        usable = (total > 0).all(axis=-1)
        safe_total = np.where(total > 0, total, 1.0)
        rate = bad / safe_total
        n = total.sum(axis=-1)
        variance = (rate * (1 - rate) / safe_total).sum(axis=-1) * n
        grown = n * rho**2 + 1
        with np.errstate(divide="ignore", invalid="ignore"):
            width = np.sqrt(variance * 2 * grown / (n * rho) ** 2 * np.log(1 + np.sqrt(grown) / (2 * self.alpha)))
        difference = rate[..., CHALLENGER] - rate[..., CHAMPION]
        return np.where(usable & (variance > 0), difference - width, -np.inf)


def documented_default() -> GrowthBook:
    """Return the rule with the documented refresh of six hours."""
    return GrowthBook(name="GrowthBook, default refresh", interval_s=6 * 3600.0)
