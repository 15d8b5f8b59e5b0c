"""``roost up``, ``down``, ``doctor`` and ``open``: the control plane as one process on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from contracts.errors import InvalidInput, Unavailable
from controlplane.cli.client import read_server
from controlplane.cli.output import paint, print_json
from controlplane.cli.session import HomeOption

HOME = Path(".roost")
DEFAULT_PORT = 8600
PAGES = ("rollouts", "slos", "quality", "reports", "decisions", "models")


def add_commands(app: typer.Typer) -> None:
    """Add the commands that start, stop and examine a control plane."""
    for command in (up, down, doctor):
        app.command()(command)
    app.command("open")(open_)


def up(
    home: HomeOption = HOME,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port of pages and API; 0 for any.")] = DEFAULT_PORT,
    gateway_port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port that clients of services call; 0 keeps the one it had.")
    ] = 0,
    host: Annotated[str, typer.Option(help="The address it listens on.")] = "127.0.0.1",
    *,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Go on in the background.")] = False,
) -> None:
    """Start the control plane: it decides, serves pages and API, runs gateway and workers. Ctrl-C ends all of it."""
    from controlplane.server.options import ServerOptions

    options = ServerOptions(home=home, host=host, port=port, gateway_port=gateway_port)
    options.check_alone()
    if detach:
        from controlplane.server.detached import start_detached

        start_detached(options, typer.echo)
    else:
        from controlplane.server.process import leave, run_server

        run_server(options, typer.echo)
        leave(0)


def down(
    home: HomeOption = HOME,
    *,
    keep_serving: Annotated[
        bool,
        typer.Option("--keep-serving", help="Leave gateway and workers to the next `roost up`; users see nothing."),
    ] = False,
) -> None:
    """End the control plane of a home, its gateway and its workers, also those that a killed one left."""
    from controlplane.server.detached import stop

    for line in stop(home, keep_serving=keep_serving):
        typer.echo(line)


def doctor(
    home: HomeOption = HOME,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON with stable keys.")] = False,
) -> None:
    """Examine everything that a control plane needs here; exit status 1 when something needed fails."""
    from controlplane.server.doctor import examine

    findings = []
    for finding in examine(home):
        findings.append(finding)
        if not as_json:
            typer.echo(paint(finding.line))
    if as_json:
        print_json([finding.to_document() for finding in findings])
    if any(finding.failed for finding in findings):
        raise typer.Exit(1)


def open_(
    page: Annotated[str, typer.Argument(help="rollouts, slos, quality, reports, decisions or models.")] = "",
    home: HomeOption = HOME,
) -> None:
    """Open the pages in a browser; the address is printed too."""
    from controlplane.settings import Settings

    if page and page.partition("/")[0] not in PAGES:
        raise InvalidInput(f"page: there is no page {page!r}", hint=f"pages: {', '.join(PAGES)}")
    url = read_server(Settings(home).server_file).get("url", "")
    if not url:
        raise Unavailable(f"no control plane runs on {home}", hint=f"roost up --home {home}")
    typer.echo(f"{url}/{page}")
    typer.launch(f"{url}/{page}")
