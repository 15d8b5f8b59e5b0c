"""``roost model optimize`` and ``roost model recipes``: versions made smaller or faster, and what can make them so."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.cli.model import HOME, Actor, AsJson, Home, Reference, open_catalogue
from controlplane.cli.output import print_json, print_table
from controlplane.optimise.progress import share_done

if TYPE_CHECKING:
    from controlplane.optimise.report import OptimiseReport


def add_commands(app: typer.Typer) -> None:
    """Add the commands to those of ``roost model``."""
    app.command()(optimize)
    app.command()(recipes)


def optimize(
    reference: Reference,
    recipe: Annotated[str, typer.Option(help="One recipe, or several joined by +: onnx-int8-dynamic+steps=4.")],
    *,
    device: Annotated[str, typer.Option(help="The device that will serve: cpu, cuda, cuda:0.")] = "cpu",
    prompts: Annotated[Path | None, typer.Option(help="Golden prompts: text, CSV, JSONL or YAML.")] = None,
    rows: Annotated[Path | None, typer.Option(help="Golden rows of an estimator: CSV of numbers, no header.")] = None,
    scorer: Annotated[str, typer.Option(help="What must not get worse: text-accuracy, KIND:OPTION=VALUE.")] = "",
    min_psnr: Annotated[float, typer.Option(help="Likeness to the parent's pictures that is wanted, dB.")] = 40.0,
    max_loss: Annotated[float, typer.Option(help="Loss of the scorer's mean that is accepted, of 1.")] = 0.05,
    require_gain: Annotated[bool, typer.Option("--require-gain", help="Refuse what is no smaller, no faster.")] = False,
    time_budget: Annotated[float, typer.Option(help="Seconds to time both versions side by side.")] = 60.0,
    actor: Actor = "",
    home: Home = HOME,
    as_json: AsJson = False,
) -> None:
    """Make a new version by recipes; it is registered when it passes its golden prompts in a fresh process."""
    from contracts.ids import VersionRef
    from controlplane.desks.registrations import open_registrations
    from controlplane.optimise.job import OptimisePlan, optimise
    from controlplane.optimise.quality import choose_prompts, choose_scorer
    from controlplane.settings import Settings
    from registry.recipes.names import read_recipes

    read_recipes(recipe)
    catalogue = open_catalogue(home)
    record = catalogue.get(VersionRef.parse(reference))
    plan = OptimisePlan(
        recipe,
        device=device,
        prompts=choose_prompts(prompts, scorer),
        rows=rows,
        scorer=choose_scorer(scorer, record.id) if scorer else None,
        least_psnr_db=min_psnr,
        largest_loss=max_loss,
        require_gain=require_gain,
        timing_budget_s=time_budget,
    )
    settings = Settings(home)
    with open_registrations(settings, actor) as desk, _progress() as tell:
        report = optimise(catalogue, record, plan, settings, tell=tell, registered_by=desk.names)
        if report.version is not None:
            desk.write(report.version, report.digest, reason=f"{report.parent} by {report.recipe}")
    if as_json:
        print_json(report.to_dict())
    else:
        _print_report(report)


def recipes(
    as_json: AsJson = False, device: Annotated[str, typer.Option(help="The device that will serve.")] = "cpu"
) -> None:
    """List the recipes: what each is for, and what keeps it from running here."""
    from controlplane.optimise.listing import list_recipes

    rows = list_recipes(device)
    if as_json:
        print_json(rows)
        return
    print_table(
        ["RECIPE", "FOR", "HERE", "WHAT IT DOES"],
        [[r["recipe"], "/".join(r["kinds"]), "no" if r["refusal"] else "yes", r["refusal"] or r["what"]] for r in rows],
    )


def _print_report(report: "OptimiseReport") -> None:
    typer.echo(f"{report.version}  {report.parent} by {report.recipe}  {report.digest}")
    print_table(["", "BEFORE", "AFTER", ""], [list(row) for row in report.rows()])
    if not report.has_gain:
        typer.echo("no gain: it is neither a tenth smaller nor a twentieth faster than its parent")


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Show the steps on a terminal's standard error while they go on; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield lambda step: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=100)

        def tell(step: str) -> None:
            bar.update(task, description=step, completed=max(100 * share_done(step), bar.tasks[0].completed))

        yield tell
