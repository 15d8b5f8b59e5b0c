"""``roost eval``: scorers, sets of pictures, and two versions side by side."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from controlplane.cli import prompts as prompts_commands
from controlplane.cli.exit_status import ExitStatus
from controlplane.cli.output import print_json, print_table
from controlplane.cli.prompts import write_file

if TYPE_CHECKING:
    from evaluation.prompts.prompt_set import PromptSet
    from evaluation.side_by_side.result import Comparison
    from evaluation.side_by_side.tally import MeasureResult
    from evaluation.side_by_side.verdicts import Finding

app = typer.Typer(help="Judge pictures, and compare versions on the same prompts and seeds.", no_args_is_help=True)
app.add_typer(prompts_commands.app, name="prompts")

Home = Annotated[Path, typer.Option(help="The folder that holds the system's state.", envvar="ROOST_HOME")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON with stable keys.")]
Reference = Annotated[str, typer.Argument(help="MODEL@NUMBER or MODEL@ALIAS.")]
Folder = Annotated[Path, typer.Argument(help="A folder of pictures.")]
Scorers = Annotated[list[str] | None, typer.Option("--scorer", help="KIND or KIND:OPTION=VALUE; may be repeated.")]
HOME = Path(".roost")


@app.command()
def compare(
    one: Reference,
    other: Reference,
    *,
    prompts: Annotated[Path, typer.Option(help="A prompt set: .csv, .jsonl, .yaml or .txt.")],
    scorer: Scorers = None,
    tolerance: Annotated[str, typer.Option(help="Mean difference of a score that counts for none.")] = "5%",
    alpha: Annotated[str, typer.Option(help="Chance of a wrong finding, however early it stops.")] = "1%",
    max_pairs: Annotated[int | None, typer.Option(help="Draw no more pairs than this.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the page with the worst pairs here too.")] = None,
    keep: Annotated[bool, typer.Option(help="Keep the result in the home's MLflow.")] = True,
    home: Home = HOME,
    as_json: AsJson = False,
) -> None:
    """Draw the same prompts and seeds with two versions, until it is known whether OTHER is worse than ONE."""
    from contracts.ids import VersionRef
    from contracts.units import parse_fraction
    from controlplane.evaluation.comparing import choose_scorers, compare_versions
    from controlplane.settings import Settings

    asked = _read_prompts(prompts)
    found = compare_versions(
        Settings(home),
        (VersionRef.parse(one), VersionRef.parse(other)),
        asked,
        choose_scorers(asked, scorer or ()),
        tolerance=parse_fraction(tolerance),
        alpha=parse_fraction(alpha),
        max_pairs=max_pairs,
        keep=keep,
        tell=_tell_progress if sys.stderr.isatty() else lambda done, planned: None,
    )
    if out is not None:
        write_file(out, found.page)
    if as_json:
        run = found.record.run_id if found.record else None
        print_json(found.comparison.to_document() | {"run_id": run, "page": str(out) if out else None})
    else:
        _print_comparison(found.comparison)
        if found.record:
            typer.echo(f"\nkept as MLflow run {found.record.run_id}")
    _exit_with(found.comparison.finding)


@app.command()
def check(
    one: Reference,
    other: Reference,
    *,
    prompts: Annotated[Path | None, typer.Option(help="Only a comparison on this very prompt set counts.")] = None,
    home: Home = HOME,
    as_json: AsJson = False,
) -> None:
    """Tell whether a kept comparison of these versions' bytes shows that OTHER is not worse than ONE."""
    from contracts.ids import VersionRef
    from controlplane.evaluation.comparing import find_precondition
    from controlplane.settings import Settings
    from evaluation.side_by_side.verdicts import Finding

    asked = _read_prompts(prompts) if prompts is not None else None
    found = find_precondition(Settings(home), (VersionRef.parse(one), VersionRef.parse(other)), prompts=asked)
    if as_json:
        record = asdict(found.record) if found.record else None
        print_json({"met": found.is_met, "reason": found.reason, "record": record})
    else:
        typer.echo(found.reason)
    _exit_with(found.record.finding if found.record else Finding.NO_DATA)


