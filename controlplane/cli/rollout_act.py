"""``roost rollout start|pause|resume|promote|override|abort|readmit``: what a person asks of rollouts."""

from typing import Annotated, Any

import typer

from contracts.errors import NotFound, NotPermitted
from controlplane.cli.output import print_json
from controlplane.cli.rollout_watch import Id
from controlplane.cli.session import DryRun, Reason, Session, Yes, remote

Gates = Annotated[list[str] | None, typer.Option("--gate", help="Only this gate; all of them otherwise.")]


def add_commands(app: typer.Typer) -> None:
    """Add what changes rollouts."""
    for command in (start, pause, resume, promote, override, abort, readmit):
        app.command()(command)


@remote
def start(
    session: Session,
    version: Annotated[str, typer.Argument(help="The challenger: MODEL@NUMBER or MODEL@ALIAS.")],
    *,
    service: Annotated[str, typer.Option(help="The service; the one that serves the model otherwise.")] = "",
    reason: Reason = "",
    force: Annotated[bool, typer.Option("--force", help="Insist on content that was rolled back or refused.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Start a rollout: the version gets a growing share of traffic until it is proven, or rolled back."""
    body = {
        "service": service or _service_of(session, version),
        "version": version,
        "reason": session.reason(reason),
        "force": force,
    }
    query = {"dry_run": True} if dry_run else {}
    rollout = session.api.change("POST", "/rollouts", body, **query)
    if session.as_json:
        print_json(rollout)
    elif dry_run:
        typer.echo(f"{rollout['challenger']} may be tried against {rollout['champion']}; nothing was started")
        _note_headroom(session, rollout)
    else:
        typer.echo(rollout["id"])
        session.note(f"✔ {rollout['challenger']} against {rollout['champion']} on {rollout['service']}")
        _note_headroom(session, rollout)
        session.note(f"  next: roost rollout get -w {rollout['id']}")


@remote
def pause(session: Session, rollout_id: Id, *, reason: Reason = "", dry_run: DryRun = False) -> None:
    """Keep the challenger's share as it is; harm still rolls it back."""
    _act(session, rollout_id, "pause", reason, dry_run=dry_run)


@remote
def resume(session: Session, rollout_id: Id, *, reason: Reason = "", dry_run: DryRun = False) -> None:
    """Let a paused rollout go on, or try a failed step again."""
    _act(session, rollout_id, "resume", reason, dry_run=dry_run)


@remote
def promote(
    session: Session,
    rollout_id: Id,
    *,
    whole: Annotated[bool, typer.Option("--all", help="To all traffic, not only to the next step.")] = False,
    reason: Reason = "",
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Go to the next step, or with --all to all traffic."""
    kind = "promote-all" if whole else "promote-step"
    _act(session, rollout_id, kind, reason, asks=whole, yes=yes, dry_run=dry_run)


@remote
def override(
    session: Session,
    rollout_id: Id,
    *,
    gate: Gates = None,
    reason: Reason = "",
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Silence gates of one rollout: they neither hold it nor roll it back any more."""
    _act(session, rollout_id, "override", reason, gates=gate or (), asks=True, yes=yes, dry_run=dry_run)


@remote
def abort(session: Session, rollout_id: Id, *, reason: Reason = "", yes: Yes = False, dry_run: DryRun = False) -> None:
    """End a rollout: all traffic returns to the champion."""
    _act(session, rollout_id, "abort", reason, asks=True, yes=yes, dry_run=dry_run)


@remote
def readmit(
    session: Session,
    version: Annotated[str, typer.Argument(help="The version whose content was rolled back: MODEL@NUMBER.")],
    *,
    service: Annotated[str, typer.Option(help="The service; needed where several serve the model.")] = "",
    reason: Reason = "",
    yes: Yes = False,
) -> None:
    """Let content that was rolled back be tried again for good, without --force from now on."""
    name = service or _service_of(session, version)
    session.confirm(f"rollouts of {version}'s content may be started in {name} again", yes=yes)
    body = {"version": version, "reason": session.reason(reason)}
    past = session.api.change("POST", f"/services/{name}/readmissions", body)
    session.done(
        past,
        f"{version} may be tried again in {name}; {past['rollout_id']} had rolled it back: {past['reason']}",
        f"next: roost rollout start {version}",
    )


def _act(
    session: Session,
    rollout_id: str,
    kind: str,
    reason: str,
    *,
    gates: Any = (),
    asks: bool = False,
    yes: bool = False,
    dry_run: bool = False,
) -> None:
    """Ask for an action, after telling what it does; refused ones change nothing."""
    path = f"/rollouts/{rollout_id}"
    offer = next(one for one in session.api.get(path)["actions"] if one["name"] == kind)
    if dry_run:
        if session.as_json:
            print_json(offer)
            return
        if not offer["allowed"]:
            raise NotPermitted(f"{kind} of {rollout_id} is refused: {offer['why_not']}")
        typer.echo(offer["effect"])
        return
    if asks and offer["allowed"]:
        session.confirm(offer["effect"], yes=yes)
    body = {"kind": kind, "reason": session.reason(reason), "gates": list(gates)}
    wish = session.api.change("POST", f"{path}/actions", body)
    session.done(
        wish, f"{kind} of {rollout_id} is asked for: {offer['effect']}", f"next: roost rollout get -w {rollout_id}"
    )


def _note_headroom(session: Session, rollout: dict[str, Any]) -> None:
    if rollout["headroom"]:
        session.note(f"  headroom: {rollout['headroom']}")


def _service_of(session: Session, version: str) -> str:
    """Return the one service that serves a version's model.

    Raises:
        NotFound: when none does.
        NotPermitted: when several do.
    """
    model = version.partition("@")[0]
    names = [item["name"] for item in session.api.items("/services", at_most=1000) if item["model"] == model]
    if not names:
        raise NotFound(f"no service serves model {model}", hint="apply its spec first: roost service apply FILE")
    if len(names) > 1:
        raise NotPermitted(f"several services serve {model}: {', '.join(names)}", hint="name one with --service")
    return str(names[0])
