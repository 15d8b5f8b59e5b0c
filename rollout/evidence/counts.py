"""Evidence that a share of bad requests is above, or below, a fixed bound: a mixture with late onset.

Each alternative p_k has a monotone likelihood ratio against the bound p0, so that every member of the composite null
(p ≤ p0 for harm, p ≥ p0 for safe) makes the ratio's mean at most one (Wald 1945; Howard, Ramdas, McAuliffe & Sekhon
2021, mixtures). Nothing is assumed about the number of requests, which may depend on all that was seen before.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np

from contracts.errors import InvalidInput
from contracts.records import record
from rollout.evidence import mixture
from rollout.evidence.mixture import GRID, Array, EProcess

FARTHEST_HARM = 0.995
FARTHEST_SAFE = 1 / 200
NEAREST_HARM = 1.4
NEAREST_SAFE = 1.3
HARM_DECAY = 2.5
SAFE_DECAY = 1.0


class Side(StrEnum):
    """Which null is tested: that things are tolerable (``harm`` proves otherwise), or unacceptable (``safe``)."""

    HARM = "harm"
    SAFE = "safe"


@record(frozen=True, slots=True)
class Tally:
    """Bad among all requests of one arm in one tick."""

    bad: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class CountsTest:
    """One test of a bad rate against ``bound``; arrays over the K alternatives.

    ``per_bad`` = ln(p_k/p0) and ``per_good`` = ln((1-p_k)/(1-p0)).
    """

    bound: float
    side: Side
    log_prior: Array
    per_bad: Array
    per_good: Array

    def start(self) -> EProcess:
        """Return evidence one; only harm may begin late."""
        return mixture.start(self.log_prior, late_onset=self.side is Side.HARM)

    def update(self, state: EProcess, tick: Tally, *, onset: float = 0.0, dispersion: float = 1.0) -> EProcess:
        """Return the state after one tick.

        ``onset`` is the prior mass of a fault beginning now; ``dispersion`` (at least 1, known before the tick)
        deflates the counts, which keeps the guarantee for independent requests (Jensen) and restores it for bursts.

        Raises:
            InvalidInput: when a count is negative or bad exceeds total.
        """
        check_tally(tick, "tick")
        factor = log_factor(self.per_bad, self.per_good, np.array(tick.bad), np.array(tick.total))
        return mixture.update(state, self.log_prior, factor / dispersion, onset=onset)


@lru_cache(maxsize=4096)
def counts_test(bound: float, side: Side) -> CountsTest:
    """Return the test of the null p ≤ ``bound`` (harm) or p ≥ ``bound`` (safe).

    Raises:
        InvalidInput: when the bound is not strictly between 0 and 1.
    """
    if not 0.0 < bound < 1.0:
        raise InvalidInput(f"bound: {bound!r} is not a rate between 0 and 1", hint="a bound of 0 or 1 can't be tested")
    rates = _harm_rates(bound) if side is Side.HARM else _safe_rates(bound)
    prior = mixture.decreasing_log_prior(HARM_DECAY if side is Side.HARM else SAFE_DECAY)
    return CountsTest(bound, side, prior, np.log(rates / bound), np.log1p(-rates) - np.log1p(-bound))


def log_factor(per_bad: Array, per_good: Array, bad: Array, total: Array) -> Array:
    """Return ln of the likelihood ratios of one tick: parameters (..., K), counts (...) → (..., K)."""
    return np.asarray(bad[..., None] * per_bad + (total - bad)[..., None] * per_good)


def check_tally(tally: Tally, field: str) -> None:
    """Refuse counts that can't be.

    Raises:
        InvalidInput: naming the field.
    """
    if tally.bad < 0 or tally.total < 0:
        raise InvalidInput(f"{field}: a count is negative ({tally.bad} bad of {tally.total})", hint="send whole counts")
    if tally.bad > tally.total:
        raise InvalidInput(
            f"{field}: {tally.bad} bad of {tally.total} in all", hint="total counts the bad ones as well"
        )


def _harm_rates(bound: float) -> Array:
    """Return alternatives evenly spaced in ln p: the small faults, which take longest to prove, get most of them."""
    nearest = min(NEAREST_HARM * bound, (1 + bound) / 2)
    return np.geomspace(nearest, max(FARTHEST_HARM, (1 + nearest) / 2), GRID)


def _safe_rates(bound: float) -> Array:
    nearest = _odds(bound / NEAREST_SAFE)
    return _from_odds(np.geomspace(nearest, nearest * FARTHEST_SAFE, GRID))


def _odds(rate: float) -> float:
    return rate / (1 - rate)


def _from_odds(odds: Array) -> Array:
    return odds / (1 + odds)
