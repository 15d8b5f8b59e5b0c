"""``roost model tune``: the setting that serves an objective best, found within a budget of time."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contracts.errors import InvalidInput
from contracts.notation import parse_duration_s
from controlplane.cli.model import HOME, Actor, AsJson, Home, Reference, open_catalogue
from controlplane.cli.output import print_json
from controlplane.cli.profile import (
    Device,
    Prices,
    Prompts,
    ScorerName,
    Threads,
    contender_row,
    print_contenders,
    telling,
    write_chart,
)

if TYPE_CHECKING:
    from controlplane.optimise.report import OptimiseReport
    from controlplane.profiling.tuning import TunePlan
    from registry.tuning.search import Found, Trial


def tune(
    reference: Reference,
    objective: Annotated[str, typer.Option(help="min or max of p95, quality, memory or cost, and conditions.")],
    *,
    recipes: Annotated[str, typer.Option(help="Recipes to try beside the version as it is, with commas.")] = "",
    steps: Annotated[str, typer.Option(help="Steps to try; halves of the version's own otherwise.")] = "",
    guidance: Annotated[str, typer.Option(help="Guidance to try; 1, its own and half way between otherwise.")] = "",
    device: Device = "cpu",
    budget: Annotated[str, typer.Option(help="Time for the search, at most.")] = "5m",
    scorer: ScorerName = None,
    prompts: Prompts = None,
    judged: Annotated[int, typer.Option(help="Pictures of a finalist.")] = 64,
    prices: Prices = None,
    threads: Threads = 1,
    svg: Annotated[Path | None, typer.Option(help="Draw the Pareto front here.")] = None,
    best: Annotated[bool, typer.Option("--register-best", help="Make the winner a new version.")] = False,
    actor: Actor = "",
    home: Home = HOME,
    as_json: AsJson = False,
) -> None:
    """Search recipes, steps and guidance for what serves an objective best; exit status 1 when nothing meets it."""
    from contracts.ids import VersionRef
    from registry.profile.grid import parse_numbers
    from registry.profile.prices import load_prices
    from registry.tuning.objective import parse_objective

    wanted, table, budget_s = parse_objective(objective), load_prices(prices), parse_duration_s(budget)
    counts = parse_numbers(steps, "steps") if steps else ()
    catalogue = open_catalogue(home)
    record = catalogue.get(VersionRef.parse(reference))
    from controlplane.desks.registrations import open_registrations
    from controlplane.profiling.judges import choose_judge
    from controlplane.profiling.tuning import TunePlan, make_candidates, register_best, tune_version
    from controlplane.settings import Settings

    plan = TunePlan(
        wanted,
        make_candidates(record.defaults, _split(recipes), counts, _scales(guidance)),
        device=device,
        threads=threads,
        budget_s=budget_s,
        prices=table,
        asked=choose_judge(record.id, scorer, prompts, judged),
    )
    settings, report = Settings(home), None
    with open_registrations(settings, actor) as desk, telling() as tell:
        found, price = tune_version(catalogue, record, plan, settings, tell=tell)
        if best and found.best is not None:
            report = register_best(catalogue, record, found.best, plan, settings, tell=tell, registered_by=desk.names)
        if report is not None and report.version is not None:
            desk.write(report.version, report.digest, reason=f"{report.parent} by {report.recipe}")
    currency = table.currency if price is not None else ""
    _tell(found, plan, price, currency=currency, report=report, svg=svg, as_json=as_json, title=f"tuning {record.id}")
    if found.best is None:
        raise typer.Exit(1)
    if best and report is None and not as_json:
        typer.echo("the best is the version as it is: nothing was registered")


def add_commands(app: typer.Typer) -> None:
    """Register the command below ``roost model``."""
    app.command()(tune)


def _tell(
    found: "Found",
    plan: "TunePlan",
    price: float | None,
    *,
    currency: str,
    report: "OptimiseReport | None",
    svg: Path | None,
    as_json: bool,
    title: str,
) -> None:
    from registry.profile.compare import mark_front
    from registry.tuning.search import contend

    tried = [trial for trial in found.trials if trial.prompts]
    contenders = mark_front([contend(trial, price) for trial in tried])
    if svg is not None:
        write_chart(svg, contenders, title=f"{title}: {plan.objective}", currency=currency)
    if as_json:
        rows = [contender_row(one) | {"prompts": trial.prompts} for one, trial in zip(contenders, tried, strict=True)]
        failed = {str(trial.candidate): trial.failure for trial in found.trials if trial.failure}
        registered = str(report.version) if report is not None else None
        print_json(_summary(found, plan) | {"trials": rows, "failed": failed, "registered": registered})
        return
    print_contenders(sorted(contenders, key=lambda one: one.p95_s or 0.0), currency)
    for trial in found.trials:
        if trial.failure:
            typer.echo(f"not served: {trial.candidate}: {trial.failure}")
    if found.out_of_time:
        typer.echo("the budget is spent: some candidates drew few pictures")
    typer.echo(_verdict(found.best, plan))
    if report is not None:
        typer.echo(f"registered: {report.version} by {report.recipe}")


def _summary(found: "Found", plan: "TunePlan") -> dict[str, Any]:
    return {
        "objective": str(plan.objective),
        "best": str(found.best.candidate) if found.best is not None else None,
        "out_of_time": found.out_of_time,
    }


def _verdict(best: "Trial | None", plan: "TunePlan") -> str:
    if best is None:
        return f"nothing that was tried meets: {plan.objective}"
    return f"best for {plan.objective}: {best.candidate} ({best.prompts} pictures)"


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _scales(text: str) -> list[float]:
    try:
        return [float(part) for part in _split(text)]
    except ValueError:
        raise InvalidInput(f"guidance: {text!r} are not numbers", hint="write numbers with commas: 1,1.5,2") from None
