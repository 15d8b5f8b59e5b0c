"""Two rollouts beside one another: how they ended, how long each phase took, what each check said."""

from dataclasses import dataclass

from controlplane.web.views.rollout import Check, RolloutView, view_rollout
from controlplane.web.views.series import Columns, thin
from controlplane.web.views.story import Story


@dataclass(frozen=True)
class Beside:
    """One check in both rollouts; None where a rollout has no such check."""

    gate: str
    first: Check | None
    second: Check | None


@dataclass(frozen=True)
class Comparison:
    """Two rollouts: ``phases`` has the seconds that each spent in every phase, None where it never was in one."""

    sentence: str
    first: RolloutView
    second: RolloutView
    largest: tuple[float, float]
    phases: tuple[tuple[str, float | None, float | None], ...]
    checks: tuple[Beside, ...]
    series: Columns


def compare_rollouts(first: Story, second: Story) -> Comparison:
    """Return two rollouts beside one another; times count from the beginning of each."""
    views = view_rollout(first), view_rollout(second)
    spent = _phases(first), _phases(second)
    names = dict.fromkeys([*spent[0], *spent[1]])
    checks = [{check.gate: check for check in view.checks} for view in views]
    gates = dict.fromkeys([*checks[0], *checks[1]])
    return Comparison(
        sentence=f"{_outcome(first)}; {_outcome(second)}.",
        first=views[0],
        second=views[1],
        largest=(max(tick.weight for tick in first.ticks), max(tick.weight for tick in second.ticks)),
        phases=tuple((name, spent[0].get(name), spent[1].get(name)) for name in names),
        checks=tuple(Beside(gate, checks[0].get(gate), checks[1].get(gate)) for gate in gates),
        series=_weights(first, second),
    )


def _outcome(story: Story) -> str:
    took_s = story.last.at_s - story.started_s
    phase = story.last.phase.value.replace("-", " ")
    return f"{story.rollout_id} {'was' if story.is_over else 'is'} {phase} after {took_s:.0f} s"


def _phases(story: Story) -> dict[str, float]:
    spent: dict[str, float] = {}
    for position, span in enumerate(story.spans):
        after = story.spans[position + 1].since_s if position + 1 < len(story.spans) else story.last.at_s
        spent[span.phase.value] = spent.get(span.phase.value, 0.0) + after - span.since_s
    return spent


def _weights(first: Story, second: Story) -> Columns:
    """Return both shares asked for at every moment at which either was decided; nothing after a rollout's end."""
    courses = []
    for story in (first, second):
        rows = thin(range(len(story.ticks)), keep=[tick.weight for tick in story.ticks])
        courses.append([(round(story.ticks[row].at_s - story.started_s, 1), story.ticks[row].weight) for row in rows])
    times = sorted({t for course in courses for t, _ in course})
    columns: Columns = {"s": list(range(len(times))), "t": times}
    for name, course in zip(("first", "second"), courses, strict=True):
        held: dict[float, float] = dict(course)
        value: float | None = None
        values: list[float | None] = []
        for t in times:
            value = held.get(t, value) if t <= course[-1][0] else None
            values.append(value)
        columns[name] = values
    return columns
