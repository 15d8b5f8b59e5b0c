"""All rollouts in a table, newest first, filtered by phase and words."""

from dataclasses import dataclass

from controlplane.web.views.rollout import RolloutView, view_rollout
from controlplane.web.views.series import sparkline
from controlplane.web.views.story import Chronicle

MOST_SHOWN = 100


@dataclass(frozen=True)
class RolloutRow:
    """One line of the table: the rollout, and its weight over time as an SVG path."""

    rollout: RolloutView
    path: str


@dataclass(frozen=True)
class RolloutList:
    """The lines, how many there are in all, how many of which phase, and one sentence about them."""

    rows: tuple[RolloutRow, ...]
    total: int
    phases: dict[str, int]
    sentence: str


def view_rollouts(chronicle: Chronicle, *, phase: str = "", words: str = "") -> RolloutList:
    """Return the rollouts whose phase is ``phase`` and whose ids, versions or service contain ``words``."""
    phases: dict[str, int] = {}
    rows: list[RolloutRow] = []
    found = 0
    for story in chronicle.newest():
        phases[story.last.phase.value] = phases.get(story.last.phase.value, 0) + 1
        named = f"{story.rollout_id} {story.service} {story.champion} {story.challenger}".lower()
        if (phase and story.last.phase.value != phase) or words.lower() not in named:
            continue
        found += 1
        if len(rows) < MOST_SHOWN:
            rows.append(RolloutRow(view_rollout(story), sparkline(story)))
    return RolloutList(tuple(rows), found, phases, summarise(phases))


def summarise(phases: dict[str, int]) -> str:
    """Return one sentence about how many rollouts stand how."""
    if not phases:
        return "No rollout has begun here yet."
    order = ("paused", "failed", "rolling-back", "aborting", "promoting", "progressing", "mirroring", "baking")
    names = [*order, *(name for name in phases if name not in order)]
    parts = [f"{phases[name]} {name.replace('-', ' ')}" for name in names if phases.get(name)]
    total = sum(phases.values())
    return f"{total} rollout{'s' if total != 1 else ''}: {', '.join(parts)}."