@app.command()
def pairs(
    one: Reference,
    other: Reference,
    *,
    at_most: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 20,
    home: Home = HOME,
    as_json: AsJson = False,
) -> None:
    """List the pairs of the newest kept comparison, those first in which OTHER lost most."""
    from contracts.ids import VersionRef
    from controlplane.cli.output import print_rows
    from controlplane.evaluation.comparing import newest_pairs
    from controlplane.settings import Settings

    found = newest_pairs(Settings(home), (VersionRef.parse(one), VersionRef.parse(other)))
    scored = ((_loss(*scores), name, pair) for pair in found for name, scores in pair["scores"].items())
    rows = sorted(scored, key=_first)
    if as_json:
        print_json([{**pair, "measure": name} for _, name, pair in rows[:at_most]])
        return
    header = ("PROMPT", "SEED", "MEASURE", "ONE", "OTHER", "TEXT")
    shown = [
        [pair["prompt_id"], str(pair["seed"]), name, *map(_score, pair["scores"][name]), pair["prompt"]]
        for _, name, pair in rows[:at_most]
    ]
    print_rows(header, shown, shrinks="TEXT", empty="the comparison has no pairs")


def _loss(one: float | None, other: float | None) -> float:
    """Return how much the second side gained; a score that it lost counts as zero, one the first lacks as no change."""
    return 0.0 if one is None else (other or 0.0) - one


def _first(row: tuple[float, str, Any]) -> float:
    return row[0]


def _score(score: float | None) -> str:
    return "–" if score is None else f"{score:.3g}"


@app.command()
def score(
    folder: Folder,
    *,
    scorer: Scorers = None,
    prompts: Annotated[Path | None, typer.Option(help="A prompt set whose ids are the pictures' names.")] = None,
    each: Annotated[bool, typer.Option("--each", help="Show every picture.")] = False,
    as_json: AsJson = False,
) -> None:
    """Score a folder of pictures; what can't be judged is told, and the rest is scored."""
    from controlplane.evaluation.comparing import choose_scorers, make_scorers
    from evaluation.scorers.pictures_folder import read_outputs, summarise_scores

    asked = _read_prompts(prompts) if prompts is not None else None
    scorers = make_scorers(choose_scorers(asked, scorer or ()))
    outputs = read_outputs(folder, asked)
    scores = {made.name: made.score(list(outputs.values())) for made in scorers}
    summaries = [summarise_scores(made, scores[made.name]) for made in scorers]
    if as_json:
        pictures = [
            {"picture": name, "scores": {key: asdict(found[k]) for key, found in scores.items()}}
            for k, name in enumerate(outputs)
        ]
        print_json({"scorers": [asdict(summary) for summary in summaries], "pictures": pictures})
        return
    if each:
        rows = [
            [name, key, _number(found[k].value), found[k].reason]
            for k, name in enumerate(outputs)
            for key, found in scores.items()
        ]
        print_table(["PICTURE", "SCORER", "SCORE", "WHY"], rows)
        typer.echo()
    rows = [
        [s.scorer, _number(s.mean), _range(s.low, s.high), str(s.n), str(s.no_data), "; ".join(s.reasons)]
        for s in summaries
    ]
    print_table(["SCORER", "MEAN", "95 %", "N", "NO DATA", "WHY"], rows)


@app.command()
def scorers(as_json: AsJson = False) -> None:
    """List the kinds of scorers there are, Roost's own and those installed."""
    from evaluation.scorers.kinds import find_kinds

    kinds = find_kinds()
    if as_json:
        fields = ("name", "meaning", "options", "required", "needs")
        rows = [{field: getattr(kind, field) for field in fields} for kind in kinds.by_name.values()]
        print_json({"scorers": rows, "broken": dict(kinds.broken)})
        return
    listed = [[kind.name, ",".join(kind.options), kind.meaning] for kind in kinds.by_name.values()]
    print_table(["SCORER", "OPTIONS", "MEANING"], listed)
    for name, why in kinds.broken.items():
        typer.echo(f"broken: {name}: {why}", err=True)


@app.command()
def calibrate(
    language: Annotated[str, typer.Option(help="Tesseract's name of the language.")] = "eng",
    n: Annotated[int, typer.Option(min=1, help="Known-good pictures per style.")] = 12,
    as_json: AsJson = False,
) -> None:
    """Measure the OCR reader's own ceiling: what it reads of pictures that are known to be right."""
    from evaluation.scorers.text.calibration import measure_ceiling
    from evaluation.scorers.text.scorer import share_desk

    desk = share_desk(language)
    ceilings = measure_ceiling(desk, n=n)
    if as_json:
        print_json({"reader": desk.digest, "styles": [asdict(ceiling) for ceiling in ceilings]})
        return
    rows = []
    for c in ceilings:
        measures = (_number(value) for value in (c.lines, c.edits, c.confidence))
        rows.append([c.style, _number(c.words), _range(c.low, c.high), *measures, str(c.n)])
    print_table(["STYLE", "WORDS", "95 %", "LINES", "EDITS", "CONFIDENCE", "N"], rows)


