"""Evidence that the mean of a score in [0, 1] is below, or above, a bound: betting.

A gambler who bets the fraction λ against "the mean is at least m" has Π(1 + λ(m - x_i)): fair or losing under the null
for any distribution of scores, whatever their variance (Waudby-Smith & Ramdas 2024). The mixture is over K bets. With
mirrored traffic the score is the difference of a pair in [-1, 1], mapped to [0, 1].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from contracts.errors import InvalidInput
from rollout.evidence import mixture
from rollout.evidence.counts import Side
from rollout.evidence.mixture import GRID, Array, EProcess

LARGEST_BET = 0.95
SMALLEST_BET = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class ScoresTest:
    """One test of a mean against ``bound``; ``bets`` (K,) are signed: positive bets win when scores are low."""

    bound: float
    side: Side
    log_prior: Array
    bets: Array

    def start(self) -> EProcess:
        """Return evidence one; only harm may begin late."""
        return mixture.start(self.log_prior, late_onset=self.side is Side.HARM)

    def update(self, state: EProcess, scores: Sequence[float], *, onset: float = 0.0) -> EProcess:
        """Return the state after one tick with any number of scores, none included.

        Raises:
            InvalidInput: when a score lies outside [0, 1].
        """
        check_scores(scores, "scores", lowest=0.0)
        factor = log_factor(self.bets, np.array(self.bound), np.array(scores, dtype=float))
        return mixture.update(state, self.log_prior, factor, onset=onset)


@lru_cache(maxsize=4096)
def scores_test(bound: float, side: Side) -> ScoresTest:
    """Return the test of mean ≥ ``bound`` (harm) or mean ≤ ``bound`` (safe).

    Raises:
        InvalidInput: when the bound is not strictly between 0 and 1.
    """
    if not 0.0 < bound < 1.0:
        raise InvalidInput(f"bound: {bound!r} is not a mean score between 0 and 1")
    largest = LARGEST_BET / (1 - bound) if side is Side.HARM else LARGEST_BET / bound
    bets = largest * np.geomspace(1.0, SMALLEST_BET, GRID)
    sign = 1.0 if side is Side.HARM else -1.0
    return ScoresTest(bound, side, mixture.decreasing_log_prior(0.0), sign * bets)


def log_factor(bets: Array, bound: Array, scores: Array) -> Array:
    """Return ln of the returns of one tick: bets (..., K), bound (...), scores (..., n) → (..., K).

    A score that is NaN is no score: rollouts with fewer scores than others are padded with it.
    """
    if not scores.shape[-1]:
        return np.zeros(np.broadcast_shapes(bets.shape, (*scores.shape[:-1], bets.shape[-1])))
    shortfall = np.where(np.isnan(scores), 0.0, bound[..., None] - scores)
    return np.asarray(np.log1p(bets[..., None, :] * shortfall[..., :, None]).sum(axis=-2))


def check_scores(scores: Sequence[float], field: str, *, lowest: float) -> None:
    """Refuse scores outside [``lowest``, 1].

    Raises:
        InvalidInput: naming the field.
    """
    for score in scores:
        if not lowest <= score <= 1.0:
            raise InvalidInput(
                f"{field}: {score!r} is not between {lowest:g} and 1", hint="scores are scaled by the scorer"
            )
