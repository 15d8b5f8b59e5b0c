"""What a home's reviews come to."""

from controlplane.reviewing.evidence import PreferenceEvidence
from controlplane.settings import Settings
from controlplane.store.reviews import ReviewStore
from evaluation.review.results import ReviewSummary
from evaluation.review.summary import summarise


def summarise_reviews(settings: Settings, *, start_s: float = 0.0, end_s: float = 1e18) -> ReviewSummary | None:
    """Return what people judged between two moments, None where nobody was ever asked."""
    if not (settings.home / "review.db").is_file():
        return None
    store = ReviewStore(settings.reviews_uri)
    try:
        return summarise(store.judgements(start_s=start_s, end_s=end_s), PreferenceEvidence())
    finally:
        store.close()
