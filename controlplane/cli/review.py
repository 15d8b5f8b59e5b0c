"""``roost review``: people judge pairs and flagged outputs, blind; what they prefer and how far to trust it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contracts.errors import InvalidInput, NotFound, Unavailable

if TYPE_CHECKING:
    from controlplane.reviewing.desk import ReviewDesk
    from controlplane.store.reviews import ReviewStore
    from evaluation.review.results import ReviewSummary

app = typer.Typer(help="Have people compare outputs, blind.", no_args_is_help=True)
Home = Annotated[Path, typer.Option(help="The folder that holds the system's state.", envvar="ROOST_HOME")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON with stable keys.")]


@app.command()
def add(
    file: Annotated[Path, typer.Argument(help="Pairs and flagged outputs, one JSON object a line; images beside it.")],
    home: Home = Path(".roost"),
    needed: Annotated[int, typer.Option(min=1, max=20, help="How many people are to judge each item.")] = 1,
) -> None:
    """Put pairs into the queue; about one in ten more is added to see whether raters look."""
    from controlplane.reviewing.desk import add_file

    with _desk(home) as (desk, _):
        loading = add_file(desk, file, needed=needed)
    for problem in loading.problems:
        typer.echo(problem, err=True)
    if not loading.added:
        raise InvalidInput(f"{file}: nothing in it can be used", hint="see the how-to on reviewing pairs")
    typer.echo(f"✔ {loading.added} items added; next: roost review serve --home {home}")


@app.command()
def serve(
    home: Home = Path(".roost"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0 takes any that is free.")] = 8610,
) -> None:
    """Serve the review page on this machine until interrupted."""
    import socket

    import uvicorn

    from controlplane.reviewing.app import review_app

    with _desk(home) as (desk, _), socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", port))
        except OSError as error:
            raise Unavailable(f"port {port}: {error.strerror}", hint="name another with --port, or 0") from None
        typer.echo(f"✔ http://127.0.0.1:{listening.getsockname()[1]}  (Ctrl-C ends it)")
        config = uvicorn.Config(review_app(desk), log_level="warning", timeout_graceful_shutdown=2, server_header=False)
        uvicorn.Server(config).run(sockets=[listening])


@app.command()
def results(home: Home = Path(".roost"), *, as_json: AsJson = False) -> None:
    """Print preferences, ranking, agreement and attention."""
    from dataclasses import asdict

    from controlplane.cli.output import print_json
    from controlplane.reviewing.results import summarise_reviews
    from controlplane.settings import Settings

    summary = summarise_reviews(Settings(home))
    if summary is None:
        raise NotFound(f"there are no reviews in {home}", hint="roost review add FILE puts pairs into the queue")
    if as_json:
        print_json(asdict(summary))
    else:
        _print_summary(summary)


@app.command()
def export(
    home: Home = Path(".roost"),
    out: Annotated[Path | None, typer.Option(help="Where to write; standard output otherwise.")] = None,
) -> None:
    """Write every judgement as a line of JSON."""
    from controlplane.reviewing.desk import export_lines

    with _desk(home, must_exist=True) as (_, store):
        lines = export_lines(store.judgements())
    text = "".join(f"{line}\n" for line in lines)
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")
        typer.echo(f"✔ {out}: {len(lines)} judgements")


@contextmanager
def _desk(home: Path, *, must_exist: bool = False) -> "Iterator[tuple[ReviewDesk, ReviewStore]]":
    from contracts.clock import SystemClock
    from contracts.rng import SystemRng
    from controlplane.reviewing.desk import ReviewDesk
    from controlplane.reviewing.evidence import PreferenceEvidence
    from controlplane.settings import Settings
    from controlplane.store.reviews import ReviewStore

    if must_exist and not (home / "review.db").is_file():
        raise NotFound(f"there are no reviews in {home}", hint="roost review add FILE puts pairs into the queue")
    store = ReviewStore(Settings(home).reviews_uri)
    try:
        yield ReviewDesk(store, PreferenceEvidence(), SystemClock(), SystemRng()), store
    finally:
        store.close()


def _print_summary(summary: "ReviewSummary") -> None:
    from controlplane.cli.output import print_table

    typer.echo(f"{summary.judged} judgements by {summary.raters} people")
    rows = [
        (f"{p.first} against {p.second}", _interval(p.share, p.low, p.high), str(p.wins_first), str(p.wins_second),
         str(p.ties), f"{p.evidence:.3g}" if p.evidence is not None else "–")
        for p in summary.preferences
    ]  # fmt: skip
    print_table(("pair", "prefers the first, 95 %", "first", "second", "ties", "evidence (20 settles it)"), rows)
    ranks = [(s.version, _interval(s.strength, s.low, s.high), str(s.judgements)) for s in summary.strengths]
    print_table(("version", "strength (log-odds), 95 %", "n"), ranks)
    alpha = _interval(summary.alpha, summary.alpha_low, summary.alpha_high)
    checks = [("Krippendorff's alpha", alpha, f"{summary.alpha_items} items")]
    checks += [(what, f"{part}", f"of {whole}") for what, part, whole in summary.checks]
    print_table(("check", "figure", "n"), checks)


def _interval(value: float | None, low: float | None, high: float | None) -> str:
    numbers: list[Any] = [value, low, high]
    return "–" if None in numbers else f"{value:.2f} [{low:.2f}, {high:.2f}]"
