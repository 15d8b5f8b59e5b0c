"""Which e-processes a policy needs, and how its gates read them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np

from contracts.specs.slo import GateKind, ScoreSlo, Slo
from rollout.evidence import sample_ratio
from rollout.evidence.counts import CountsTest, Side, counts_test
from rollout.evidence.mixture import GRID, ONSET_AT_START, Array
from rollout.evidence.scores import ScoresTest, scores_test
from rollout.evidence.stack import CHALLENGER, CHAMPION, Flags, Index, Stack
from rollout.evidence.two_arm import ArmsTest, arms_test
from rollout.policy import Gate, GateFamily, Policy

LIVE, LIVE_CHAMPION, PAIRED, CONTRAST = range(4)
STREAMS_PER_SCORE = 4
EQUAL = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """How each gate (G,) combines rows (T): row numbers (G, J) and the logarithms of their shares (G, J).

    ``harm``: the evidence against "tolerable". ``safe``: against "unacceptable". ``champion``: against "the champion
    is tolerable". ``blame``: against "the challenger is no worse than the champion". A share of zero reads nothing.
    """

    harm: Index
    harm_share: Array
    safe: Index
    safe_share: Array
    champion: Index
    champion_share: Array
    blame: Index
    blame_share: Array


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """A policy's e-processes (``stack``), its gates' readings of them, and their thresholds, all (G,).

    ``cell`` is the gate's overall cell (-1 for scores) and ``stream`` its live stream (-1 for counts). The ramp is
    limited by what upper bounds, at level ``ramp_level`` each, have over ``ramp_bounds``: those of the bad rates of
    ``ramp_cells``, then those of what the mean scores of ``ramp_streams`` lack of one. ``relative`` gates compare
    rates; ``blocking`` ones may roll back, ``informing`` ones are only shown. Layouts of one ``shape`` can be joined.
    """

    stack: Stack
    readings: Readings
    log_needed_harm: Array
    log_needed_safe: Array
    cell: Index
    stream: Index
    ramp_cells: Index
    ramp_bounds: Array
    ramp_streams: Index
    ramp_level: Array
    relative: Flags
    blocking: Flags
    informing: Flags
    shape: bytes


@dataclass(slots=True)
class _Rows:
    """Rows as they are collected, by family, each with the keys by which gates find them."""

    counts: list[tuple[CountsTest, int, int]] = field(default_factory=list)
    arms: list[tuple[ArmsTest, int]] = field(default_factory=list)
    bets: list[tuple[ScoresTest, int]] = field(default_factory=list)
    keys: dict[tuple[str, str], list[tuple[str, int]]] = field(default_factory=dict)

    def add_count(self, key: tuple[str, str], test: CountsTest, cell: int, arm: int) -> None:
        self.keys.setdefault(key, []).append(("counts", len(self.counts)))
        self.counts.append((test, cell, arm))

    def add_arms(self, key: tuple[str, str], test: ArmsTest, cell: int) -> None:
        self.keys.setdefault(key, []).append(("arms", len(self.arms)))
        self.arms.append((test, cell))

    def add_bet(self, key: tuple[str, str], test: ScoresTest, stream: int) -> None:
        self.keys.setdefault(key, []).append(("bets", len(self.bets)))
        self.bets.append((test, stream))

    def numbers(self, key: tuple[str, str]) -> list[int]:
        offset = {"counts": 0, "arms": len(self.counts), "bets": len(self.counts) + len(self.arms)}
        return [offset[family] + number for family, number in self.keys.get(key, [])]


@lru_cache(maxsize=1024)
def layout_of(policy: Policy) -> Layout:
    """Return the e-processes that ``policy`` needs; the same object for the same policy."""
    rows = _Rows()
    for gate in policy.gates:
        if gate.family is GateFamily.BURN:
            _add_burn(rows, gate, _cells(policy, gate.sli))
        elif gate.family is GateFamily.RELATIVE:
            _add_relative(rows, gate, _cells(policy, gate.sli))
        else:
            _add_score(rows, gate, policy)
    burn = [gate for gate in policy.gates if gate.family is GateFamily.BURN]
    scored = [gate for gate in policy.gates if gate.family is GateFamily.SCORE and _is_budgeted(policy.slos[gate.sli])]
    stack, readings = _stack(rows, policy), _readings(rows, policy.gates)
    ramp_streams = np.array([_stream(policy, gate) + LIVE for gate in scored], dtype=np.intp)
    indices = (
        np.array([stack.cells, stack.streams, len(policy.gates)]),
        ramp_streams,
        *(stack.count_cell, stack.count_arm, stack.arms_cell, stack.bet_stream),
        *(readings.harm, readings.safe, readings.champion, readings.blame),
    )
    return Layout(
        stack=stack,
        readings=readings,
        log_needed_harm=np.array([-np.log(gate.alpha) for gate in policy.gates]),
        log_needed_safe=np.array([-np.log(gate.beta) for gate in policy.gates]),
        cell=np.array([_cell(policy, gate) for gate in policy.gates], dtype=np.intp),
        stream=np.array([_stream(policy, gate) for gate in policy.gates], dtype=np.intp),
        ramp_cells=np.array([_cell(policy, gate) for gate in burn], dtype=np.intp),
        ramp_bounds=np.array([*(gate.tolerable for gate in burn), *(1.0 - gate.tolerable for gate in scored)]),
        ramp_streams=ramp_streams,
        ramp_level=np.array(policy.spec.gamma / max(len(burn) + len(scored), 1)),
        relative=np.array([gate.family is GateFamily.RELATIVE for gate in policy.gates]),
        blocking=np.array([gate.kind is GateKind.GATE for gate in policy.gates]),
        informing=np.array([gate.kind is GateKind.INFO for gate in policy.gates]),
        shape=b"|".join(array.tobytes() for array in indices),
    )


def join_layouts(layouts: Sequence[Layout]) -> Layout:
    """Return one layout whose parameters carry a leading axis over rollouts; all must have the same ``shape``."""
    first = layouts[0]
    if all(layout is first for layout in layouts):
        return first
    in_stack = ("log_prior", "onset_rate", "per_bad", "per_good", "ratios", "null_ratio", "bets", "bet_bound")
    changes: dict[str, Any] = {name: np.stack([getattr(one.stack, name) for one in layouts]) for name in in_stack}
    stack = replace(first.stack, **changes)
    own = ("log_needed_harm", "log_needed_safe", "ramp_bounds", "blocking", "informing")
    changes = {name: np.stack([getattr(one, name) for one in layouts]) for name in own}
    level = np.stack([one.ramp_level for one in layouts])[:, None]
    return replace(first, stack=stack, ramp_level=level, **changes)


def _is_budgeted(slo: Slo) -> bool:
    return isinstance(slo, ScoreSlo) and slo.in_harm_budget


def _cells(policy: Policy, sli: str) -> range:
    """Return the cells of an indicator: overall first, then its slices."""
    width = 1 + len(policy.slices)
    first = policy.counted.index(sli) * width
    return range(first, first + width)


def _cell(policy: Policy, gate: Gate) -> int:
    return -1 if gate.family is GateFamily.SCORE else _cells(policy, gate.sli)[0]


def _stream(policy: Policy, gate: Gate) -> int:
    if gate.family is not GateFamily.SCORE:
        return -1
    return policy.scored.index(gate.sli) * STREAMS_PER_SCORE


def _add_burn(rows: _Rows, gate: Gate, cells: range) -> None:
    for cell in cells:
        rows.add_count((gate.name, "harm"), counts_test(gate.tolerable, Side.HARM), cell, CHALLENGER)
        rows.add_arms((gate.name, "blame"), arms_test(EQUAL, Side.HARM), cell)
    if gate.unacceptable is not None:
        rows.add_count((gate.name, "safe"), counts_test(gate.unacceptable, Side.SAFE), cells[0], CHALLENGER)
    rows.add_count((gate.name, "champion"), counts_test(gate.tolerable, Side.HARM), cells[0], CHAMPION)


def _add_relative(rows: _Rows, gate: Gate, cells: range) -> None:
    for cell in cells:
        rows.add_arms((gate.name, "harm"), arms_test(gate.tolerable, Side.HARM), cell)
    rows.keys[gate.name, "blame"] = rows.keys[gate.name, "harm"]
    if gate.unacceptable is not None:
        rows.add_arms((gate.name, "safe"), arms_test(gate.unacceptable, Side.SAFE), cells[0])


def _add_score(rows: _Rows, gate: Gate, policy: Policy) -> None:
    slo = policy.slos[gate.sli]
    if not isinstance(slo, ScoreSlo) or gate.unacceptable is None:
        raise TypeError(f"{gate.name} is not a score gate")
    first = _stream(policy, gate)
    rows.add_bet((gate.name, "harm"), scores_test(gate.tolerable, Side.HARM), first + LIVE)
    rows.add_bet((gate.name, "safe"), scores_test(gate.unacceptable, Side.SAFE), first + LIVE)
    rows.add_bet((gate.name, "champion"), scores_test(gate.tolerable, Side.HARM), first + LIVE_CHAMPION)
    rows.add_bet((gate.name, "blame"), scores_test(0.5, Side.HARM), first + CONTRAST)
    if policy.spec.mirror is not None:
        rows.add_bet((gate.name, "harm"), scores_test((1 - slo.margin) / 2, Side.HARM), first + PAIRED)
        rows.keys[gate.name, "blame"].append(rows.keys[gate.name, "harm"][-1])
        rows.add_bet((gate.name, "safe"), scores_test((1 - slo.unacceptable_margin) / 2, Side.SAFE), first + PAIRED)


def _readings(rows: _Rows, gates: Sequence[Gate]) -> Readings:
    def read(purpose: str) -> tuple[Index, Array]:
        numbers = [rows.numbers((gate.name, purpose)) for gate in gates]
        width = max(1, *(len(row) for row in numbers))
        index = np.zeros((len(gates), width), dtype=np.intp)
        share = np.full((len(gates), width), -np.inf)
        for position, (gate, row) in enumerate(zip(gates, numbers, strict=True)):
            index[position, : len(row)] = row
            share[position, : len(row)] = np.log(_shares(len(row), gate.family))
        return index, share

    harm, safe, champion, blame = (read(purpose) for purpose in ("harm", "safe", "champion", "blame"))
    return Readings(*harm, *safe, *champion, *blame)


def _shares(size: int, family: GateFamily) -> Array:
    """Return how a gate's evidence is averaged: half on all traffic and half on its slices; sources of scores alike."""
    if size <= 1 or family is GateFamily.SCORE:
        return np.full(size, 1.0 / max(size, 1))
    return np.array([0.5] + [0.5 / (size - 1)] * (size - 1))


