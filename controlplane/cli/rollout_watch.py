"""``roost rollout list|get|wait|explain|logs``: how rollouts stand, now and until they end."""

import shutil
import sys
import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from contracts.errors import InvalidInput, Unavailable
from controlplane.cli.exit_status import ExitStatus
from controlplane.cli.output import is_terminal, lay_out, paint, print_json, print_rows
from controlplane.cli.session import Session, complete, parse_timeout_s, remote

POLL_S = 1.0
LINE_EVERY_S = 30.0
PATIENCE_S = 60.0
ENDINGS = {
    "promoted": ExitStatus.REACHED,
    "rolled-back": ExitStatus.ROLLED_BACK,
    "aborted": ExitStatus.ABORTED,
    "paused": ExitStatus.PAUSED,
    "failed": ExitStatus.PAUSED,
}
UNTIL = ("promoted", "ended", "paused", "baking")
UNPROVEN = {"hold.no-data", "alarm.no-data", "hold.unclear"}
Id = Annotated[str, typer.Argument(help="The rollout's id.", autocompletion=complete("/rollouts", "id"))]
Rollout = dict[str, Any]


def add_commands(app: typer.Typer) -> None:
    """Add what looks at rollouts."""
    app.command("list")(list_)
    for command in (get, wait, explain, logs):
        app.command()(command)


@remote
def list_(
    session: Session,
    service: Annotated[str | None, typer.Option(help="Only this service's.")] = None,
    phase: Annotated[str | None, typer.Option(help="Only those in this phase.")] = None,
    at_most: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 50,
) -> None:
    """List rollouts, the newest first."""
    from controlplane.cli.rollout_tell import COLUMNS, list_row

    found = list(session.api.items("/rollouts", at_most=at_most, service=service, phase=phase))
    if session.as_json:
        print_json(found)
        return
    empty = "no rollouts yet; roost rollout start MODEL@VERSION begins one"
    print_rows(COLUMNS, [list_row(rollout) for rollout in found], shrinks="VERDICT", empty=empty)


@remote
def get(
    session: Session,
    rollout_id: Id,
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it live, until it has ended.")] = False,
) -> None:
    """Show a rollout: where it stands, why, its checks and what may be asked; with -w its end is the exit status."""
    path = f"/rollouts/{rollout_id}"
    if not watch:
        _print(session, session.api.get(path))
        return
    try:
        rollout = _watch(session, path)
    except KeyboardInterrupt:
        raise typer.Exit(ExitStatus.INTERRUPTED) from None
    if session.as_json:
        print_json(rollout)
    raise typer.Exit(ENDINGS[rollout["phase"]])


@remote
def wait(
    session: Session,
    rollout_id: Id,
    *,
    until: Annotated[str, typer.Option(help="promoted, baking, paused, or ended in any way.")] = "promoted",
    timeout: Annotated[str, typer.Option(help="For how long: 3h; for ever otherwise.")] = "",
) -> None:
    """Wait for a rollout, a line for each change; the exit status says how it ended, as `roost help exit-codes` lists.

    A control plane that is away for less than a minute is waited for.
    """
    if until not in UNTIL:
        raise InvalidInput(f"until: {until!r} is nothing to wait for", hint=f"write one of {', '.join(UNTIL)}")
    limit_s, begun_s = parse_timeout_s(timeout), time.monotonic()
    rollout: Rollout = {}
    status = ExitStatus.TIMED_OUT
    try:
        for rollout in _changes(session, f"/rollouts/{rollout_id}"):
            ending = _ending(rollout, until)
            if ending is not None:
                status = ending
                break
            if limit_s is not None and time.monotonic() - begun_s >= limit_s:
                status = _unfinished(rollout)
                session.note(f"timed out after {timeout}; the rollout goes on")
                break
    except KeyboardInterrupt:
        status = ExitStatus.INTERRUPTED
    if session.as_json and rollout:
        print_json({**rollout, "exit_status": int(status)})
    raise typer.Exit(status)


@remote
def explain(session: Session, rollout_id: Id) -> None:
    """Tell why a rollout stands where it does: its last decision's code, each check in a sentence, and what to do."""
    from controlplane.cli.rollout_tell import head_lines
    from rollout.meanings import explain as meaning_of

    rollout = session.api.get(f"/rollouts/{rollout_id}")
    decision = rollout.get("decision")
    if session.as_json:
        print_json({"id": rollout["id"], "phase": rollout["phase"], "decision": decision})
        return
    for line in head_lines(rollout):
        typer.echo(paint(line))
    if decision:
        typer.echo(f"\n{decision['code']}: {meaning_of(decision['code'])}\n")
        for verdict in decision["verdicts"]:
            typer.echo(f"  {verdict['sentence']}")
        typer.echo(f"\ndecision {decision['sequence']}; roost decision show {decision['sequence']} has its inputs")


