"""All rollouts in a table, newest first, filtered by phase, model, words, who started them, and time."""

from collections.abc import Mapping
from dataclasses import dataclass

from controlplane.web.views.period import EVER, Span
from controlplane.web.views.rollout import RolloutView, view_rollout
from controlplane.web.views.series import sparkline
from controlplane.web.views.story import Chronicle, Story

MOST_SHOWN = 100


@dataclass(frozen=True)
class RolloutFilter:
    """Which rollouts are wanted: "" is any; ``words`` stand in id, service or versions; ``by`` started them."""

    phase: str = ""
    model: str = ""
    words: str = ""
    by: str = ""
    span: Span = EVER

    @property
    def is_any(self) -> bool:
        """Tell whether every rollout passes."""
        return self == RolloutFilter()

    def allows(self, story: Story, starter: str) -> bool:
        """Tell whether a rollout passes."""
        named = f"{story.rollout_id} {story.service} {story.champion} {story.challenger}".lower()
        return (
            self.phase in {"", story.last.phase.value}
            and self.model in {"", model_of(story)}
            and self.by in {"", starter}
            and self.words.lower() in named
            and self.span.meets(story.started_s, story.last.at_s)
        )


@dataclass(frozen=True)
class RolloutRow:
    """One line of the table: the rollout, who started it ("": not known), and its weight over time as an SVG path."""

    rollout: RolloutView
    starter: str
    path: str


@dataclass(frozen=True)
class RolloutList:
    """The lines, how many there are in all, how many of which phase, all models, and one sentence about them."""

    rows: tuple[RolloutRow, ...]
    total: int
    phases: dict[str, int]
    models: tuple[str, ...]
    sentence: str


def view_rollouts(
    chronicle: Chronicle, wanted: RolloutFilter = RolloutFilter(), starters: Mapping[str, str] | None = None
) -> RolloutList:
    """Return the rollouts that pass; ``starters`` tells who started which."""
    phases: dict[str, int] = {}
    rows: list[RolloutRow] = []
    found = 0
    for story in chronicle.newest():
        phases[story.last.phase.value] = phases.get(story.last.phase.value, 0) + 1
        starter = (starters or {}).get(story.rollout_id, "")
        if not wanted.allows(story, starter):
            continue
        found += 1
        if len(rows) < MOST_SHOWN:
            rows.append(RolloutRow(view_rollout(story), starter, sparkline(story)))
    models = tuple(sorted({model_of(story) for story in chronicle.stories.values()} - {""}))
    return RolloutList(tuple(rows), found, phases, models, summarise(phases))


def model_of(story: Story) -> str:
    """Return the model that a rollout is about; "" while its challenger is not known."""
    return story.challenger.partition("@")[0]


def summarise(phases: dict[str, int]) -> str:
    """Return one sentence about how many rollouts stand how."""
    if not phases:
        return "No rollout has begun here yet."
    order = ("paused", "failed", "rolling-back", "aborting", "promoting", "progressing", "mirroring", "baking")
    names = [*order, *(name for name in phases if name not in order)]
    parts = [f"{phases[name]} {name.replace('-', ' ')}" for name in names if phases.get(name)]
    total = sum(phases.values())
    return f"{total} rollout{'s' if total != 1 else ''}: {', '.join(parts)}."
