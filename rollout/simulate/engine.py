"""Hundreds of rollouts of one policy in one scenario, in virtual time.

The evidence, the gates, the attribution and the ramp are the very functions that ``decide`` calls, on arrays over
runs; the courses are written here once more for arrays, and the tests hold every tick of them against ``decide`` on
the same observations. A run ends rolled back, promoted (after its bake) or paused.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from contracts.specs.rollout import OnTimeout, Strategy
from rollout.attribution import ORDER, Attribution
from rollout.evidence.mixture import Array
from rollout.evidence.stack import CHALLENGER, Evidence, Flags, TickArrays, accumulate, begin
from rollout.intake import match_scores
from rollout.layout import STREAMS_PER_SCORE, Layout, layout_of
from rollout.observation import Observation
from rollout.policy import Policy
from rollout.ramp import adaptive_weight, largest_excess
from rollout.simulate.scenario import Scenario
from rollout.simulate.stream import Happened, happen
from rollout.simulate.trace import observe
from rollout.view import required_columns, view_columns

Arrival = tuple[Array, Happened] | None
Waiting = tuple[tuple[float, ...], tuple[float, ...]]


SAGA_TICKS = 3


class End(IntEnum):
    """How a simulated run ended."""

    RUNNING = 0
    ROLLED_BACK = 1
    PROMOTED = 2
    PAUSED = 3


@dataclass(frozen=True, slots=True, eq=False)
class Results:
    """What became of all runs, arrays over runs.

    ``end`` (values of ``End``); ``ended_s``; ``proven_s`` when promotion began, NaN if never; the challenger's ``bad``
    and all its ``requests`` until the end; ``traces``: what was observed in the runs that were to be
    recorded, as ``decide`` takes it.
    """

    end: npt.NDArray[np.int64]
    ended_s: Array
    proven_s: Array
    bad: Array
    requests: Array
    traces: dict[int, list[Observation]]

    def share(self, end: End) -> float:
        """Return the share of runs that ended so."""
        return float((self.end == end).mean())

    def ended_within(self, end: End, limit_s: float = np.inf) -> npt.NDArray[np.bool_]:
        """Return which runs ended so before ``limit_s``; at the maximum duration it was the clock, not the evidence."""
        return np.asarray((self.end == end) & (self.ended_s < limit_s))

    def median(self, name: str, end: End, limit_s: float = np.inf) -> float:
        """Return the median of a column over the runs that ended so before ``limit_s``; NaN when none did."""
        chosen = getattr(self, name)[self.ended_within(end, limit_s)]
        return float(np.median(chosen)) if chosen.size else float("nan")


@dataclass(slots=True)
class _Runs:
    """The runs still going, arrays over them; ``number`` is each one's place in the results."""

    number: npt.NDArray[np.intp]
    evidence: Evidence
    weight: Array
    newest_s: Array
    step: npt.NDArray[np.intp]
    step_since_s: Array
    step_requests: Array
    unmatched: list[list[Waiting]]
    proven_s: Array
    trial_s: Array
    pending: deque[tuple[Array, Happened]] = field(default_factory=deque)


def simulate(
    policy: Policy, scenario: Scenario, runs: int, rng: np.random.Generator, *, record: Sequence[int] = ()
) -> Results:
    """Run the policy ``runs`` times in the scenario; the same generator state gives the same results.

    The challenger is taken to be ready at once and the routing to follow within a tick; mirroring isn't simulated.
    """
    layout, spec = layout_of(policy), policy.spec
    results = Results(
        np.zeros(runs, dtype=np.int64),
        np.zeros(runs),
        np.full(runs, np.nan),
        np.zeros(runs),
        np.zeros(runs),
        {run: [] for run in record},
    )
    live = _begin(policy, layout, scenario, runs)
    for run in record:
        first = observe(policy, scenario, 0.0, newest_s=0.0, weight=0.0, arrived=None)
        results.traces[run].append(first)
    longest_s = spec.max_duration + spec.bake + 5 * scenario.tick_s
    ticks = int(min(scenario.duration_s, longest_s) / scenario.tick_s)
    for tick in range(1, ticks + 1):
        at_s = tick * scenario.tick_s
        happened = happen(scenario, policy.counted, live.weight, at_s, rng)
        results.bad[live.number] += happened.bad[:, 0, 0, CHALLENGER]
        results.requests[live.number] += happened.total[:, 0, 0, CHALLENGER]
        live.pending.append((live.weight, happened))
        arrived = live.pending.popleft() if len(live.pending) > scenario.lag_ticks else None
        lost = rng.random(live.number.size) < scenario.loss
        _take_in(policy, layout, scenario, live, arrived, lost=lost, at_s=at_s)
        _record(policy, scenario, results.traces, live, arrived, lost=lost, at_s=at_s)
        end = _course(policy, layout, scenario, live, at_s)
        results.end[live.number] = end
        results.ended_s[live.number] = at_s
        results.proven_s[live.number] = live.proven_s
        if (end != End.RUNNING).any():
            _keep(live, end == End.RUNNING)
        if not live.number.size:
            break
    return results


