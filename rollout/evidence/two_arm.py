"""Evidence that the challenger's bad rate exceeds ρ0 times the champion's, on requests split at random.

Two likelihood ratios over a grid of rate ratios ρ_k, one recursion, chosen before each tick by the rate seen so far:

- *rare*: condition on the bad requests. Of x + y bad ones the challenger's share is θ = ρc/(ρc + b), where c and b are
  the exposures (requests served by challenger and champion)::

      factor_k = (θ_k/θ_0)^x · ((1-θ_k)/(1-θ_0))^y

  For binomial x and y with p_c ≤ ρ0·p_b its mean is (1 + p_c(θ_k/θ_0 - 1))^c · (1 + p_b((1-θ_k)/(1-θ_0) - 1))^b, and
  ln(1 + u) ≤ u makes that at most exp((θ_k-θ_0)/(1-θ_0) · b · (p_c/ρ0 - p_b)) ≤ 1: valid at *every* rate, whatever
  the load, the split and the outages that hit both arms. With c = w and b = 1 - w it is exact for a known coin w;
  that is what small ticks use, for a request that finds the other arm idle tells nothing by realised exposures.
- *common*: the exact 2×2 ratio against the reverse information projection on the null p_c = ρ0·p_b (Turner, Ly &
  Grünwald 2024; Turner & Grünwald 2023 for convex nulls), with the champion's rate plugged in from earlier ticks. In
  the limit of rare events it is the first; at 5 % and more it needs fewer requests.
"""

import json
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from contracts.errors import InvalidInput
from contracts.records import record
from rollout.evidence import mixture
from rollout.evidence.counts import Side, Tally, check_tally
from rollout.evidence.mixture import GRID, Array, EProcess

NEAREST = 1.3
FARTHEST_HARM = 300.0
FARTHEST_SAFE = 1 / 50
HARM_DECAY = 1.5
SAFE_DECAY = 1.0
COMMON_RATE = 0.05
HIGHEST_RATE = 0.995
SMALL_ARM = 5.0


@record(frozen=True, slots=True)
class ArmsTick:
    """What both arms did in one tick."""

    challenger: Tally
    champion: Tally


@dataclass(frozen=True, slots=True, eq=False)
class ArmsArrays:
    """One tick as arrays: ``bad`` and ``total`` (..., 2), the challenger first, and the declared ``weight`` (...).

    A weight of zero or one is no coin: then, and when it isn't known, exposures alone are used.
    """

    bad: Array
    total: Array
    weight: Array


@dataclass(frozen=True, slots=True)
class ArmsState:
    """An e-process and what both arms did so far (``bad`` and ``total``: challenger, champion)."""

    process: EProcess
    bad: tuple[int, int] = (0, 0)
    total: tuple[int, int] = (0, 0)

    def to_json(self) -> str:
        """Return the state as JSON; ``from_json`` gives back the same numbers, bit by bit."""
        return json.dumps({"process": self.process.to_json(), "bad": self.bad, "total": self.total})

    @classmethod
    def from_json(cls, text: str) -> "ArmsState":
        """Read what ``to_json`` wrote.

        Raises:
            InvalidInput: when it is something else.
        """
        try:
            row = json.loads(text)
            (x, y), (c, b) = row["bad"], row["total"]
            return cls(EProcess.from_json(row["process"]), (int(x), int(y)), (int(c), int(b)))
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInput(f"evidence: not the state of a two-arm test ({error})") from None


@dataclass(frozen=True, slots=True, eq=False)
class ArmsTest:
    """One test of a rate ratio against ``null_ratio``; ``ratios`` and ``log_prior`` have shape (K,)."""

    null_ratio: float
    side: Side
    log_prior: Array
    ratios: Array

    def start(self) -> ArmsState:
        """Return evidence one; only harm may begin late."""
        return ArmsState(mixture.start(self.log_prior, late_onset=self.side is Side.HARM))

    def update(
        self, state: ArmsState, tick: ArmsTick, *, weight: float = 0.0, onset: float = 0.0, dispersion: float = 1.0
    ) -> ArmsState:
        """Return the state after one tick; see ``CountsTest.update`` for ``onset`` and ``dispersion``.

        ``weight`` is the declared share of traffic of the challenger during the tick; zero when it isn't known.

        Raises:
            InvalidInput: when a count is negative or bad exceeds total.
        """
        check_tally(tick.challenger, "challenger")
        check_tally(tick.champion, "champion")
        arrays = ArmsArrays(
            np.array([tick.challenger.bad, tick.champion.bad], dtype=float),
            np.array([tick.challenger.total, tick.champion.total], dtype=float),
            np.array(weight),
        )
        seen_bad, seen_total = np.array(state.bad, dtype=float), np.array(state.total, dtype=float)
        factor = log_factor(self.ratios, np.array(self.null_ratio), arrays, seen_bad=seen_bad, seen_total=seen_total)
        process = mixture.update(state.process, self.log_prior, factor / dispersion, onset=onset)
        return ArmsState(
            process,
            (state.bad[0] + tick.challenger.bad, state.bad[1] + tick.champion.bad),
            (state.total[0] + tick.challenger.total, state.total[1] + tick.champion.total),
        )


