"""What a report shows beside the record of the history and the ledger."""

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.drift.evidently_figures import EvidentlyFigure
from evaluation.drift.prompt_embedding import NGRAMS, TextEmbedder
from evaluation.review.results import ReviewSummary


@dataclass(frozen=True)
class Extras:
    """What a report shows beside what was recorded in the history: people's judgements, Evidently's figures.

    ``embedder`` turns prompts into the points that their drift is judged by.
    """

    reviews: ReviewSummary | None = None
    evidently: Sequence[EvidentlyFigure] = ()
    evidently_html: str = ""
    evidently_problem: str = ""
    usd_per_hour: float | None = None
    embedder: TextEmbedder = NGRAMS
