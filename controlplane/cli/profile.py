"""``roost model profile`` and ``roost model compare``: what versions need and give, measured and side by side."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contracts.errors import InvalidInput, Unavailable
from contracts.notation import format_bytes, format_duration, format_fraction, parse_bytes, parse_duration_s
from controlplane.cli.model import HOME, AsJson, Home, Reference, open_catalogue
from controlplane.cli.output import print_json, print_table

if TYPE_CHECKING:
    from registry.catalogue import VersionRecord
    from registry.mlflow_catalogue import MlflowCatalogue
    from registry.profile.compare import Contender
    from registry.profile.document import PointFigures, Profile, QuantileFigure
    from registry.profile.grid import Grid

NO_DATA = "–"
Device = Annotated[str, typer.Option(help="The device that will serve: cpu, cuda or cuda:0.")]
Prices = Annotated[
    Path | None, typer.Option(help="A table of prices per hour by device, YAML; made-up ones otherwise.")
]
ScorerName = Annotated[str | None, typer.Option("--scorer", help="Judge quality too: KIND or KIND:OPTION=VALUE.")]
Prompts = Annotated[Path | None, typer.Option(help="What to draw: a prompt set, .csv, .jsonl, .yaml or .txt.")]
Threads = Annotated[int, typer.Option(min=1, help="Threads of the worker.")]


def profile(
    reference: Reference,
    *,
    device: Device = "cpu",
    sizes: Annotated[str, typer.Option(help="HEIGHTxWIDTH,…; by default the version's own and twice that.")] = "",
    steps: Annotated[str, typer.Option(help="Steps; by default the version's own and half of them.")] = "",
    batches: Annotated[str, typer.Option(help="Pictures to a request.")] = "1,2,4,8",
    concurrency: Annotated[str, typer.Option(help="Requests under way at a time.")] = "1",
    memory_limit: Annotated[str, typer.Option(help="Find the largest batch within so much memory: 2GiB.")] = "",
    prices: Prices = None,
    budget: Annotated[str, typer.Option(help="Time for the rounds, at most.")] = "3m",
    scorer: ScorerName = None,
    prompts: Prompts = None,
    judged: Annotated[int, typer.Option(help="Pictures to judge.")] = 64,
    threads: Threads = 1,
    home: Home = HOME,
    as_json: AsJson = False,
) -> None:
    """Measure a version in worker processes on the device that will serve it, and store the profile with it."""
    from contracts.ids import VersionRef
    from registry.profile.measure import Effort
    from registry.profile.prices import load_prices

    catalogue = open_catalogue(home)
    record = catalogue.get(VersionRef.parse(reference))
    grid = _grid(record, sizes, steps, batches, concurrency)
    limit_bytes = parse_bytes(memory_limit) if memory_limit else None
    effort, table = Effort(budget_s=parse_duration_s(budget)), load_prices(prices)
    from controlplane.profiling.job import ProfilePlan, profile_version
    from controlplane.profiling.judges import choose_judge
    from controlplane.settings import Settings

    plan = ProfilePlan(
        grid=grid,
        device=device,
        threads=threads,
        effort=effort,
        memory_limit_bytes=limit_bytes,
        prices=table,
        asked=choose_judge(record.id, scorer, prompts, judged),
    )
    with telling() as tell:
        found = profile_version(catalogue, record, plan, Settings(home), tell=tell)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        _print_profile(found)


def compare(
    references: Annotated[
        list[str], typer.Argument(metavar="A B ...", help="Two versions or more: MODEL@NUMBER or MODEL@ALIAS.")
    ],
    *,
    device: Device = "cpu",
    svg: Annotated[Path | None, typer.Option(help="Draw latency, quality and cost here.")] = None,
    home: Home = HOME,
    as_json: AsJson = False,
) -> None:
    """Tell what two versions differ in, and draw latency, quality and cost of as many as you name."""
    from contracts.ids import VersionRef
    from registry.profile.compare import mark_front, place

    if len(references) < 2:
        raise InvalidInput("A B: name two versions or more", hint="roost model compare tags@1 tags@2")
    catalogue = open_catalogue(home)
    records = [catalogue.get(VersionRef.parse(reference)) for reference in dict.fromkeys(references)]
    profiles = {record.id: catalogue.profiles.read(record.id, device) for record in records}
    contenders = mark_front([
        place(found, size_bytes=record.size_bytes) if (found := profiles[record.id]) is not None else _unknown(record)
        for record in records
    ])  # fmt: skip
    currency = next((found.price.currency for found in profiles.values() if found and found.price), "")
    row = _difference(catalogue, references) if len(references) == 2 else {}
    row |= {"profiles": [contender_row(one) for one in contenders], "device": device}
    if svg is not None:
        write_chart(svg, contenders, title=f"{records[0].id.model} on {device}", currency=currency)
        row["svg"] = str(svg)
    if as_json:
        print_json(row)
        return
    _print_difference(row)
    print_contenders(contenders, currency)
    _warn_unlike([found for found in profiles.values() if found is not None])


@contextmanager
def telling() -> Iterator[Callable[[str], None]]:
    """Show how far a long job is, on a terminal's standard error; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield lambda message: None
        return
    from rich.console import Console

    with Console(stderr=True).status("starting") as status:
        yield status.update


