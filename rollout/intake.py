"""From an observation to arrays: one tick of one rollout as the e-processes read it."""

from collections.abc import Mapping, Sequence
from dataclasses import fields

import numpy as np

from contracts.records import record
from rollout.evidence.counts import Tally
from rollout.evidence.stack import TickArrays
from rollout.evidence.two_arm import ArmsArrays, ArmsTick
from rollout.observation import Exposure, Observation, ScoresTick, Stratum
from rollout.phases import BEFORE_TRAFFIC
from rollout.policy import Policy
from rollout.state import State

UNMATCHED_KEPT = 8
NOTHING = ScoresTick()
IDLE = ArmsTick(Tally(), Tally())
NO_SLICES: Mapping[str, ArmsTick] = {}

Unmatched = tuple[tuple[float, ...], tuple[float, ...]]
Cells = list[tuple[int, int]]


@record(frozen=True, slots=True)
class Intake:
    """One tick as plain numbers, and what the state keeps of its scores; names and shapes as in ``TickArrays``.

    ``strata``: weight, bad and total of the requests assigned under one share.
    """

    bad: Cells
    total: Cells
    strata: list[tuple[float, Cells, Cells]]
    streams: list[Sequence[float]]
    exposures: tuple[Exposure, ...]
    elapsed_s: float
    unmatched: tuple[Unmatched, ...]
    scores_waiting_s: tuple[float, ...]


def take_in(policy: Policy, state: State, observation: Observation) -> Intake:
    """Return one tick's numbers.

    Requests and scores from before the trial (loading, first compilation, synthetic prompts) are left out.
    """
    elapsed_s = observation.at_s - state.at_s
    if state.phase in BEFORE_TRAFFIC:
        observation = Observation(at_s=observation.at_s)
    bad, total = _cells(policy, observation)
    strata = [(one.weight, *_cells(policy, one)) for one in observation.strata]
    streams, unmatched, waiting = _scores(policy, state, observation)
    return Intake(bad, total, strata, streams, observation.exposures, elapsed_s, unmatched, waiting)


def join_ticks(intakes: Sequence[Intake]) -> TickArrays:
    """Return many rollouts' ticks along a leading axis, padded where one has fewer scores or stretches."""
    rows = len(intakes)
    longest = max((len(stream) for one in intakes for stream in one.streams), default=0)
    scores = np.full((rows, len(intakes[0].streams), longest), np.nan)
    stretches = max(len(one.exposures) for one in intakes)
    weight, assigned = np.zeros((rows, stretches)), np.zeros((rows, stretches, 2))
    for row, one in enumerate(intakes):
        for column, stream in enumerate(one.streams):
            if stream:
                scores[row, column, : len(stream)] = stream
        for column, exposure in enumerate(one.exposures):
            weight[row, column] = exposure.weight
            assigned[row, column] = exposure.challenger, exposure.champion
    return TickArrays(
        bad=np.array([one.bad for one in intakes], dtype=float).reshape(rows, -1, 2),
        total=np.array([one.total for one in intakes], dtype=float).reshape(rows, -1, 2),
        scores=scores,
        weight=weight,
        assigned=assigned,
        elapsed_s=np.array([one.elapsed_s for one in intakes]),
        arms=_join_strata(intakes) if any(one.strata for one in intakes) else None,
    )


def one_tick(intake: Intake) -> TickArrays:
    """Return the arrays of one rollout's tick, without a leading axis."""
    joined = join_ticks([intake])
    arms = None if joined.arms is None else ArmsArrays(*(getattr(joined.arms, f.name)[0] for f in fields(ArmsArrays)))
    arrays = {f.name: getattr(joined, f.name)[0] for f in fields(TickArrays) if f.name != "arms"}
    return TickArrays(**arrays, arms=arms)


def match_scores(
    unmatched: Unmatched, challenger: tuple[float, ...], champion: tuple[float, ...]
) -> tuple[list[float], Unmatched]:
    """Pair scores of both arms in order of arrival; return the differences and what waits for a partner.

    The order doesn't depend on the scores, so that a difference of equal arms has mean zero, also while what the
    world asks for drifts. Only the newest few wait: old ones would compare different times.
    """
    mine, theirs = unmatched[0] + challenger, unmatched[1] + champion
    size = min(len(mine), len(theirs))
    differences = [a - b for a, b in zip(mine, theirs, strict=False)]
    return differences, (mine[size:][-UNMATCHED_KEPT:], theirs[size:][-UNMATCHED_KEPT:])


def _join_strata(intakes: Sequence[Intake]) -> ArmsArrays:
    """Return many rollouts' strata, padded with empty ones; a tick without any is one, under its declared weight."""
    strata = [one.strata or [(_declared_weight(one), one.bad, one.total)] for one in intakes]
    rows, most, cells = len(intakes), max(map(len, strata)), len(intakes[0].bad)
    bad, total, weight = np.zeros((rows, most, cells, 2)), np.zeros((rows, most, cells, 2)), np.zeros((rows, most))
    for row, parts in enumerate(strata):
        for column, (share, part_bad, part_total) in enumerate(parts):
            weight[row, column] = share
            bad[row, column], total[row, column] = np.reshape(part_bad, (-1, 2)), np.reshape(part_total, (-1, 2))
    return ArmsArrays(bad, total, weight)


def _declared_weight(intake: Intake) -> float:
    requests = sum(one.challenger + one.champion for one in intake.exposures)
    return sum(one.weight * (one.challenger + one.champion) for one in intake.exposures) / max(requests, 1)


def _cells(policy: Policy, observation: Observation | Stratum) -> tuple[Cells, Cells]:
    bad: Cells = []
    total: Cells = []
    for name in policy.counted:
        parts = observation.slices.get(name, NO_SLICES)
        for arms in (observation.counts.get(name, IDLE), *(parts.get(part, IDLE) for part in policy.slices)):
            bad.append((arms.challenger.bad, arms.champion.bad))
            total.append((arms.challenger.total, arms.champion.total))
    return bad, total


def _scores(
    policy: Policy, state: State, observation: Observation
) -> tuple[list[Sequence[float]], tuple[Unmatched, ...], tuple[float, ...]]:
    streams: list[Sequence[float]] = []
    kept, waiting = [], []
    for position, name in enumerate(policy.scored):
        arrived = observation.scores.get(name, NOTHING)
        contrasts, unmatched = match_scores(state.unmatched[position], arrived.challenger, arrived.champion)
        # In the order of LIVE, LIVE_CHAMPION, PAIRED, CONTRAST; differences go from [-1, 1] to [0, 1].
        streams += (arrived.challenger, arrived.champion)
        streams += ([(pair + 1.0) / 2.0 for pair in arrived.pairs], [(one + 1.0) / 2.0 for one in contrasts])
        kept.append(unmatched)
        waiting.append(_waiting_since(arrived, state.scores_waiting_s[position], observation.at_s))
    return streams, tuple(kept), tuple(waiting)


def _waiting_since(arrived: ScoresTick, before_s: float, at_s: float) -> float:
    """Return since when pictures are due and no score came; -1 when none are due."""
    if arrived.due == 0:
        return -1.0
    return at_s if arrived.challenger or arrived.pairs or before_s < 0 else before_s
