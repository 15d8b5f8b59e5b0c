"""All e-processes of a rollout as one array, so that one tick of many rollouts costs a few vector operations.

A *cell* is a counted indicator, or one slice of it; a *stream* a sequence of scores. Rows come in four families,
in this order: counts against a bound, two arms, bets on scores, and the sample ratio (always the last). Arrays may
carry leading axes for rollouts or simulated runs.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.records import record
from rollout.evidence import counts, dispersion, mixture, sample_ratio, scores, two_arm
from rollout.evidence.mixture import GRID, ONSET_AT_START, Array

CHALLENGER, CHAMPION = 0, 1
RECENT_S = 300.0

Index = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """The parameters of every row.

    ``log_prior`` (T, K) and ``onset_rate`` (T,), prior mass per second, cover all rows. Counts: ``per_bad``,
    ``per_good`` (Tc, K) on ``count_cell``, ``count_arm`` (Tc,). Two arms: ``ratios`` (Ta, K), ``null_ratio`` (Ta,) on
    ``arms_cell`` (Ta,). Bets: ``bets`` (Tb, K), ``bet_bound`` (Tb,) on ``bet_stream`` (Tb,).
    """

    cells: int
    streams: int
    log_prior: Array
    onset_rate: Array
    per_bad: Array
    per_good: Array
    count_cell: Index
    count_arm: Index
    ratios: Array
    null_ratio: Array
    arms_cell: Index
    bets: Array
    bet_bound: Array
    bet_stream: Index


@dataclass(frozen=True, slots=True, eq=False)
class TickArrays:
    """What one tick brought, as arrays.

    ``bad``, ``total`` (..., cells, 2) with the challenger first; ``scores`` (..., streams, n) in [0, 1], NaN where
    there is none; ``weight``, ``assigned`` (..., m) and (..., m, 2): stretches of constant weight and the requests
    assigned to each arm in them; ``elapsed_s`` (...) since the tick before. ``arms``: the counts by the share that
    assigned the requests, (..., strata, cells, 2) and (..., strata); ``None`` when all belong to the tick's own.
    """

    bad: Array
    total: Array
    scores: Array
    weight: Array
    assigned: Array
    elapsed_s: Array
    arms: two_arm.ArmsArrays | None = None


@record(frozen=True, slots=True, eq=False)
class Evidence:
    """The accumulated evidence of one rollout, or of many along leading axes.

    ``log_s`` (T, K), ``unspent`` (T,): the e-processes. ``bad``, ``total`` (cells, 2): everything counted.
    ``recent_*``: the same, forgotten exponentially over five minutes. ``last_*``, ``term_*``: the over-dispersion
    estimate. ``score_count``, ``score_sum`` (streams,): everything scored.
    """

    log_s: Array
    unspent: Array
    bad: Array
    total: Array
    recent_bad: Array
    recent_total: Array
    last_bad: Array
    last_total: Array
    term_sum: Array
    term_count: Array
    score_count: Array
    score_sum: Array

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Evidence):
            return NotImplemented
        return all(np.array_equal(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))

    def __hash__(self) -> int:
        return hash(self.log_s.tobytes())

    def to_document(self) -> dict[str, Any]:
        """Return nested lists of floats; written with all their digits they come back the same, bit by bit."""
        return {f.name: getattr(self, f.name).tolist() for f in fields(self)}

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> "Evidence":
        """Read what ``to_document`` returned; KeyError, TypeError or ValueError when it is something else."""
        known = {f.name for f in fields(cls)}
        if document.keys() != known:
            raise KeyError(min(known ^ document.keys()))
        pairs = known - {"log_s", "unspent", "score_count", "score_sum"}
        # An empty list has lost its width: a policy without counted indicators has cells of none.
        width = {"log_s": GRID, **dict.fromkeys(pairs, 2)}
        arrays = {name: np.array(values, dtype=np.float64) for name, values in document.items()}
        return cls(**{name: a.reshape(-1, width[name]) if name in width else a for name, a in arrays.items()})


def begin(stack: Stack, shape: tuple[int, ...] = ()) -> Evidence:
    """Return evidence one on every row, for each element of ``shape``."""
    late = stack.onset_rate > 0
    share = np.where(late, ONSET_AT_START, 1.0)
    log_s = np.broadcast_to(stack.log_prior + np.log(share)[:, None], (*shape, *stack.log_prior.shape))
    unspent = np.broadcast_to(1.0 - share, (*shape, share.size))
    pairs = np.zeros((*shape, stack.cells, 2))
    streams = np.zeros((*shape, stack.streams))
    return Evidence(
        log_s=log_s.copy(),
        unspent=unspent.copy(),
        bad=pairs,
        total=pairs,
        recent_bad=pairs,
        recent_total=pairs,
        last_bad=pairs,
        last_total=pairs,
        term_sum=pairs,
        term_count=pairs,
        score_count=streams,
        score_sum=streams,
    )


def accumulate(stack: Stack, evidence: Evidence, tick: TickArrays) -> Evidence:
    """Return the evidence after one tick; O(rows · K) per rollout."""
    phi = dispersion.estimate(evidence.term_sum, evidence.term_count)
    factor = _log_factors(stack, evidence, tick, dispersion.deflation(phi))
    onset = stack.onset_rate * tick.elapsed_s[..., None]
    log_s, unspent = mixture.advance(evidence.log_s, evidence.unspent, stack.log_prior, onset, factor)
    term, usable = dispersion.pair_term(tick.bad, tick.total, evidence.last_bad, evidence.last_total)
    some = tick.total > 0
    keep = np.exp(-tick.elapsed_s / RECENT_S)[..., None, None]
    scored = ~np.isnan(tick.scores)
    return Evidence(
        log_s=log_s,
        unspent=unspent,
        bad=evidence.bad + tick.bad,
        total=evidence.total + tick.total,
        recent_bad=evidence.recent_bad * keep + tick.bad,
        recent_total=evidence.recent_total * keep + tick.total,
        last_bad=np.where(some, tick.bad, evidence.last_bad),
        last_total=np.where(some, tick.total, evidence.last_total),
        term_sum=evidence.term_sum + np.where(usable, term, 0.0),
        term_count=evidence.term_count + usable,
        score_count=evidence.score_count + scored.sum(axis=-1),
        score_sum=evidence.score_sum + np.where(scored, tick.scores, 0.0).sum(axis=-1),
    )


def _log_factors(stack: Stack, evidence: Evidence, tick: TickArrays, deflation: Array) -> Array:
    cell, arm = stack.count_cell, stack.count_arm
    counted = counts.log_factor(stack.per_bad, stack.per_good, tick.bad[..., cell, arm], tick.total[..., cell, arm])
    counted /= deflation[..., cell, arm, None]
    cell = stack.arms_cell
    arms = _arms_log_factor(stack, evidence, tick)
    arms /= deflation[..., cell, CHALLENGER, None]
    bets = scores.log_factor(stack.bets, stack.bet_bound, tick.scores[..., stack.bet_stream, :])
    split = sample_ratio.log_factor(tick.weight, tick.assigned[..., CHALLENGER], tick.assigned[..., CHAMPION])
    lead = counted.shape[:-2]
    bets = np.broadcast_to(bets, (*lead, *bets.shape[-2:]))
    return np.concatenate([counted, arms, bets, split[..., None, :]], axis=-2)


def _arms_log_factor(stack: Stack, evidence: Evidence, tick: TickArrays) -> Array:
    """Return ln of the two-arm factors (..., Ta, K): a product over strata, in each of which one coin was thrown."""
    cell = stack.arms_cell
    strata = tick.arms
    if strata is None:
        strata = two_arm.ArmsArrays(
            tick.bad[..., None, :, :], tick.total[..., None, :, :], _mean_weight(tick)[..., None]
        )
    factors = two_arm.log_factor(
        stack.ratios[..., None, :, :],
        stack.null_ratio[..., None, :],
        two_arm.ArmsArrays(strata.bad[..., cell, :], strata.total[..., cell, :], strata.weight[..., None]),
        seen_bad=evidence.bad[..., None, cell, :],
        seen_total=evidence.total[..., None, cell, :],
    )
    return np.asarray(factors.sum(axis=-3))


def _mean_weight(tick: TickArrays) -> Array:
    """Return the declared weight of the tick, over its stretches by their requests (...); zero without any."""
    requests = tick.assigned.sum(axis=-1)
    arrived = requests.sum(axis=-1)
    return np.asarray((tick.weight * requests).sum(axis=-1) / np.maximum(arrived, 1.0))