@remote
def logs(
    session: Session,
    rollout_id: Id,
    at_most: Annotated[int, typer.Option(min=1, max=100_000, help="How many decisions, counted from the end.")] = 500,
    *,
    every: Annotated[bool, typer.Option("--every", help="Every decision, not only changes.")] = False,
) -> None:
    """Print a rollout's decisions, the oldest first: time, phase, weight, code and sentence."""
    found = list(session.api.items("/decisions", at_most=at_most, subject=rollout_id))[::-1]
    if session.as_json:
        print_json(found)
        return
    before: tuple[str, ...] = ()
    for entry in found:
        now = (entry["phase"], entry["code"], f"{entry['weight']:.4f}")
        if every or now != before:
            moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry["at_s"]))
            typer.echo("\t".join((moment, entry["phase"], f"{entry['weight']:.1%}", entry["code"], entry["sentence"])))
        before = now


def _print(session: Session, rollout: Rollout) -> None:
    if session.as_json:
        print_json(rollout)
        return
    for line in _lines(rollout, shutil.get_terminal_size().columns if is_terminal() else 10_000):
        typer.echo(paint(line))


def _lines(rollout: Rollout, width: int) -> list[str]:
    from controlplane.cli.rollout_tell import CHECK_COLUMNS, action_lines, check_rows, head_lines

    lines, rows = head_lines(rollout), check_rows(rollout)
    if rows:
        lines += ["", *lay_out(CHECK_COLUMNS, rows, shrinks="CHECK", width=width)]
    actions = rollout.get("actions", ())
    if any(action["allowed"] for action in actions):
        lines += ["", "What may be asked now:", *action_lines(actions)]
    return lines


def _watch(session: Session, path: str) -> Rollout:
    """Show a rollout until it has ended: drawn anew in place on a terminal, a line per change elsewhere."""
    if not is_terminal() or session.as_json:
        return next(r for r in _changes(session, path) if r["ended"])
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(), refresh_per_second=4, vertical_overflow="crop") as live:
        while True:
            rollout: Rollout = session.api.get(path)
            size = shutil.get_terminal_size()
            lines = _lines(rollout, size.columns)[: size.lines - 1]
            live.update(Text.from_ansi("\n".join(map(paint, lines))), refresh=True)
            if rollout["ended"]:
                return rollout
            time.sleep(POLL_S)


def _changes(session: Session, path: str) -> Iterator[Rollout]:
    """Yield a rollout each second, and write a line when its phase, weight or reason has changed, or now and then."""
    from controlplane.cli.rollout_tell import progress_line

    before: tuple[object, ...] = ()
    told_s = away_s = time.monotonic()
    while True:
        try:
            rollout: Rollout = session.api.get(path)
        except Unavailable:
            if time.monotonic() - away_s > PATIENCE_S:
                raise
            time.sleep(POLL_S)
            continue
        away_s = time.monotonic()
        now = (rollout["phase"], rollout["weight"], (rollout.get("decision") or {}).get("code"))
        if now != before or time.monotonic() - told_s > LINE_EVERY_S:
            before, told_s = now, time.monotonic()
            if not session.as_json:
                typer.echo(progress_line(rollout))
                sys.stdout.flush()
        yield rollout
        time.sleep(POLL_S)


def _ending(rollout: Rollout, until: str) -> ExitStatus | None:
    """Return the exit status when there is nothing more to wait for, None while there is."""
    phase = rollout["phase"]
    if until == "ended":
        return ExitStatus.REACHED if rollout["ended"] else None
    if phase == until or (until == "baking" and phase == "promoted"):
        return ExitStatus.REACHED
    if phase == "promoted":
        return ExitStatus.ERROR
    if phase in {"rolled-back", "aborted"} and not rollout["ended"]:
        return None
    return ENDINGS.get(phase)


def _unfinished(rollout: Rollout) -> ExitStatus:
    """Return what a rollout is that goes on when time is up: without data or proof, or simply not done."""
    code = (rollout.get("decision") or {}).get("code", "")
    return ExitStatus.INCONCLUSIVE if code in UNPROVEN else ExitStatus.TIMED_OUT
