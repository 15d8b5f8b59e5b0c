"""``roost decision``: read the ledger and check that nobody changed it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contracts.errors import NotFound
from controlplane.cli.output import print_json, print_rows
from controlplane.cli.session import Session, remote

if TYPE_CHECKING:
    from controlplane.settings import Settings

app = typer.Typer(help="Read and verify the decision ledger.", no_args_is_help=True)
Home = Annotated[Path, typer.Option(help="The folder that holds the system's state.", envvar="ROOST_HOME")]


@app.command("list")
@remote
def list_(
    session: Session,
    rollout: Annotated[str | None, typer.Option(help="Only this rollout's.")] = None,
    at_most: Annotated[int, typer.Option(min=1, max=100_000, help="How many, counted from the end.")] = 50,
) -> None:
    """List decisions, the newest first."""
    found = list(session.api.items("/decisions", at_most=at_most, subject=rollout))
    if session.as_json:
        print_json(found)
        return
    columns = ("DECISION", "AT", "ROLLOUT", "PHASE", "WEIGHT", "CODE", "SENTENCE")
    empty = "no decisions yet; the first rollout brings them"
    print_rows(columns, [_row(entry) for entry in found], shrinks="SENTENCE", empty=empty)


@app.command()
@remote
def show(session: Session, sequence: Annotated[int, typer.Argument(min=0, help="The decision's number.")]) -> None:
    """Show one decision: what was seen, what was decided, and the policy and code that it was decided by."""
    print_json(session.api.get(f"/decisions/{sequence}"))


@app.command()
def verify(home: Home = Path(".roost")) -> None:
    """Recompute the ledger's chain; an edited, missing or cut-off decision is an error."""
    from controlplane.settings import Settings
    from controlplane.store.ledger import FileLedger

    settings = Settings(home)
    lines = _verify_database(settings)
    if settings.ledger.is_file():
        count = FileLedger(settings.ledger, code_version="").verify()
        lines.append(f"{settings.ledger}: {count} decisions, each bound to the one before")
    if not lines:
        raise NotFound(f"there is no ledger at {settings.ledger}", hint="name the folder with --home")
    for line in lines:
        typer.echo(line)


def _row(entry: dict[str, Any]) -> list[str]:
    from contracts.notation import format_fraction
    from controlplane.cli.rollout_tell import tell_moment

    return [
        str(entry["sequence"]),
        tell_moment(entry["at_s"]),
        entry["rollout_id"],
        entry["phase"],
        format_fraction(entry["weight"]),
        entry["code"],
        entry["sentence"],
    ]


def _verify_database(settings: "Settings") -> list[str]:
    """Verify the records in the database, also against the checkpoints that were signed; empty without a database."""
    from controlplane.store.audit import Audit
    from controlplane.store.checkpoints import Checkpoints
    from controlplane.store.migrate import open_store
    from controlplane.store.sql_ledger import SqlLedger

    url = settings.database_url
    if url.startswith("sqlite") and not Path(url.removeprefix("sqlite:///")).is_file():
        return []
    database = open_store(url)
    try:
        known = Checkpoints(settings.checkpoints, settings.checkpoint_key).heads()
        counts = {
            "decisions": SqlLedger(database, code_version="").verify(known),
            "audit records": Audit(database).verify(known),
        }
        where = database.url.render_as_string(hide_password=True)
    finally:
        database.close()
    checked = f"; {len(known)} signed checkpoints agree" if known else "; no checkpoint was signed yet"
    return [f"{where}: {count} {noun}, each bound to the one before{checked}" for noun, count in counts.items()]
