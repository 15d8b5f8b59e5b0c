"""``roost service freeze|thaw|kill|revive|undo``: nothing new is rolled out, a version is stopped or replaced."""

import time
from collections.abc import Iterator
from typing import Annotated

import typer

from controlplane.cli.output import print_json
from controlplane.cli.session import DryRun, Reason, Session, Yes, complete, parse_timeout_s, remote

Name = Annotated[str, typer.Argument(help="The service.", autocompletion=complete("/services", "name"))]


def add_commands(app: typer.Typer) -> None:
    """Add what people do for the sake of safety."""
    for command in (freeze, thaw, kill, revive, undo):
        app.command()(command)


@remote
def freeze(
    session: Session,
    name: Annotated[str, typer.Argument(help="The service; all of them otherwise.")] = "",
    *,
    last: Annotated[str, typer.Option("--for", help="For how long: 2d; until it is lifted otherwise.")] = "",
    reason: Reason = "",
) -> None:
    """Let nothing new be rolled out: no rollout begins, and one that goes on is paused; harm still rolls it back."""
    length_s = parse_timeout_s(last)
    until_s = None if length_s is None else time.time() + length_s
    path = f"/services/{name}/freezes" if name else "/freezes"
    made = session.api.change("POST", path, {"reason": session.reason(reason), "until_s": until_s})
    session.done(
        made,
        f"{name or 'every service'} is frozen: freeze {made['id']}",
        f"lift it with: roost service thaw {made['id']}",
    )


@remote
def thaw(
    session: Session,
    freeze_id: Annotated[str, typer.Argument(metavar="FREEZE", help="Its id.")],
    *,
    reason: Reason = "",
) -> None:
    """Lift a freeze; rollouts that it paused stay so until somebody resumes them."""
    lifted = session.api.change("DELETE", f"/freezes/{freeze_id}", None, reason=session.reason(reason))
    session.done(lifted, f"freeze {freeze_id} is lifted")


@remote
def kill(
    session: Session,
    version: Annotated[str, typer.Argument(help="The version that must not answer any more: MODEL@NUMBER.")],
    *,
    service: Annotated[str, typer.Option(help="The service.")],
    reason: Reason = "",
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Stop a version at once: no request is sent to it until that is lifted."""
    path = f"/services/{service}/kills"
    if dry_run or not yes:
        told = {"version": version, "reason": reason or "dry run"}
        offer = session.api.change("POST", path, told, dry_run=True)
        if dry_run and session.as_json:
            print_json(offer)
            return
        if dry_run:
            typer.echo(offer["effect"])
            return
        session.confirm(offer["effect"], yes=yes)
    made = session.api.change("POST", path, {"version": version, "reason": session.reason(reason)})
    session.done(made, f"{made['effect']}: kill {made['id']}", f"lift it with: roost service revive {made['id']}")


@remote
def revive(
    session: Session,
    kill_id: Annotated[str, typer.Argument(metavar="KILL", help="Its id.")],
    *,
    reason: Reason = "",
) -> None:
    """Let a stopped version be served again."""
    lifted = session.api.change("DELETE", f"/kills/{kill_id}", None, reason=session.reason(reason))
    session.done(lifted, f"{lifted['version']} may be served again by {lifted['service']}")


@remote
def undo(session: Session, name: Name, *, reason: Reason = "", yes: Yes = False) -> None:
    """Go back to the version that was champion before: it takes over as soon as it is ready, without a trial."""
    (offer,) = session.api.get(f"/services/{name}/actions")["items"]
    if offer["allowed"]:
        session.confirm(offer["effect"], yes=yes)
    made = session.api.change("POST", f"/services/{name}/undo", {"reason": session.reason(reason)})
    session.done(made, made["effect"], f"next: roost service show {name}")


def in_force(session: Session, name: str) -> Iterator[str]:
    """Yield a line for each freeze, kill and refusal of a service that holds."""
    now_s = time.time()
    for one in session.api.items(f"/services/{name}/freezes", at_most=100):
        if one["lifted_s"] is None and one["from_s"] <= now_s and (one["until_s"] is None or one["until_s"] > now_s):
            yield f"frozen    by {one['actor']}: {one['reason']} (freeze {one['id']})"
    for one in session.api.items(f"/services/{name}/refusals", at_most=100):
        yield f"refused   the content of {one['version']}, which {one['rollout_id']} rolled back: {one['reason']}"
    for one in session.api.items(f"/services/{name}/kills", at_most=100):
        if one["lifted_s"] is None:
            yield f"stopped   {one['version']} by {one['actor']}: {one['reason']} (kill {one['id']})"
