"""Many rollouts decided at once: the evidence of all in a few vector operations, the courses one by one."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from contracts.records import record
from rollout.evidence.stack import Evidence, accumulate
from rollout.intake import Intake, join_ticks, take_in
from rollout.layout import join_layouts, layout_of
from rollout.machine import Decision, check_inputs, conclude, judged
from rollout.manual import apply_overrides
from rollout.observation import Observation
from rollout.phases import Refusal
from rollout.policy import Policy
from rollout.state import State
from rollout.view import View, muted_gates, view_columns

EVIDENCE_FIELDS = tuple(f.name for f in fields(Evidence))
CHUNK = 100


@record(frozen=True, slots=True)
class Case:
    """One rollout at one tick."""

    policy: Policy
    state: State
    observation: Observation


@record(frozen=True, slots=True)
class _Ready:
    """A checked case with its overrides applied and its tick as arrays."""

    policy: Policy
    state: State
    observation: Observation
    refusals: tuple[Refusal, ...]
    intake: Intake


def decide_many(cases: Sequence[Case]) -> list[Decision]:
    """Decide all cases, in order, as ``decide`` would one by one; rollouts with the same gates share the arithmetic.

    Raises:
        InvalidInput: as ``decide``, for the first case that can't be; then nothing is decided.
    """
    groups: dict[tuple[bytes, bool], list[int]] = defaultdict(list)
    for number, case in enumerate(cases):
        check_inputs(case.policy, case.state, case.observation)
        groups[layout_of(case.policy).shape, judged(case.state)].append(number)
    decided: list[Decision | None] = [None] * len(cases)
    for (_, counting), numbers in groups.items():
        for first in range(0, len(numbers), CHUNK):
            chosen = numbers[first : first + CHUNK]
            part = [_make_ready(cases[number]) for number in chosen]
            for number, one, view in zip(chosen, part, _views(part, counting=counting), strict=True):
                decided[number] = conclude(
                    one.policy, one.state, one.observation, intake=one.intake, view=view, refusals=one.refusals
                )
    return [decision for decision in decided if decision is not None]


def _make_ready(case: Case) -> _Ready:
    state, refusals = apply_overrides(case.policy, case.state, case.observation.manual)
    intake = take_in(case.policy, state, case.observation)
    return _Ready(case.policy, state, case.observation, refusals, intake)


def _views(part: Sequence[_Ready], *, counting: bool) -> list[View]:
    layout = join_layouts([layout_of(one.policy) for one in part])
    rows = [one.state.evidence for one in part]
    evidence = Evidence(**{name: np.array([getattr(row, name) for row in rows]) for name in EVIDENCE_FIELDS})
    if counting:
        evidence = accumulate(layout.stack, evidence, join_ticks([one.intake for one in part]))
    muted = np.array([muted_gates(one.policy, one.state) for one in part])
    columns = view_columns(layout, evidence, muted=muted)
    split = [getattr(evidence, name) for name in EVIDENCE_FIELDS]
    singles = (Evidence(*values) for values in zip(*split, strict=True))
    numbers = zip(*(column.tolist() for column in columns), strict=True)
    return [View(single, *row) for single, row in zip(singles, numbers, strict=True)]
