"""``roost config``: what is in force on a home, and where it lies."""

from pathlib import Path
from typing import Annotated

import typer

from controlplane.cli.client import read_server
from controlplane.cli.output import print_json, print_table
from controlplane.cli.session import HomeOption

app = typer.Typer(help="See what is in force.", no_args_is_help=True)


@app.callback()
def root() -> None:
    """See what is in force."""


@app.command()
def show(
    home: HomeOption = Path(".roost"),
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON with stable keys.")] = False,
) -> None:
    """Show every place and address of a home, and its control plane if one runs; passwords are left out."""
    from controlplane.settings import Settings

    settings = Settings(home)
    names = [name for name, value in vars(Settings).items() if isinstance(value, property)]
    told = {name: _shown(str(getattr(settings, name))) for name in names}
    told |= {"home": str(home.resolve())}
    server = read_server(settings.server_file)
    if as_json:
        print_json({**told, "server": server or None})
        return
    rows = [[name, value] for name, value in sorted(told.items())]
    rows += [[f"server.{name}", str(value)] for name, value in sorted(server.items())]
    print_table(("SETTING", "VALUE"), rows)


def _shown(value: str) -> str:
    """Return a value without the password that an address may hold."""
    import re

    return re.sub(r"(?<=://)([^:/@]*):[^@/]*@", r"\1:***@", value)
