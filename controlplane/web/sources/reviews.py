"""The queue of pairs to be judged: opened once somebody has put one there, never made by looking."""

import threading

from contracts.clock import SystemClock
from contracts.rng import SystemRng
from controlplane.reviewing.desk import ReviewDesk
from controlplane.reviewing.evidence import PreferenceEvidence
from controlplane.settings import Settings
from controlplane.store.reviews import ReviewStore

FILE = "review.db"


class Reviews:
    """A home's review desk."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opening = threading.Lock()
        self._store: ReviewStore | None = None

    def desk(self) -> ReviewDesk | None:
        """Return the desk; None where nobody ever asked for a judgement."""
        with self._opening:
            if self._store is None and (self._settings.home / FILE).is_file():
                self._store = ReviewStore(self._settings.reviews_uri)
        if self._store is None:
            return None
        return ReviewDesk(self._store, PreferenceEvidence(), SystemClock(), SystemRng())

    def close(self) -> None:
        """Let go of the queue."""
        if self._store is not None:
            self._store.close()