def _stack(rows: _Rows, policy: Policy) -> Stack:
    def block(parts: list[Array]) -> Array:
        return np.array(parts) if parts else np.zeros((0, GRID))

    def index(parts: list[int]) -> Index:
        return np.array(parts, dtype=np.intp)

    tests: list[CountsTest | ArmsTest | ScoresTest] = [
        *(row[0] for row in rows.counts),
        *(row[0] for row in rows.arms),
        *(row[0] for row in rows.bets),
    ]
    late = [test.side is Side.HARM for test in tests] + [True]
    return Stack(
        cells=len(policy.counted) * (1 + len(policy.slices)),
        streams=len(policy.scored) * STREAMS_PER_SCORE,
        log_prior=np.array([*(test.log_prior for test in tests), sample_ratio.LOG_PRIOR]),
        onset_rate=np.where(late, (1.0 - ONSET_AT_START) / policy.horizon_s, 0.0),
        per_bad=block([test.per_bad for test, _, _ in rows.counts]),
        per_good=block([test.per_good for test, _, _ in rows.counts]),
        count_cell=index([cell for _, cell, _ in rows.counts]),
        count_arm=index([arm for _, _, arm in rows.counts]),
        ratios=block([test.ratios for test, _ in rows.arms]),
        null_ratio=np.array([test.null_ratio for test, _ in rows.arms]),
        arms_cell=index([cell for _, cell in rows.arms]),
        bets=block([test.bets for test, _ in rows.bets]),
        bet_bound=np.array([test.bound for test, _ in rows.bets]),
        bet_stream=index([stream for _, stream in rows.bets]),
    )
