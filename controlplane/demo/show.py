"""How the demo looks: a live view in a terminal, plain lines elsewhere, a table at the end."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from contracts.events import Event
from contracts.ids import VersionId
from contracts.notation import format_evidence
from contracts.units import format_duration, format_fraction
from controlplane.demo.scenario import Case, Ending
from controlplane.demo.served import Served
from rollout.phases import Phase
from rollout.policy import GateFamily
from rollout.verdicts import Outcome

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
class Result:
    """How one case of the demo ended, and what its users got.

    ``allowed`` bad answers, where the case bounds them; ``example`` says what a wrong picture showed.
    """

    case: Case
    version: VersionId
    seen: Ending
    why: str
    duration_s: float
    served: Served
    allowed: float | None = None
    example: str = ""

    @property
    def as_expected(self) -> bool:
        """Tell whether it ended as the scenario says, within what it may cost."""
        return self.seen.meets(self.case.expected) and (self.allowed is None or self.served.bad <= self.allowed)


@dataclass
class Scene:
    """What is on show now: the rollout's title, its last decision as it is in the ledger, what its users saw.

    ``aside`` is what goes on beside the rollout.
    """

    title: str
    start_s: float
    decision: Mapping[str, Any] | None = None
    now_s: float = 0.0
    rate: float = 0.0
    answered: dict[str, int] = field(default_factory=dict)
    aside: str = ""


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
        outcomes = tuple(verdict["outcome"] for verdict in decision["verdicts"])
        now = (scene.title, decision["phase"], round(decision["weight"] / SHOWN_CHANGE), outcomes, decision["reason"])
        if now != self._last:
            self._last = now
            age = format_duration(round(scene.now_s - scene.start_s))
            share = format_fraction(decision["weight"], 2)
            self.say(f"  {age:>6}  {decision['phase']:<12} {share:>6}  {decision['sentence']}")

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
    phase, weight = Phase(decision["phase"]), float(decision["weight"])
    filled = round(weight * BAR_CELLS)
    bar = Text("█" * filled, "cyan") + Text("░" * (BAR_CELLS - filled), "dim")
    answered = ", ".join(f"{version}: {count}" for version, count in sorted(scene.answered.items()))
    age = format_duration(round(scene.now_s - scene.start_s))
    head = Text.assemble(
        (scene.title, "bold"),
        "   ",
        (phase.value, PHASE_STYLE.get(phase, "cyan")),
        f"   {age}   {scene.rate:.1f} requests/s",
    )
    share = Text.assemble("share  ", bar, f"  {format_fraction(weight, 2)}")
    lines: list[RenderableType] = [head, share, Text(f"answers  {answered}", "dim")]
    if decision["verdicts"]:
        lines.append(draw_verdicts(decision["verdicts"]))
    lines.append(Text(decision["sentence"], "italic"))
    return Group(*lines, Text(scene.aside, "dim")) if scene.aside else Group(*lines)


def draw_verdicts(verdicts: Sequence[Mapping[str, Any]]) -> Table:
    """Draw one row per gate: value, limit and number together, evidence beside what is needed."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("gate", "value", "limit", "n"):
        table.add_column(column, justify="left" if column == "gate" else "right")
    for column in ("evidence of harm", "evidence of safety", "verdict"):
        table.add_column(column)
    for verdict in verdicts:
        family = GateFamily(verdict["family"])
        table.add_row(
            str(verdict["gate"]),
            _measure(family, verdict["value"]),
            _measure(family, verdict["limit"]),
            str(verdict["n"]),
            _evidence(verdict["evidence"], verdict["needed"]),
            _evidence(verdict["safe_evidence"], verdict["safe_needed"]),
            OUTCOME_MARK[Outcome(verdict["outcome"])],
        )
    return table


def _measure(family: GateFamily, number: float | None) -> str:
    """Return a number in the gate's own measure: a rate, a ratio of rates or a mean score."""
    if number is None:
        return "–"
    if family is GateFamily.RELATIVE:
        return f"{number:.3g}×"
    return format_fraction(number) if family is GateFamily.BURN else f"{number:.3g}"


def _evidence(found: float | None, needed: float | None) -> str:
    return "–" if found is None or needed is None else f"{format_evidence(found)} of {format_evidence(needed)}"


def draw_results(results: Sequence[Result]) -> RenderableType:
    """Draw the table that the demo ends with, and why each rollout ended as it did."""
    table = Table(title="How the rollouts ended", title_style="bold", title_justify="left", box=SIMPLE_HEAD, padding=0)
    for column in ("case", "expected", "seen"):
        table.add_column(column + "  ", no_wrap=column == "case")
    for column in ("answers", "bad served", "time"):
        table.add_column("  " + column, justify="right", no_wrap=True)
    for result in results:
        table.add_row(
            _title(result),
            str(result.case.expected),
            Text(str(result.seen), "green" if result.as_expected else "bold red"),
            str(result.served.answers),
            str(result.served.bad),
            format_duration(round(result.duration_s)),
        )
    caption = (
        "answers: pictures by the challenger; bad served: its wrong or slow ones, and requests that got no picture"
    )
    return Group(table, Text(caption, "dim"), *(_reason(result) for result in results))


def _title(result: Result) -> str:
    return f"{result.case.version}, forced" if result.case.force else result.case.version


def _reason(result: Result) -> Text:
    served, notes = result.served, []
    if result.example:
        notes.append(f"one picture: {result.example}")
    if served.rescued:
        notes.append(f"{served.rescued} requests were answered by the champion instead")
    if result.allowed is not None:
        notes.append(f"{served.bad} bad answers, the harm budget allows {result.allowed:.0f} in that time")
    told = f" ({'; '.join(notes)})" if notes else ""
    return Text.assemble((f"{_title(result)}: ", "bold"), f"{result.case.lesson}. ", result.why, told)
