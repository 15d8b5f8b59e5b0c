"""How the demo looks: a live view in a terminal, plain lines elsewhere, a table at the end."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from contracts.events import Event
from contracts.units import format_duration, format_fraction
from rollout.machine import Decision
from rollout.phases import Phase
from rollout.policy import GateFamily
from rollout.verdicts import Outcome, Verdict, shorten

PHASE_STYLE = {Phase.PROMOTED: "bold green", Phase.ROLLED_BACK: "bold red", Phase.ROLLING_BACK: "red"}
OUTCOME_MARK = {
    Outcome.PASS: Text("✔ safe", "green"),
    Outcome.HARM: Text("✖ harm", "red"),
    Outcome.INCONCLUSIVE: Text("… not yet", "yellow"),
    Outcome.NO_DATA: Text("? no data", "magenta"),
}
BAR_CELLS = 40
SHOWN_CHANGE = 0.05


@dataclass(frozen=True)
class Ending:
    """How one rollout of the demo ended; ``wrong`` says of each picture found wrong what it shows."""

    title: str
    expected: Phase
    seen: Phase
    why: str
    duration_s: float
    requests: int
    wrong: tuple[str, ...]

    @property
    def as_expected(self) -> bool:
        """Tell whether it ended as the scenario says."""
        return self.seen is self.expected


@dataclass
class Scene:
    """What is on show now: the rollout's title, its last decision, what its users saw."""

    title: str
    start_s: float
    decision: Decision | None = None
    now_s: float = 0.0
    rate: float = 0.0
    answered: dict[str, int] = field(default_factory=dict)


class Stage(Protocol):
    """Where the demo is shown."""

    def say(self, line: str) -> None:
        """Show one line that stays."""
        ...

    def show(self, scene: Scene) -> None:
        """Show the rollout as it stands."""
        ...

    def tell(self, event: Event) -> None:
        """Show what a rollout notifies people of."""
        ...

    def live(self) -> AbstractContextManager[object]:
        """Return the context in which rollouts are shown."""
        ...


class LiveStage:
    """A view that is redrawn in place."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=True)

    def say(self, line: str) -> None:
        """Print above the live view."""
        self._console.print(line, markup=False)

    def show(self, scene: Scene) -> None:
        """Redraw."""
        self._live.update(draw_scene(scene))

    def tell(self, event: Event) -> None:
        """Print the event above the live view."""
        self.say(f"● {event.message}  [{event.code}]")

    def live(self) -> AbstractContextManager[object]:
        """Return the live view."""
        return self._live


class PlainStage:
    """One line whenever phase or outcomes change, or the share by five points; for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last: tuple[object, ...] = ()

    def say(self, line: str) -> None:
        """Print a line."""
        self._console.print(line, markup=False, soft_wrap=True)

    def show(self, scene: Scene) -> None:
        """Print a line if something changed."""
        decision = scene.decision
        if decision is None:
            return
        outcomes = tuple(verdict.outcome for verdict in decision.verdicts)
        now = (scene.title, decision.state.phase, round(decision.weight / SHOWN_CHANGE), outcomes)
        if now != self._last:
            self._last = now
            age = format_duration(round(scene.now_s - scene.start_s))
            share = format_fraction(decision.weight, 2)
            self.say(f"  {age:>6}  {decision.state.phase.value:<12} {share:>6}  {decision.reason.sentence}")

    def tell(self, event: Event) -> None:
        """Print nothing: the decision's own line says the same."""

    def live(self) -> AbstractContextManager[object]:
        """Return a context that does nothing."""
        return nullcontext()


def draw_scene(scene: Scene) -> RenderableType:
    """Draw one rollout: phase, share of traffic, gates, the reason of the last decision."""
    decision = scene.decision
    if decision is None:
        return Text(scene.title)
    phase = decision.state.phase
    filled = round(decision.weight * BAR_CELLS)
    bar = Text("█" * filled, "cyan") + Text("░" * (BAR_CELLS - filled), "dim")
    answered = ", ".join(f"{version}: {count}" for version, count in sorted(scene.answered.items()))
    age = format_duration(round(scene.now_s - scene.start_s))
    head = Text.assemble(
        (scene.title, "bold"),
        "   ",
        (phase.value, PHASE_STYLE.get(phase, "cyan")),
        f"   {age}   {scene.rate:.1f} requests/s",
    )
    share = Text.assemble("share  ", bar, f"  {format_fraction(decision.weight, 2)}")
    lines: list[RenderableType] = [head, share, Text(f"answers  {answered}", "dim")]
    if decision.verdicts:
        lines.append(draw_verdicts(decision.verdicts))
    return Group(*lines, Text(decision.reason.sentence, "italic"))


def draw_verdicts(verdicts: Sequence[Verdict]) -> Table:
    """Draw one row per gate: value, limit and number together, evidence beside what is needed."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("gate", "value", "limit", "n"):
        table.add_column(column, justify="left" if column == "gate" else "right")
    for column in ("evidence of harm", "evidence of safety", "verdict"):
        table.add_column(column)
    for verdict in verdicts:
        table.add_row(
            verdict.gate,
            _measure(verdict, verdict.value),
            _measure(verdict, verdict.limit),
            str(verdict.n),
            f"{shorten(verdict.evidence)} of {shorten(verdict.needed)}",
            "–"
            if math.isnan(verdict.safe_needed)
            else f"{shorten(verdict.safe_evidence)} of {shorten(verdict.safe_needed)}",
            OUTCOME_MARK[verdict.outcome],
        )
    return table


def _measure(verdict: Verdict, number: float) -> str:
    """Return a number in the gate's own measure: a rate, a ratio of rates or a mean score."""
    if math.isnan(number):
        return "–"
    if verdict.family is GateFamily.RELATIVE:
        return f"{number:.3g}×"
    return format_fraction(number) if verdict.family is GateFamily.BURN else f"{number:.3g}"


def draw_endings(endings: Sequence[Ending]) -> RenderableType:
    """Draw the table that the demo ends with, and why each rollout ended as it did."""
    table = Table(title="How the rollouts ended", title_style="bold", title_justify="left", box=SIMPLE_HEAD, padding=0)
    for column in ("rollout", "expected", "seen"):
        table.add_column(column + "  ", no_wrap=True)
    for column in ("time", "answers", "wrong"):
        table.add_column("  " + column, justify="right", no_wrap=True)
    for ending in endings:
        style = "green" if ending.as_expected else "bold red"
        table.add_row(
            ending.title,
            ending.expected.value,
            Text(ending.seen.value, style),
            format_duration(round(ending.duration_s)),
            str(ending.requests),
            str(len(ending.wrong)),
        )
    caption = "answers: pictures by the challenger; wrong: those that were read and show other digits than asked"
    return Group(table, Text(caption, "dim"), *(_reason(ending) for ending in endings))


def _reason(ending: Ending) -> Text:
    example = f" (one picture: {ending.wrong[0]})" if ending.wrong and ending.seen is not Phase.PROMOTED else ""
    return Text.assemble((f"{ending.title}: ", "bold"), ending.why, example)