def _begin(policy: Policy, layout: Layout, scenario: Scenario, runs: int) -> _Runs:
    evidence = begin(layout.stack, (runs,))
    spec = policy.spec
    rate = np.full(runs, scenario.request_rate)
    weight = adaptive_weight(spec, largest_excess(layout, evidence), rate, np.zeros(runs))
    if spec.strategy is Strategy.STEPS:
        weight = np.full(runs, spec.steps[0].weight)
    empty: list[list[Waiting]] = [[((), ())] * len(policy.scored) for _ in range(runs)]
    zeros = np.zeros(runs)
    return _Runs(
        np.arange(runs),
        evidence,
        weight,
        zeros,
        np.zeros(runs, dtype=np.intp),
        zeros,
        zeros,
        empty,
        zeros + np.nan,
        zeros,
    )


def _record(
    policy: Policy,
    scenario: Scenario,
    traces: dict[int, list[Observation]],
    live: _Runs,
    arrived: Arrival,
    *,
    lost: Flags,
    at_s: float,
) -> None:
    for row, number in enumerate(live.number.tolist() if traces else ()):
        if number in traces:
            mine = None if arrived is None or lost[row] else (float(arrived[0][row]), arrived[1], row)
            newest_s, weight = float(live.newest_s[row]), float(live.weight[row])
            traces[number].append(observe(policy, scenario, at_s, newest_s=newest_s, weight=weight, arrived=mine))


def _take_in(
    policy: Policy, layout: Layout, scenario: Scenario, live: _Runs, arrived: Arrival, *, lost: Flags, at_s: float
) -> None:
    runs = live.number.size
    elapsed_s = np.full(runs, scenario.tick_s)
    if arrived is None:
        nothing = np.zeros((runs, layout.stack.cells, 2))
        scores = np.full((runs, layout.stack.streams, 0), np.nan)
        tick = TickArrays(nothing, nothing, scores, np.zeros((runs, 0)), np.zeros((runs, 0, 2)), elapsed_s)
        live.evidence = accumulate(layout.stack, live.evidence, tick)
        return
    weight, happened = arrived
    keep = ~lost
    live.newest_s = np.where(keep, at_s - scenario.lag_ticks * scenario.tick_s, live.newest_s)
    live.step_requests = live.step_requests + happened.total[:, 0, 0, CHALLENGER] * keep
    mask = keep[:, None, None]
    tick = TickArrays(
        bad=happened.bad.reshape(runs, -1, 2) * mask,
        total=happened.total.reshape(runs, -1, 2) * mask,
        scores=_streams(policy, live, happened, keep),
        weight=weight[:, None],
        assigned=happened.assigned[:, None, :] * mask,
        elapsed_s=elapsed_s,
    )
    live.evidence = accumulate(layout.stack, live.evidence, tick)


def _streams(policy: Policy, live: _Runs, happened: Happened, keep: Flags) -> Array:
    rows: list[list[Sequence[float]]] = []
    for run in range(live.number.size):
        row: list[Sequence[float]] = []
        for position in range(len(policy.scored)):
            mine, theirs = (tuple(arm[run].tolist()) if keep[run] else () for arm in happened.scores[position])
            contrasts, live.unmatched[run][position] = match_scores(live.unmatched[run][position], mine, theirs)
            row += [mine, theirs, (), [(one + 1.0) / 2.0 for one in contrasts]]
        rows.append(row)
    longest = max((len(stream) for row in rows for stream in row), default=0)
    scores = np.full((live.number.size, len(policy.scored) * STREAMS_PER_SCORE, longest), np.nan)
    for run, row in enumerate(rows):
        for column, stream in enumerate(row):
            scores[run, column, : len(stream)] = stream
    return scores


