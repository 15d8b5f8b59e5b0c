"""The weekly report of one home: history, ledger and reviews brought together, written as files."""

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from contracts.errors import InvalidInput, NotFound, RoostError
from controlplane.settings import Settings
from controlplane.store.history import History
from controlplane.store.ledger import FileLedger, Ledger
from controlplane.store.migrate import open_store
from controlplane.store.sql_ledger import SqlLedger
from controlplane.store.week_source import StoredWeeks
from evaluation.drift.detector import Array
from evaluation.drift.embeddings import LEAST_WINDOW, fit_pca
from evaluation.drift.evidently_figures import EvidentlyFigure, evidently_figures
from evaluation.drift.prompt_embedding import NGRAMS, TextEmbedder
from evaluation.report.document import Report
from evaluation.report.extras import Extras
from evaluation.report.facts import REFERENCE_WEEKS
from evaluation.report.html import render_html
from evaluation.report.markdown import render_markdown
from evaluation.report.prompt_drift import prompts_of
from evaluation.report.source import ScoreRow
from evaluation.report.week import WEEK_S, Week
from evaluation.report.weekly import make_report
from evaluation.scorers.kinds import ScorerChoice

FORMS = (".html", ".json", ".md")


@dataclass(frozen=True)
class Wishes:
    """What a report is to have beside the record: a price, Evidently's figures with their HTML at a path.

    ``embedder`` is what prompts are embedded by: ``ngrams``, or ``clip:folder=FOLDER``.
    """

    usd_per_hour: float | None = None
    evidently_html: Path | None = None
    embedder: str = "ngrams"


def report_week(settings: Settings, week: Week, *, now_s: float, wishes: Wishes) -> Report:
    """Make a week's report from what a home holds.

    Raises:
        NotFound: when the home holds neither history nor ledger.
    """
    from controlplane.reviewing.results import summarise_reviews

    with ExitStack() as stack:
        ledger = stack.enter_context(open_ledger(settings))
        if ledger is None and not (settings.home / "history.db").is_file():
            raise NotFound(
                f"{settings.home} holds no history", hint="name the folder with --home; `make demo` makes one"
            )
        history = stack.enter_context(closing(History(settings.history_uri)))
        source = StoredWeeks(history, ledger)
        reviews = summarise_reviews(settings, start_s=week.start_s, end_s=week.end_s)
        extras = Extras(reviews=reviews, usd_per_hour=wishes.usd_per_hour, embedder=choose_embedder(wishes.embedder))
        if wishes.evidently_html is not None:
            extras = _with_evidently(extras, source, week, wishes.evidently_html)
        return make_report(source, week, now_s=now_s, extras=extras)


@contextmanager
def open_ledger(settings: Settings) -> Iterator[Ledger | None]:
    """Give the ledger of a home: the database's when it holds decisions, else the file's, None without either."""
    with ExitStack() as stack:
        if "ROOST_DATABASE_URL" in os.environ or (settings.home / "roost.db").is_file():
            database = stack.enter_context(closing(open_store(settings.database_url)))
            stored = SqlLedger(database, code_version="")
            if next(stored.entries(), None) is not None:
                yield stored
                return
        yield FileLedger(settings.ledger, code_version="") if settings.ledger.is_file() else None


def write_report(report: Report, out: Path) -> int:
    """Write a report as ``.html``, ``.json`` or ``.md``, whole or not at all, and return its size in bytes.

    Raises:
        InvalidInput: when the form is another, or the place can't be written.
    """
    if out.suffix not in FORMS:
        raise InvalidInput(f"out: {out.name} is none of {', '.join(FORMS)}", hint="write for example report.html")
    if out.suffix == ".html":
        text = render_html(report)
    elif out.suffix == ".md":
        text = render_markdown(report)
    else:
        text = json.dumps(report.to_document(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part = out.with_name(f".{out.name}.part")
        part.write_text(text, encoding="utf-8")
        part.replace(out)
    except OSError as error:
        raise InvalidInput(f"out: {out} can't be written: {error.strerror}", hint="name a file you may write") from None
    return len(text.encode())


def choose_embedder(text: str) -> TextEmbedder:
    """Return the embedder that a person names.

    Raises:
        InvalidInput: for another, or a folder that holds no CLIP.
    """
    choice = ScorerChoice.parse(text)
    options = dict(choice.options)
    if choice.kind == "ngrams" and not options:
        return NGRAMS
    if choice.kind == "clip" and options.keys() == {"folder"}:
        from evaluation.scorers.clip import ClipModel

        clip = ClipModel(Path(options["folder"]))
        return TextEmbedder(f"CLIP's texts ({clip.digest[:19]})", clip.embed_texts)
    raise InvalidInput(f"embedder: {text!r} is none", hint="ngrams or clip:folder=FOLDER")


def _with_evidently(extras: Extras, source: StoredWeeks, week: Week, html: Path) -> Extras:
    earlier = source.scores(week.start_s - REFERENCE_WEEKS * WEEK_S, week.start_s)
    current = source.scores(week.start_s, week.end_s)
    found: list[EvidentlyFigure] = []
    try:
        html.parent.mkdir(parents=True, exist_ok=True)
        points = _points(current, earlier, extras.embedder)
        found = evidently_figures(_columns(earlier), _columns(current), points=points, html=html)
    except RoostError as error:
        return replace(extras, evidently_problem=error.message)
    return replace(extras, evidently=found, evidently_html=html.name)


def _points(
    scores: Sequence[ScoreRow], earlier: Sequence[ScoreRow], embedder: TextEmbedder
) -> dict[str, tuple[Array, Array]]:
    """Return the very points that the drift of prompts is judged by, where there are enough of them."""
    points = {}
    for prompts in prompts_of(scores, earlier):
        if min(prompts.asked, prompts.asked_before) >= LEAST_WINDOW:
            usual, live = embedder.embed(prompts.usual), embedder.embed(prompts.live)
            pca = fit_pca(usual)
            points[f"prompts of {prompts.service}, {prompts.prompt_class}"] = pca.project(usual), pca.project(live)
    return points


def _columns(rows: Sequence[ScoreRow]) -> dict[str, Array]:
    columns: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row.value is not None and not row.mirrored:
            columns[f"{row.metric} of {row.version}"].append(row.value)
            if row.prompt:
                columns[f"prompt length of {row.service}"].append(len(row.prompt.split()))
    return {name: np.array(values) for name, values in columns.items()}