def contender_row(one: "Contender") -> dict[str, Any]:
    """Return a contender's figures as they go into JSON."""
    from dataclasses import asdict

    return asdict(one)


def print_contenders(contenders: "list[Contender]", currency: str) -> None:
    """Print the figures of versions or trials, the Pareto front marked with a star."""
    rows = [
        [
            "*" if one.on_front else "",
            one.name,
            _duration(one.p95_s),
            _quality(one),
            format_bytes(round(one.memory_bytes)) if one.memory_bytes is not None else NO_DATA,
            f"{one.cost_per_1k:.3g}" if one.cost_per_1k is not None else NO_DATA,
            format_bytes(one.size_bytes) if one.size_bytes is not None else NO_DATA,
        ]
        for one in contenders
    ]
    header = ["", "NAME", "P95", "QUALITY [95 %]", "MEMORY", f"{currency} PER 1000".strip(), "SIZE"]
    kept = [column for column in range(len(header)) if column < 2 or any(row[column] != NO_DATA for row in rows)]
    print_table([header[column] for column in kept], [[row[column] for column in kept] for row in rows])
    typer.echo("* no other is better in everything (Pareto front)")


def write_chart(file: Path, contenders: "list[Contender]", *, title: str, currency: str) -> None:
    """Write the chart of contenders.

    Raises:
        Unavailable: when the file can't be written.
    """
    from registry.profile.chart import draw_chart

    try:
        file.write_text(draw_chart(contenders, title=title, currency=currency), encoding="utf-8")
    except OSError as error:
        raise Unavailable(
            f"svg: {file} can't be written: {error.strerror}", hint="name a file in a folder that exists"
        ) from None
    typer.echo(f"drawn: {file}", err=True)


def _grid(record: "VersionRecord", sizes: str, steps: str, batches: str, concurrency: str) -> "Grid":
    from registry.profile.grid import Grid, default_grid, parse_numbers, parse_sizes

    usual = default_grid(record.defaults)
    return Grid(
        sizes=parse_sizes(sizes) if sizes else usual.sizes,
        steps=parse_numbers(steps, "steps") if steps else usual.steps,
        batches=parse_numbers(batches, "batches"),
        concurrency=parse_numbers(concurrency, "concurrency"),
    )


def _print_profile(found: "Profile") -> None:
    loading, environment = found.loading, found.environment
    libraries = ", ".join(
        f"{name} {environment.libraries[name]}" for name in ("torch", "diffusers") if name in environment.libraries
    )
    typer.echo(f"{found.version} on {environment.describe()}, {environment.threads} thread(s); {libraries}")
    typer.echo(
        f"ready after {format_duration(loading.cold_s)} cold, {format_duration(loading.warm_s)} warm; first picture "
        f"{_duration(loading.first_picture_s)}; holds {format_bytes(loading.memory_bytes)}"
    )
    if found.quality is not None:
        quality = found.quality
        typer.echo(
            f"{quality.scorer}: {format_fraction(quality.value)} [{format_fraction(quality.low)}, "
            f"{format_fraction(quality.high)}] of {quality.n} pictures"
        )
    print_table(
        [
            "SIZE",
            "STEPS",
            "BATCH",
            "AT ONCE",
            "P50 [95 %]",
            "P95 [95 %]",
            "P99",
            "PICTURES/S",
            "PEAK",
            "J",
            "PER 1000",
            "CPU",
            "N",
        ],
        [_point_row(point) for point in found.points],
    )
    _print_capacity(found)
    _print_limits(found)


def _point_row(point: "PointFigures") -> list[str]:
    place = [f"{point.height}x{point.width}", str(point.steps), str(point.batch), str(point.concurrency)]
    if point.out_of_memory:
        return [*place, "out of memory", *[NO_DATA] * 8]
    return [
        *place,
        _quantile(point.p50),
        _quantile(point.p95),
        _duration(point.p99.value_s if point.p99 else None),
        f"{point.throughput_per_s:.3g}" if point.throughput_per_s else NO_DATA,
        format_bytes(point.peak_memory_bytes) if point.peak_memory_bytes else NO_DATA,
        f"{point.energy_j:.3g}" if point.energy_j is not None else NO_DATA,
        f"{point.cost_per_1k:.3g}" if point.cost_per_1k is not None else NO_DATA,
        f"{point.cpu_share:.0%}" if point.cpu_share is not None else NO_DATA,
        str(point.repeats),
    ]


