"""``roost demo``: the main job on embedded defaults, and the model that it is shown with."""

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from contracts.errors import InvalidInput

ENDINGS = (signal.SIGINT, signal.SIGTERM)
app = typer.Typer(help="The main job, live, on a model that was made for it.", no_args_is_help=True)


@app.command()
def run(
    rate: Annotated[
        float | None,
        typer.Option(help="Requests per second; by default what keeps a worker of this machine busy half of the time."),
    ] = None,
    home: Annotated[
        Path | None, typer.Option(help="A new folder for the run's state; by default .roost/demo, emptied first.")
    ] = None,
    plain: Annotated[bool, typer.Option(help="Print lines instead of a live view.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything up, pages too; roost down ends it.")] = False,
) -> None:
    """Promote good versions, refuse or roll back bad ones, under load; exit status 1 if a rollout ends otherwise."""
    if rate is not None and not 0 < rate <= 200:
        raise InvalidInput(f"rate: {rate:g} requests per second can't be sent", hint="give a number from 0 to 200")
    from controlplane.demo.run import run_demo
    from controlplane.demo.scenario import DEFAULT_SCENARIO

    for number in ENDINGS:
        signal.signal(number, _end)
    if not run_demo(DEFAULT_SCENARIO, rate=rate, home=home, plain=plain, keep=keep):
        raise typer.Exit(1)


def _end(number: int, frame: FrameType | None) -> None:
    """End in order, once: gateway and workers would outlive a process that is ended in the midst of it."""
    for ending in ENDINGS:
        signal.signal(ending, signal.SIG_IGN)
    sys.exit(128 + number)


@app.command()
def train(
    out: Annotated[Path, typer.Argument(help="An empty or new folder for the trained versions.")],
    seed: Annotated[int, typer.Option(help="Seed of all chance in the training.")] = 0,
) -> None:
    """Train the demo model from scratch on real handwritten digits (about 10 minutes on 2 cores)."""
    from controlplane.demo.model.train import train as train_model

    train_model(out, seed=seed)


@app.command()
def check(
    version: Annotated[list[str] | None, typer.Option(help="Check only these versions.")] = None,
    n: Annotated[int, typer.Option(min=16, help="Prompts per version.")] = 256,
) -> None:
    """Measure the demo versions in fresh processes: text, colours, likeness, latency, beside their ceilings."""
    from controlplane.demo.model.check import check as check_versions

    if not check_versions(version or None, n=n):
        raise typer.Exit(1)


@app.command()
def picture(
    home: Annotated[Path, typer.Option(help="The folder of a demo run: .roost/demo, or that of its --home.")],
    out: Annotated[Path, typer.Option(help="Where to write the SVG.")],
) -> None:
    """Draw the first rollback of a demo run, from its ledger."""
    from controlplane.demo.picture import draw_rollout
    from controlplane.settings import Settings
    from controlplane.store.migrate import open_store
    from controlplane.store.sql_ledger import SqlLedger

    if not (home / "roost.db").is_file():
        raise InvalidInput(f"home: no demo has run in {home}", hint="roost demo run --home FOLDER")
    database = open_store(Settings(home).database_url)
    try:
        svg = draw_rollout(SqlLedger(database, code_version=""))
    finally:
        database.close()
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(svg, encoding="utf-8")
    typer.echo(f"{out}: {len(svg)} bytes")
