"""``roost fleet``: which replicas of which versions run."""

from typing import Annotated, Any

import typer

from controlplane.cli.output import print_json, print_rows
from controlplane.cli.session import Session, remote

app = typer.Typer(help="See the workers.", no_args_is_help=True)
COLUMNS = ("SERVICE", "VERSION", "REPLICA", "STATE", "TRAFFIC", "IN FLIGHT", "MEMORY", "MESSAGE")


@app.callback()
def root() -> None:
    """See the workers."""


@app.command()
@remote
def get(session: Session, version: Annotated[str, typer.Argument(help="Only this version's.")] = "") -> None:
    """Show the replicas: ready, starting, draining, failed and why."""
    fleet = session.api.get("/fleet")
    replicas = [replica for replica in fleet["replicas"] if version in {"", replica["version"]}]
    if session.as_json:
        print_json(replicas)
        return
    rows = [_row(replica) for replica in replicas]
    print_rows(COLUMNS, rows, shrinks="MESSAGE", empty="no workers; a service with a champion has some")


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
