"""``roost token``: who may ask the control plane for what."""

from typing import Annotated, Any

import typer

from controlplane.cli.output import print_json, print_rows
from controlplane.cli.session import Reason, Session, complete, remote

app = typer.Typer(help="Make, list and revoke tokens.", no_args_is_help=True)
COLUMNS = ("TOKEN", "HOLDER", "ROLE", "SERVICES", "MADE", "BY", "STATE")


@app.command()
@remote
def create(
    session: Session,
    holder: Annotated[str, typer.Argument(help="Who or what will use it.")],
    *,
    role: Annotated[str, typer.Option(help="viewer, operator, approver or admin.")] = "viewer",
    service: Annotated[list[str] | None, typer.Option(help="Good for this service alone; all otherwise.")] = None,
    lifetime: Annotated[str, typer.Option(help="How long it is valid: 30d; for ever otherwise.")] = "",
    reason: Reason = "",
) -> None:
    """Make a token; it is shown this once, alone on standard output."""
    body = {
        "holder": holder,
        "role": role,
        "scopes": service or [],
        "lifetime": lifetime or None,
        "reason": session.reason(reason),
    }
    made = session.api.change("POST", "/tokens", body)
    if session.as_json:
        print_json(made)
        return
    typer.echo(made["text"])
    session.note(f"✔ token {made['id']} of {holder}, {made['role']}; it is not shown again")


@app.command("list")
@remote
def list_(session: Session) -> None:
    """List tokens, the newest first; secrets are not kept."""
    found = list(session.api.items("/tokens", at_most=10_000))
    if session.as_json:
        print_json(found)
        return
    print_rows(COLUMNS, [_row(token) for token in found], shrinks="HOLDER", empty="no tokens")


@app.command()
@remote
def revoke(
    session: Session,
    identifier: Annotated[
        str, typer.Argument(metavar="TOKEN", help="Its id.", autocompletion=complete("/tokens", "id"))
    ],
    *,
    reason: Reason = "",
) -> None:
    """End a token now."""
    ended = session.api.change("DELETE", f"/tokens/{identifier}", None, reason=session.reason(reason))
    session.done(ended, f"token {identifier} is revoked")


def _row(token: dict[str, Any]) -> list[str]:
    import time

    from controlplane.cli.rollout_tell import tell_moment

    expires_s = token["expires_s"]
    state = "valid" if expires_s is None else f"valid until {tell_moment(expires_s)}"
    if expires_s is not None and expires_s <= time.time():
        state = "expired"
    if token["revoked_s"] is not None:
        state = "revoked"
    made = tell_moment(token["created_s"])
    services = ", ".join(token["scopes"]) or "all"
    return [token["id"], token["holder"], token["role"], services, made, token["created_by"], state]