@app.command()
def distance(
    one: Folder,
    other: Folder,
    *,
    metric: Annotated[list[str] | None, typer.Option(help="fid, kid or cmmd; all by default.")] = None,
    extractor: Annotated[str, typer.Option(help="pixels, price-tags or clip:folder=FOLDER.")] = "pixels",
    as_json: AsJson = False,
) -> None:
    """Measure how far apart two sets of pictures are, with n and interval beside each figure."""
    from controlplane.evaluation.distances import measure_folders

    found = measure_folders(one, other, metric or ["fid", "kid", "cmmd"], extractor)
    if as_json:
        print_json([asdict(figure) for figure in found])
        return
    rows = [
        [f.name, _number(f.value), _range(f.low, f.high), f"{f.n_one} + {f.n_other}", f.extractor, f.reason]
        for f in found
    ]
    print_table(["METRIC", "VALUE", "95 %", "N", "EXTRACTOR", "WHY"], rows)


@app.command()
def table(
    file: Annotated[Path, typer.Argument(help="A CSV of predictions.")],
    *,
    reference: Annotated[Path | None, typer.Option(help="A CSV of the same columns to tell movement from.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure predictions on a table: columns actual, and prediction or probability."""
    from controlplane.evaluation.tables import measure_table

    figures = measure_table(file, reference)
    if as_json:
        print_json([asdict(figure) for figure in figures])
        return
    rows = [[f.name, _number(f.value), _range(f.low, f.high), str(f.n), str(f.dropped), f.reason] for f in figures]
    print_table(["FIGURE", "VALUE", "95 %", "N", "DROPPED", "WHY"], rows)


def _read_prompts(file: Path) -> "PromptSet":
    from evaluation.prompts.reading import read_prompt_set

    return read_prompt_set(file)


def _tell_progress(done: int, planned: int) -> None:
    typer.echo(f"\r{done} of at most {planned} pairs ", nl=False, err=True)


def _print_comparison(comparison: "Comparison") -> None:
    from contracts.units import format_bytes, format_duration
    from evaluation.side_by_side.page import count_failures

    typer.echo(f"{comparison.sentence}\n")
    head = ["MEASURE", "ONE", "OTHER", "DIFFERENCE", "95 %", "PAIRS", "NO DATA", "FINDING"]
    print_table(head, [_measure_row(result) for result in comparison.measures])
    harmed = [result for result in comparison.strata if result.finding == "worse"]
    if harmed:
        typer.echo("\nworse by themselves:")
        print_table(["STRATUM", *head], [[result.stratum, *_measure_row(result)] for result in harmed])
    latency, rows = comparison.latency, []
    for side, *times in (
        (comparison.one, latency.p50_one_s, latency.p95_one_s),
        (comparison.other, latency.p50_other_s, latency.p95_other_s),
    ):
        memory = "–" if side.peak_memory_bytes is None else format_bytes(side.peak_memory_bytes)
        told = ("–" if time_s is None else format_duration(time_s) for time_s in times)
        rows.append([side.version, *told, memory, count_failures(side.failures)])
    typer.echo()
    print_table(["VERSION", "P50", "P95", "PEAK MEMORY", "WITHOUT A PICTURE"], rows)


def _measure_row(result: "MeasureResult") -> list[str]:
    return [
        result.measure,
        _number(result.mean_one),
        _number(result.mean_other),
        "–" if result.difference is None else f"{result.difference:+.3f}",
        "–" if result.low is None else f"{result.low:+.3f} to {result.high:+.3f}",
        str(result.n),
        str(result.one_sided + result.unscored),
        result.finding.value,
    ]


def _exit_with(finding: "Finding") -> None:
    if not finding.is_pass:
        raise typer.Exit(ExitStatus.ERROR if finding == "worse" else ExitStatus.NO_EVIDENCE)


def _range(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
