"""Confidence sequences: intervals that hold at all times at once, for the ramp and for pictures.

- rate: beta-binomial mixture with Jeffreys' prior Beta(½, ½) (Ville; Howard et al. 2021, mixture supermartingales);
- mean of scores in [0, 1]: hedged betting over a grid of candidate means (Waudby-Smith & Ramdas 2024);
- quantile: ranks that the rate's sequence doesn't exclude (Howard & Ramdas 2022).
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from contracts.errors import InvalidInput
from rollout.evidence.mixture import Array
from rollout.evidence.scores import check_scores

NEWTON_STEPS = 9
MEANS = 200
LOG_BETA_HALF = math.log(math.pi)


def log_mixture(bad: Array, total: Array) -> Array:
    """Return ln of the beta-binomial mixture's likelihood, ln B(bad + ½, total - bad + ½) - ln B(½, ½)."""
    from scipy.special import betaln

    return np.asarray(betaln(bad + 0.5, total - bad + 0.5) - LOG_BETA_HALF)


def upper_rate(bad: Array, total: Array, level: Array) -> Array:
    """Return the upper bound of a bad rate that holds at all times with confidence 1 - ``level``; one without data.

    It is the larger root p of ln M - bad·ln p - (total - bad)·ln(1 - p) = ln(1/level), found by Newton's method in
    z = -ln(1 - p), where the left side is convex, so that the iterates fall to the root from the right.
    """
    bad, total, level = np.broadcast_arrays(*(np.asarray(value, dtype=float) for value in (bad, total, level)))
    good = total - bad
    some = np.where(total > 0, total, 1.0)
    rate = np.clip(bad / some, 1e-300, 1 - 1e-12)
    excess = log_mixture(bad, total) + np.log(level)
    gap = np.maximum(bad * np.log(rate) + good * np.log1p(-rate) - excess, 0.0)
    z = -np.log1p(-rate) + np.sqrt(2.0 * rate * gap / some) + 2.0 * gap / some
    for _ in range(NEWTON_STEPS):
        share = -np.expm1(-z)
        value = excess - bad * np.log(share) + good * z
        slope = good - bad * (1.0 - share) / share
        z = np.maximum(z - np.where(slope > 0, value / np.where(slope > 0, slope, 1.0), 0.0), -np.log1p(-rate) + 1e-300)
    return np.where((total > 0) & (good > 0), -np.expm1(-z), 1.0)


def lower_rate(bad: Array, total: Array, level: Array) -> Array:
    """Return the lower bound of a bad rate that holds at all times with confidence 1 - ``level``; zero without data."""
    bad, total = np.asarray(bad, dtype=float), np.asarray(total, dtype=float)
    return np.asarray(1.0 - upper_rate(total - bad, total, level))


def quantile_bounds(values: Sequence[float], quantile: float, level: float) -> tuple[float, float]:
    """Return an interval for the ``quantile`` of a distribution that holds at all times with confidence 1 - ``level``.

    The number of values at or below the true quantile is at least binomial(n, quantile); the ranks kept are those
    that the mixture at rate ``quantile`` doesn't exclude. Infinite ends when there are too few values.
    """
    if not 0.0 < quantile < 1.0:
        raise InvalidInput(f"quantile: {quantile!r} is not between 0 and 1")
    ordered = np.sort(np.asarray(values, dtype=float))
    n = ordered.size
    ranks = np.arange(n + 1, dtype=float)
    log_ratio = log_mixture(ranks, np.full(n + 1, float(n)))
    log_ratio -= ranks * math.log(quantile) + (n - ranks) * math.log1p(-quantile)
    kept = np.flatnonzero(log_ratio < -math.log(level))
    lowest, highest = int(kept[0]), int(kept[-1])
    below = float(ordered[lowest - 1]) if lowest > 0 else -math.inf
    above = float(ordered[highest]) if highest < n else math.inf
    return below, above


@dataclass(frozen=True, slots=True)
class MeanBounds:
    """A confidence sequence for the mean of scores in [0, 1].

    ``log_above`` and ``log_below`` hold, for each candidate mean, the wealth bet on a larger and on a smaller mean.
    """

    log_above: tuple[float, ...] = (0.0,) * MEANS
    log_below: tuple[float, ...] = (0.0,) * MEANS
    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def update(self, scores: Sequence[float], *, level: float = 0.05) -> "MeanBounds":
        """Return the sequence after more scores; ``level`` tunes the bets and must stay the same.

        Raises:
            InvalidInput: when a score lies outside [0, 1].
        """
        check_scores(scores, "scores", lowest=0.0)
        means = _candidates()
        above, below = np.array(self.log_above), np.array(self.log_below)
        count, total, squares = self.count, self.total, self.squares
        for score in scores:
            mean = (0.5 + total) / (1 + count)
            variance = max((0.25 + squares) / (1 + count), 1e-6)
            bet = math.sqrt(2 * math.log(2 / level) / (variance * (count + 1) * math.log(count + 2)))
            above += np.log1p(np.minimum(bet, 0.5 / means) * (score - means))
            below += np.log1p(-np.minimum(bet, 0.5 / (1 - means)) * (score - means))
            count, total, squares = count + 1, total + score, squares + (score - mean) ** 2
        return MeanBounds(tuple(above.tolist()), tuple(below.tolist()), count, total, squares)

    def interval(self, level: float = 0.05) -> tuple[float, float]:
        """Return the means not excluded with confidence 1 - ``level``, widened by the grid's spacing."""
        log_wealth = np.maximum(self.log_above, self.log_below) - math.log(2)
        kept = np.flatnonzero(log_wealth < -math.log(level))
        if not kept.size:
            mean = self.total / max(self.count, 1)
            return mean, mean
        means = _candidates()
        return max(float(means[kept[0]]) - 1 / MEANS, 0.0), min(float(means[kept[-1]]) + 1 / MEANS, 1.0)

    def to_json(self) -> str:
        """Return the state as JSON; ``from_json`` gives back the same floats, bit by bit."""
        return json.dumps([self.log_above, self.log_below, self.count, self.total, self.squares])

    @classmethod
    def from_json(cls, text: str) -> "MeanBounds":
        """Read what ``to_json`` wrote.

        Raises:
            InvalidInput: when it is something else.
        """
        try:
            above, below, count, total, squares = json.loads(text)
            return cls(tuple(above), tuple(below), int(count), float(total), float(squares))
        except (ValueError, TypeError) as error:
            raise InvalidInput(f"bounds: not the state of a confidence sequence ({error})") from None


@cache
def _candidates() -> Array:
    return (np.arange(MEANS) + 0.5) / MEANS
