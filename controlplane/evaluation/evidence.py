"""Paired evidence by betting: the decision core's tests, as a comparison asks for them.

Pairs of a version and its faster variant, or of a good version and a broken one, hardly vary: the largest bet is the
right one. It gets half of the prior mass, which decides such pairs a third sooner than even shares and costs the others
at most ln 2. Any prior fixed beforehand keeps the error rates.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np

from evaluation.side_by_side.ports import Claims
from rollout.evidence import mixture
from rollout.evidence.bounds import MeanBounds
from rollout.evidence.counts import Side
from rollout.evidence.mixture import GRID, EProcess
from rollout.evidence.scores import ScoresTest, scores_test

INTERVAL_LEVEL: Final = 0.05
BOLD_SHARE: Final = 0.5


@lru_cache(maxsize=256)
def paired_test(bound: float, side: Side) -> ScoresTest:
    """Return the test of a mean difference, mapped to [0, 1], against ``bound``."""
    shares = np.full(GRID, (1 - BOLD_SHARE) / GRID)
    shares[0] += BOLD_SHARE
    return replace(scores_test(bound, side), log_prior=np.log(shares))


@dataclass(slots=True)
class Bet:
    """One e-process against one bound; nothing begins late, for all pairs are drawn by the same two versions."""

    test: ScoresTest
    state: EProcess
    peak: float = 0.0
    """ln of the largest evidence so far: what was once proven stays so, and the error rate holds for it (Ville)."""

    @classmethod
    def against(cls, bound: float, side: Side) -> "Bet":
        """Start at evidence one."""
        test = paired_test(bound, side)
        return cls(test, mixture.start(test.log_prior, late_onset=False))

    def take_in(self, score: float) -> None:
        """Bet on one more pair."""
        self.state = self.test.update(self.state, (score,))
        self.peak = max(self.peak, self.state.log_evidence)


class BettingEvidence:
    """Four e-processes about a mean difference d in [-1, 1], mapped to (1 + d) / 2, against ±tolerance.

    Where a difference is only known to lie between two bounds, each test gets the bound that speaks against its claim.
    """

    def __init__(self, tolerance: float, *, alpha_harm: float, alpha_safe: float) -> None:
        below, above = (1 - tolerance) / 2, (1 + tolerance) / 2
        self._worse, self._not_worse = Bet.against(below, Side.HARM), Bet.against(below, Side.SAFE)
        self._better, self._not_better = Bet.against(above, Side.SAFE), Bet.against(above, Side.HARM)
        self._needed_harm, self._needed_safe = -math.log(alpha_harm), -math.log(alpha_safe)
        self._bounds = MeanBounds()

    def add(self, lowest: float, highest: float) -> None:
        """Take in one pair."""
        low, high = (1 + lowest) / 2, (1 + highest) / 2
        for bet in (self._worse, self._not_better):
            bet.take_in(high)
        for bet in (self._better, self._not_worse):
            bet.take_in(low)
        if lowest == highest:
            self._bounds = self._bounds.update((low,), level=INTERVAL_LEVEL)

    def claims(self) -> Claims:
        """Return what is proven by now."""
        return Claims(
            worse=self._worse.peak >= self._needed_harm,
            better=self._better.peak >= self._needed_harm,
            not_worse=self._not_worse.peak >= self._needed_safe,
            not_better=self._not_better.peak >= self._needed_safe,
            log_evidence=max(bet.peak for bet in (self._worse, self._better, self._not_worse, self._not_better)),
        )

    def interval(self) -> tuple[float, float]:
        """Return a 95 % interval of the mean difference over pairs with both scores, valid at all times."""
        low, high = self._bounds.interval(INTERVAL_LEVEL)
        return 2 * low - 1, 2 * high - 1
