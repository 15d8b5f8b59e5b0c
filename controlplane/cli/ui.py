"""``roost ui``: the pages in a browser, live while a system runs on the same home."""

from pathlib import Path
from typing import Annotated

import typer


def ui(
    home: Annotated[Path, typer.Option(help="The folder that holds the system's state.", envvar="ROOST_HOME")] = Path(
        ".roost"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port on this machine; 0 for any.")] = 8600,
) -> None:
    """Show rollouts, versions and decisions of a home in a browser; read-only, for this machine alone."""
    from controlplane.settings import Settings
    from controlplane.web.serve import serve
    from controlplane.web.sources.home import Home

    source = Home(Settings(home))

    def tell(address: str) -> None:
        typer.echo(f"✔ {address} shows {home}; end it with Ctrl-C")
        if not source.exists:
            typer.echo(f"  nothing has run in {home} yet; the pages fill by themselves: roost demo run --home {home}")

    serve(source, port, tell)