def _print_capacity(found: "Profile") -> None:
    model = found.capacity
    if model is None:
        typer.echo(f"no capacity model: {found.no_capacity}")
        return
    typer.echo(
        f"memory  = {format_bytes(round(model.memory_fixed_bytes))} + {model.memory_per_pixel_bytes:.0f} B a pixel; "
        f"held-out points within {format_fraction(model.memory_error, 2)}"
    )
    typer.echo(
        f"latency = {_duration(model.latency_fixed_s)} + {model.latency_per_pixel_s * 1e6:.2g} us a pixel + steps · "
        f"({_duration(model.latency_per_step_s)} + {model.latency_per_step_pixel_s * 1e6:.2g} us a pixel denoised); "
        f"held-out medians within {format_fraction(model.latency_error, 2)}, p95 (× {model.tail:.2f}) within "
        f"{format_fraction(model.tail_error, 2)}"
    )


def _print_limits(found: "Profile") -> None:
    fitting, limits, price = found.fitting, found.limits, found.price
    if fitting is not None:
        predicted = NO_DATA if fitting.predicted is None else str(fitting.predicted)
        typer.echo(
            f"within {format_bytes(fitting.memory_limit_bytes)}: a batch of {fitting.measured} of "
            f"{fitting.height}x{fitting.width} by trying, {predicted} by the model"
        )
    memory = format_bytes(limits.memory_limit_bytes) if limits.memory_limit_bytes is not None else "not limited"
    typer.echo(
        f"worker limits: max_batch_size {limits.max_batch_size}, max_concurrency {limits.max_concurrency}, "
        f"memory {memory}"
    )
    if price is not None and price.example:
        typer.echo(
            f"cost is by made-up prices ({price.per_hour:g} {price.currency} an hour); give yours with --prices",
            err=True,
        )
    waiting = [p for p in found.points if p.cpu_share is not None and p.cpu_share < 0.9]
    if found.environment.device == "cpu" and waiting:
        typer.echo(
            f"at {len(waiting)} of {len(found.points)} points the worker had less than 90 % of a core: "
            "something else used this machine, and times hold its share",
            err=True,
        )
    typer.echo(
        f"stored with {found.version}; measured {datetime.fromtimestamp(found.measured_at_s, UTC):%Y-%m-%d %H:%M} UTC"
    )


def _difference(catalogue: "MlflowCatalogue", references: list[str]) -> dict[str, Any]:
    from contracts.ids import VersionRef
    from registry.comparison import compare_versions

    found = compare_versions(catalogue, *map(VersionRef.parse, references))
    return {
        "one": str(found.one.id),
        "other": str(found.other.id),
        "same_content": found.same_content,
        "common_ancestor": str(found.common_ancestor) if found.common_ancestor else None,
        "growth_bytes": found.growth_bytes,
        "changed": list(found.changed),
        "added": list(found.added),
        "removed": list(found.removed),
        "settings": {name: list(values) for name, values in found.settings.items()},
    }


def _print_difference(row: dict[str, Any]) -> None:
    import json

    for name, value in row.items():
        if name not in {"profiles", "device", "svg"}:
            typer.echo(f"{name:<16} {value if isinstance(value, str) else json.dumps(value)}")


def _unknown(record: "VersionRecord") -> "Contender":
    from registry.profile.compare import Contender

    return Contender(str(record.id), None, None, size_bytes=record.size_bytes)


def _warn_unlike(profiles: "list[Profile]") -> None:
    """Say so when figures are not of one machine, or qualities not of the same prompts and scorer."""
    if len({found.environment.describe() for found in profiles}) > 1:
        typer.echo("these profiles are of different machines: latencies don't compare", err=True)
    judged = {(q.scorer_digest, q.prompts_digest, q.seed) for found in profiles if (q := found.quality) is not None}
    if len(judged) > 1:
        typer.echo("these qualities are of different scorers or prompts: they don't compare", err=True)


def _duration(value_s: float | None) -> str:
    return NO_DATA if value_s is None else format_duration(value_s)


def _quantile(figure: "QuantileFigure | None") -> str:
    if figure is None:
        return NO_DATA
    low, high = (_duration(end) for end in (figure.low_s, figure.high_s))
    return f"{format_duration(figure.value_s)} [{low}, {high}]"


def _quality(one: "Contender") -> str:
    if one.quality is None:
        return NO_DATA
    text = format_fraction(one.quality)
    if one.quality_low is None or one.quality_high is None:
        return text
    return f"{text} [{format_fraction(one.quality_low)}, {format_fraction(one.quality_high)}]"


def add_commands(app: typer.Typer) -> None:
    """Register the commands of this module below ``roost model``."""
    app.command()(profile)
    app.command()(compare)