@lru_cache(maxsize=4096)
def arms_test(null_ratio: float, side: Side) -> ArmsTest:
    """Return the test of p_challenger ≤ ``null_ratio`` · p_champion (harm), or ≥ (safe).

    Raises:
        InvalidInput: when the ratio isn't positive.
    """
    if not 0.0 < null_ratio < np.inf:
        raise InvalidInput(f"null_ratio: {null_ratio!r} is not a positive ratio")
    if side is Side.HARM:
        ratios, decay = null_ratio * np.geomspace(NEAREST, FARTHEST_HARM, GRID), HARM_DECAY
    else:
        ratios, decay = null_ratio * np.geomspace(1 / NEAREST, FARTHEST_SAFE, GRID), SAFE_DECAY
    return ArmsTest(null_ratio, side, mixture.decreasing_log_prior(decay), ratios)


def log_factor(ratios: Array, null_ratio: Array, tick: ArmsArrays, *, seen_bad: Array, seen_total: Array) -> Array:
    """Return ln of one tick's factors, (..., K).

    Shapes: ``ratios`` (..., K), ``null_ratio`` (...), and of all earlier counts (..., 2) with the challenger first.
    Which ratio is taken depends on the weight, on earlier ticks and on how many requests came, never on the split.
    """
    weight, arrived = tick.weight, tick.total.sum(axis=-1)
    small = (weight > 0) & (weight < 1) & (arrived * np.minimum(weight, 1 - weight) < SMALL_ARM)
    coin = np.stack(np.broadcast_arrays(weight, 1 - weight), axis=-1)
    exposure = np.where(small[..., None], coin, tick.total)
    rare = rare_log_factor(ratios, null_ratio, tick.bad, exposure)
    common = ~small & (seen_bad.sum(axis=-1) > COMMON_RATE * np.maximum(seen_total.sum(axis=-1), 1.0))
    if not common.any():
        return rare
    champion_rate = (seen_bad[..., 1] + 0.5) / (seen_total[..., 1] + 1.0)
    full = common_log_factor(ratios, null_ratio, tick.bad, tick.total, champion_rate)
    return np.where(common[..., None], full, rare)


def rare_log_factor(ratios: Array, null_ratio: Array, bad: Array, exposure: Array) -> Array:
    """Return ln of the factors conditional on the bad requests; ``exposure`` (..., 2) may be requests or weights."""
    null = null_ratio[..., None]
    challenger, champion = exposure[..., 0, None], exposure[..., 1, None]
    both = challenger + champion > 0
    denominator = np.where(both, ratios * challenger + champion, 1.0)
    numerator = np.where(both, null * challenger + champion, 1.0)
    all_bad = bad.sum(axis=-1)[..., None]
    factor = bad[..., 0, None] * np.log(ratios / null) + all_bad * np.log(numerator / denominator)
    return np.asarray(np.where(both, factor, 0.0))


def common_log_factor(ratios: Array, null_ratio: Array, bad: Array, total: Array, champion_rate: Array) -> Array:
    """Return ln of the exact 2×2 factors for the alternatives (ρ_k·p, p) with p = ``champion_rate``.

    The null's nearest point q minimises c·KL(ρ_k·p ‖ ρ0·q) + b·KL(p ‖ q): the root of a quadratic.
    """
    null, base = null_ratio[..., None], champion_rate[..., None]
    c, b = total[..., 0, None], total[..., 1, None]
    base = np.minimum(base, HIGHEST_RATE / np.maximum(null, 1.0))
    rate = np.minimum(ratios * base, HIGHEST_RATE)
    nearest = _projection(c, b, rate, base, null)
    null_rate, null_base = null * nearest, nearest
    x, y = bad[..., 0, None], bad[..., 1, None]
    factor = x * np.log(rate / null_rate) + (c - x) * (np.log1p(-rate) - np.log1p(-null_rate))
    factor += y * np.log(base / null_base) + (b - y) * (np.log1p(-base) - np.log1p(-null_base))
    return np.asarray(np.where(c + b > 0, factor, 0.0))


def _projection(c: Array, b: Array, rate: Array, base: Array, null: Array) -> Array:
    """Return q in (0, min(1, 1/ρ0)) with c(ρ0·q - rate)(1 - q) + b(q - base)(1 - ρ0·q) = 0."""
    square = -null * (c + b)
    linear = c * (null + rate) + b * (1.0 + null * base)
    constant = -(c * rate + b * base)
    root = np.sqrt(np.maximum(linear * linear - 4.0 * square * constant, 0.0))
    # The smaller root, written so that no digits cancel when rates are tiny.
    with np.errstate(invalid="ignore", divide="ignore"):
        nearest = -2.0 * constant / (linear + root)
    highest = np.minimum(1.0, 1.0 / null)
    return np.asarray(np.clip(np.where(c + b > 0, nearest, base), 1e-300, highest * (1 - 1e-12)))
