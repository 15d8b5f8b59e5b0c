"""``roost decision``: read the ledger and check that nobody changed it."""

from pathlib import Path
from typing import Annotated

import typer

from contracts.errors import NotFound

app = typer.Typer(help="Read and verify the decision ledger.", no_args_is_help=True)
Home = Annotated[Path, typer.Option(help="The folder that holds the system's state.", envvar="ROOST_HOME")]


@app.command()
def verify(home: Home = Path(".roost")) -> None:
    """Recompute the ledger's chain; an edited or missing decision is an error."""
    from controlplane.settings import Settings
    from controlplane.store.ledger import FileLedger

    path = Settings(home).ledger
    if not path.is_file():
        raise NotFound(f"there is no ledger at {path}", hint="name the folder with --home")
    count = FileLedger(path, code_version="").verify()
    typer.echo(f"{path}: {count} decisions, each bound to the one before")
