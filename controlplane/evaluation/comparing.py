"""``roost eval compare`` put together: catalogue, workers, scorers, evidence and MLflow."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.errors import NotFound
from contracts.ids import VersionRef
from controlplane.evaluation.evidence import BettingEvidence
from controlplane.evaluation.mlflow_comparisons import MlflowComparisons
from controlplane.evaluation.painter import painters
from controlplane.settings import Settings
from evaluation.prompts.prompt_set import PromptSet
from evaluation.scorers.cache import CachedScorer, ScoreCache
from evaluation.scorers.kinds import ScorerChoice, find_kinds, make_guarded
from evaluation.scorers.port import Scorer
from evaluation.side_by_side.compare import Question, compare
from evaluation.side_by_side.page import render_page
from evaluation.side_by_side.precondition import ComparisonRecord, Precondition, check_precondition
from evaluation.side_by_side.result import Comparison
from registry.mlflow_catalogue import MlflowCatalogue
from registry.mlflow_store import MlflowStore

FALLBACK_SCORERS = ("image-sound",)


@dataclass(frozen=True)
class Compared:
    """A comparison, its page, and where it is kept (None: not kept)."""

    comparison: Comparison
    page: str
    record: ComparisonRecord | None


def choose_scorers(prompts: PromptSet | None, asked: Sequence[str]) -> list[ScorerChoice]:
    """Return the scorers asked for, else those that the prompt set names, else whether pictures are sound."""
    named = asked or (prompts.scorers if prompts else ()) or FALLBACK_SCORERS
    return [ScorerChoice.parse(text) for text in named]


def make_scorers(choices: Sequence[ScorerChoice], cache: ScoreCache | None = None) -> list[Scorer]:
    """Make scorers; with a cache those whose scores depend on prompt and picture alone ask it first."""
    kinds = find_kinds()
    made: list[Scorer] = []
    for choice in choices:
        scorer = make_guarded(choice, kinds)
        made.append(CachedScorer(scorer, cache) if cache is not None and kinds.find(choice.kind).is_pure else scorer)
    return made


def compare_versions(
    settings: Settings,
    references: tuple[VersionRef, VersionRef],
    prompts: PromptSet,
    choices: Sequence[ScorerChoice],
    *,
    tolerance: float,
    alpha: float,
    max_pairs: int | None = None,
    keep: bool = True,
    tell: Callable[[int, int], None] = lambda done, planned: None,
) -> Compared:
    """Compare two registered versions on a prompt set, and keep the result in the home's MLflow.

    Raises:
        NotFound: when there is no registry at the home, or no such version.
    """
    catalogue = open_catalogue(settings)
    one, other = (catalogue.get(reference).id for reference in references)
    with ScoreCache(settings.home / "scores.db") as cache:
        question = Question(prompts, make_scorers(choices, cache), tolerance, alpha, max_pairs)
        with painters(catalogue, one, other, logs=settings.logs / "comparison") as (left, right):
            comparison = compare(left, right, question, BettingEvidence, tell=tell)
    page = render_page(comparison)
    record = open_comparisons(settings).keep(comparison, page) if keep else None
    return Compared(comparison, page, record)


def find_precondition(
    settings: Settings, references: tuple[VersionRef, VersionRef], *, prompts: PromptSet | None = None
) -> Precondition:
    """Tell whether a kept comparison of these versions' contents allows a rollout."""
    catalogue = open_catalogue(settings)
    one, other = (catalogue.get(reference).digest for reference in references)
    digest = prompts.digest if prompts is not None else None
    return check_precondition(open_comparisons(settings), one, other, prompts_digest=digest)


def newest_pairs(settings: Settings, references: tuple[VersionRef, VersionRef]) -> list[dict[str, Any]]:
    """Return the pairs of the newest kept comparison of these versions' contents.

    Raises:
        NotFound: when they were not compared.
    """
    catalogue, comparisons = open_catalogue(settings), open_comparisons(settings)
    found = comparisons.find(*(catalogue.get(reference).digest for reference in references))
    if not found:
        one, other = references
        raise NotFound(f"no comparison of {one} and {other} is kept", hint=f"roost eval compare {one} {other}")
    return comparisons.pairs(found[0].run_id)


def open_catalogue(settings: Settings) -> MlflowCatalogue:
    """Open the catalogue of a home.

    Raises:
        NotFound: when there is none.
    """
    if not settings.home.is_dir():
        raise NotFound(
            f"there is no registry at {settings.home}", hint="name the folder with --home, or register something"
        )
    return MlflowCatalogue(settings.mlflow_uri, artifacts=settings.artifacts, manifests=settings.manifests)


def open_comparisons(settings: Settings) -> MlflowComparisons:
    """Open the comparisons kept in a home's MLflow."""
    downloads: Path = settings.home / "downloads"
    return MlflowComparisons(MlflowStore(settings.mlflow_uri, artifacts=settings.artifacts, downloads=downloads))
