"""``roost report``: the week as one file, made from the ledger and the telemetry alone."""

from pathlib import Path
from typing import Annotated

import typer

from contracts.clock import SystemClock
from contracts.errors import InvalidInput, Unavailable

app = typer.Typer(help="Make reports from what was recorded.", no_args_is_help=True)
Home = Annotated[Path, typer.Option(help="The folder that holds the system's state.", envvar="ROOST_HOME")]


@app.command()
def show(
    week: Annotated[str, typer.Argument(help="The ISO week, such as 2026-W46; this week otherwise.")] = "",
    home: Home = Path(".roost"),
) -> None:
    """Print one week's report here, as Markdown."""
    from controlplane.reporting import Wishes, report_week
    from controlplane.settings import Settings
    from evaluation.report.markdown import render_markdown
    from evaluation.report.week import parse_week, week_of

    now_s = SystemClock().now_s()
    chosen = parse_week(week, now_s) if week else week_of(now_s)
    typer.echo(render_markdown(report_week(Settings(home), chosen, now_s=now_s, wishes=Wishes())), nl=False)


@app.command()
def weekly(
    week: Annotated[str | None, typer.Option(help="The ISO week, such as 2026-W46; this week otherwise.")] = None,
    home: Home = Path(".roost"),
    *,
    out: Annotated[
        Path | None, typer.Option(help="Where to write it: .html, .json or .md; report-WEEK.html otherwise.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON, and write no file.")] = False,
    pdf: Annotated[bool, typer.Option(help="Also print it to PDF, with Chromium.")] = False,
    evidently: Annotated[bool, typer.Option(help="Show Evidently's figures, with its HTML beside the report.")] = False,
    usd_per_hour: Annotated[float | None, typer.Option(min=0, help="What one replica costs an hour.")] = None,
    embedder: Annotated[
        str, typer.Option(help="What prompts' drift is judged by: ngrams or clip:folder=FOLDER.")
    ] = "ngrams",
) -> None:
    """Write one week's report; a past week can be made again at any time."""
    from controlplane.cli.output import print_json
    from controlplane.reporting import Wishes, report_week, write_report
    from controlplane.settings import Settings
    from evaluation.report.pdf import print_pdf
    from evaluation.report.week import parse_week, week_of

    now_s = SystemClock().now_s()
    chosen = parse_week(week, now_s) if week is not None else week_of(now_s)
    file = out or Path(f"report-{chosen}.html")
    if pdf and (as_json or file.suffix != ".html"):
        raise InvalidInput("pdf: it is printed from the HTML", hint="write the report to a .html file")
    beside = file.with_name(f"{file.stem}-evidently.html") if evidently else None
    report = report_week(Settings(home), chosen, now_s=now_s, wishes=Wishes(usd_per_hour, beside, embedder))
    if as_json:
        print_json(report.to_document())
        return
    size = write_report(report, file)
    typer.echo(f"✔ {file} {size / 1000:.0f} kB")
    for sentence in report.sentences:
        typer.echo(f"  {sentence}")
    if pdf:
        try:
            print_pdf(file, file.with_suffix(".pdf"))
        except Unavailable as error:
            typer.echo(f"{error.message}; {error.hint}", err=True)
        else:
            typer.echo(f"✔ {file.with_suffix('.pdf')}")
