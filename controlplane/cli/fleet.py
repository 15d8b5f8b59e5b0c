"""``roost fleet``: which replicas of which versions run, what is kept warm, and what is taken out of service."""

from typing import Annotated, Any

import typer

from contracts.errors import InvalidInput, NotFound, NotPermitted
from controlplane.cli.output import print_json, print_rows
from controlplane.cli.session import DryRun, Reason, Session, Yes, parse_timeout_s, remote

app = typer.Typer(help="See the workers, keep versions warm, drain replicas.", no_args_is_help=True)
COLUMNS = ("SERVICE", "VERSION", "REPLICA", "STATE", "TRAFFIC", "IN FLIGHT", "MEMORY", "MESSAGE")
Version = Annotated[str, typer.Argument(help="The version: MODEL@NUMBER or MODEL@ALIAS.")]


@app.callback()
def root() -> None:
    """See the workers, keep versions warm, drain replicas."""


@app.command()
@remote
def get(session: Session, version: Annotated[str, typer.Argument(help="Only this version's.")] = "") -> None:
    """Show the replicas: ready, starting, draining, failed and why; and what is kept warm."""
    fleet = session.api.get("/fleet")
    replicas = [replica for replica in fleet["replicas"] if version in {"", replica["version"]}]
    if session.as_json:
        print_json(replicas)
        return
    rows = [_row(replica) for replica in replicas]
    print_rows(COLUMNS, rows, shrinks="MESSAGE", empty="no workers; a service with a champion has some")
    for wish in fleet["wishes"]:
        if version in {"", wish["version"]}:
            session.note(_tell_wish(wish))


@app.command()
@remote
def warm(
    session: Session,
    version: Version,
    *,
    last: Annotated[str, typer.Option("--for", help="For how long: from 1s to 7d.")] = "30m",
    stop: Annotated[bool, typer.Option("--stop", help="Keep it warm no longer.")] = False,
    reason: Reason = "",
    dry_run: DryRun = False,
) -> None:
    """Load a version and keep it for a while: when it takes over, nobody waits for it to load."""
    if stop:
        _let_go(session, version, reason)
        return
    length_s = parse_timeout_s(last)
    if not length_s:
        raise InvalidInput("--for: how long is missing", hint="write 30m")
    body = {"version": version, "for_s": length_s, "reason": reason or "dry run" if dry_run else session.reason(reason)}
    if dry_run:
        _print_offer(session, session.api.change("POST", "/fleet/warm", body, dry_run=True), f"warm of {version}")
        return
    asked = session.api.change("POST", "/fleet/warm", body)
    session.done(asked, asked["effect"], f"see it: roost fleet get {asked['wishes'][0]['version']}")


@app.command()
@remote
def drain(
    session: Session,
    target: Annotated[
        str, typer.Argument(metavar="REPLICA|NODE", help="MODEL@NUMBER/REPLICA, its name alone, or the machine.")
    ],
    *,
    reason: Reason = "",
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Let a replica, or all of a machine, finish what it has; another takes its place. Refused where none could."""
    body = {"target": target, "reason": reason or "dry run"}
    offer = session.api.change("POST", "/fleet/drains", body, dry_run=True)
    if dry_run or not offer["allowed"]:
        _print_offer(session, offer, f"drain of {target}")
        return
    session.confirm(offer["effect"], yes=yes)
    asked = session.api.change("POST", "/fleet/drains", {**body, "reason": session.reason(reason)})
    session.done(asked, asked["effect"], "see it: roost fleet get")


def _let_go(session: Session, version: str, reason: str) -> None:
    wishes = session.api.get("/fleet")["wishes"]
    mine = next((wish for wish in wishes if wish["kind"] == "warm" and wish["version"] == version), None)
    if mine is None:
        raise NotFound(f"nobody keeps {version} warm", hint="roost fleet get lists what is kept, by MODEL@NUMBER")
    ended = session.api.change("DELETE", f"/fleet/warm/{mine['id']}", None, reason=session.reason(reason))
    session.done(ended, f"{version} is kept warm no longer; it runs on only where something else needs it")


def _print_offer(session: Session, offer: dict[str, Any], what: str) -> None:
    """Print what an action would do; why it may not be asked is an error.

    Raises:
        NotPermitted: when it is not possible now.
    """
    if session.as_json:
        print_json(offer)
    elif offer["allowed"]:
        typer.echo(offer["effect"])
    if not offer["allowed"]:
        raise NotPermitted(f"{what} is refused: {offer['why_not']}", hint="roost fleet get lists the replicas")


def _tell_wish(wish: dict[str, Any]) -> str:
    from controlplane.cli.rollout_tell import tell_moment

    if wish["kind"] == "warm":
        return f"warm      {wish['version']} until {tell_moment(wish['until_s'])} by {wish['actor']}: {wish['reason']}"
    return f"draining  {wish['version']}/{wish['replica']} by {wish['actor']}: {wish['reason']}"


def _row(replica: dict[str, Any]) -> list[str]:
    from contracts.notation import format_bytes

    glyph = {"ready": "✔", "failed": "✖"}.get(replica["state"], "◌")
    return [
        replica["service"] or "–",
        replica["version"],
        replica["name"],
        f"{glyph} {replica['state']}",
        "yes" if replica["takes_traffic"] else "no",
        str(replica["in_flight"]),
        format_bytes(replica["memory_bytes"]),
        replica["message"],
    ]