def _course(policy: Policy, layout: Layout, scenario: Scenario, live: _Runs, at_s: float) -> npt.NDArray[np.int64]:
    """Move all runs on by one tick: set their weights and return how they end, if they do."""
    spec, runs = policy.spec, live.number.size
    muted = np.zeros((runs, len(policy.gates)), dtype=bool)
    trial = np.isnan(live.proven_s)
    live.trial_s = live.trial_s + np.where(trial, scenario.tick_s, 0.0)
    columns = view_columns(layout, live.evidence, muted=muted)
    _, _, harm, safe, cause, _, _, _, split_broken, burning, excess, _ = columns
    silent = split_broken | ((at_s - live.newest_s > spec.max_staleness) & (live.weight > 0))
    proven = ((cause == ORDER.index(Attribution.CHALLENGER)) & harm).any(axis=-1) & ~silent
    outside, unclear, watched = (
        (cause == ORDER.index(one)).any(axis=-1) & ~silent
        for one in (Attribution.ENVIRONMENT, Attribution.UNCLEAR, Attribution.WATCH)
    )
    held = silent | outside | unclear | watched
    required = required_columns(policy)
    passed = (safe & ~harm)[:, required].all(axis=-1) & (required.size > 0)
    bounded = adaptive_weight(spec, excess, np.full(runs, scenario.request_rate), live.weight)
    if spec.strategy is Strategy.STEPS:
        wanted, ready = _next_steps(policy, live, burning, held, at_s)
        passed = passed & ready if required.size else ready
    else:
        wanted = np.where(burning, np.minimum(bounded, live.weight), bounded)
    end = np.zeros(runs, dtype=np.int64)
    promotes = passed & ~held
    late = trial & (live.trial_s >= spec.max_duration)
    end[late & ~promotes] = End.ROLLED_BACK if spec.on_timeout is OnTimeout.ROLLBACK else End.PAUSED
    if spec.on_timeout is OnTimeout.PROMOTE:
        doubtful = (harm | silent[:, None]).any(axis=-1)
        end[late & ~doubtful] = End.RUNNING
        promotes = promotes | (late & ~doubtful)
    end[split_broken & trial] = End.PAUSED
    end[_baked(policy, scenario, live, at_s) & ~(outside | unclear)] = End.PROMOTED
    end[proven] = End.ROLLED_BACK
    wanted = np.where(held | promotes, live.weight, wanted)
    wanted = np.where(unclear, np.minimum(live.weight, bounded), wanted)
    wanted = np.where(outside, np.minimum(live.weight, spec.min_weight), wanted)
    doubt = ~trial & (outside | unclear)
    live.weight = np.where(trial, wanted, np.where(doubt, spec.min_weight, 1.0))
    live.proven_s = np.where(trial & promotes & (end == End.RUNNING), at_s, np.where(doubt, np.nan, live.proven_s))
    return end


def _baked(policy: Policy, scenario: Scenario, live: _Runs, at_s: float) -> Flags:
    """Return the runs whose bake is over; it begins three ticks after the proof: weight, alias, acknowledgement."""
    return np.asarray(at_s - live.proven_s >= policy.spec.bake + SAGA_TICKS * scenario.tick_s)


def _next_steps(policy: Policy, live: _Runs, burning: Flags, held: Flags, at_s: float) -> tuple[Array, Flags]:
    """Advance explicit steps; return the weights asked for and whether all steps are done.

    A person who is asked by a ``pause`` step is taken to answer at once.
    """
    steps = policy.spec.steps
    weights = np.array([step.weight for step in steps])
    hold_s = np.array([step.hold for step in steps])
    least = np.array([step.min_requests for step in steps])
    done = live.step >= len(steps)
    current = np.minimum(live.step, len(steps) - 1)
    waited = (at_s - live.step_since_s >= hold_s[current]) & (live.step_requests >= least[current])
    moves = waited & ~burning & ~held & ~done
    live.step = live.step + moves
    live.step_since_s = np.where(moves, at_s, live.step_since_s)
    live.step_requests = np.where(moves, 0.0, live.step_requests)
    return weights[np.minimum(live.step, len(steps) - 1)], done


def _keep(live: _Runs, keep: Flags) -> None:
    live.number = live.number[keep]
    live.evidence = Evidence(**{f.name: getattr(live.evidence, f.name)[keep] for f in fields(Evidence)})
    for name in ("weight", "newest_s", "proven_s", "trial_s", "step", "step_since_s", "step_requests"):
        setattr(live, name, getattr(live, name)[keep])
    live.unmatched = [one for one, kept in zip(live.unmatched, keep, strict=True) if kept]
    live.pending = deque((weight[keep], _subset(happened, keep)) for weight, happened in live.pending)


def _subset(happened: Happened, keep: Flags) -> Happened:
    chosen = np.flatnonzero(keep)
    scores = tuple(([mine[k] for k in chosen], [theirs[k] for k in chosen]) for mine, theirs in happened.scores)
    return Happened(happened.bad[keep], happened.total[keep], happened.assigned[keep], scores)
