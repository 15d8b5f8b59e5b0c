"""``roost decision``: read the ledger and check that nobody changed it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from contracts.errors import NotFound

if TYPE_CHECKING:
    from controlplane.settings import Settings

app = typer.Typer(help="Read and verify the decision ledger.", no_args_is_help=True)
Home = Annotated[Path, typer.Option(help="The folder that holds the system's state.", envvar="ROOST_HOME")]


@app.callback()
def root() -> None:
    """Read and verify the decision ledger."""


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
