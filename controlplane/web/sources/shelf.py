"""The versions on MLflow's shelf and their aliases' history, read again when they change."""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from contracts.errors import IntegrityError, RoostError
from controlplane.settings import Settings
from registry.catalogue import VersionRecord
from registry.journal import Journal, Move
from registry.profile.compare import Contender, mark_front, place

if TYPE_CHECKING:
    from registry.mlflow_catalogue import MlflowCatalogue

LOOK_EVERY_S = 2.0
MOST_PROFILES = 50
JOURNAL = "registry.db"
CATALOGUE = "mlflow.db"
STORES = (JOURNAL, CATALOGUE, f"{CATALOGUE}-wal")


@dataclass(frozen=True)
class Snapshot:
    """All our versions by model, newest first, with every alias's moves, oldest first; read at ``at_s``.

    ``profiles``: by model, the profiled ones among the newest versions beside one another.
    """

    versions: dict[str, list[VersionRecord]]
    moves: dict[str, list[Move]]
    profiles: dict[str, list[Contender]]
    at_s: float


class Shelf:
    """Reads versions and aliases of one home: when an alias moved or a version came, and only then."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = asyncio.Lock()
        self._seen: tuple[int, ...] = ()
        self.known: Snapshot | None = None
        self.problem: RoostError | None = None

    async def follow(self) -> None:
        """Keep ``known`` up to date for ever."""
        while True:
            await self.read()
            await asyncio.sleep(LOOK_EVERY_S)

    async def read(self) -> Snapshot | None:
        """Return what is on the shelf; None while the home has no versions, or they can't be read."""
        async with self._lock:
            now = self._stamp()
            if now != self._seen:
                try:
                    self.known, self.problem = await asyncio.to_thread(_read, self._settings), None
                    self._seen = now
                except RoostError as error:
                    self.problem = error
        return self.known

    def _stamp(self) -> tuple[int, ...]:
        """Return the times at which the stores' files were last written to."""
        files = [self._settings.home / name for name in STORES]
        return tuple(file.stat().st_mtime_ns if file.exists() else 0 for file in files)


def _read(settings: Settings) -> Snapshot | None:
    journal_file = settings.manifests.parent / JOURNAL
    if not (journal_file.exists() and (settings.home / CATALOGUE).exists()):
        return None
    from registry.mlflow_catalogue import MlflowCatalogue

    catalogue = MlflowCatalogue(settings.mlflow_uri, artifacts=settings.artifacts, manifests=settings.manifests)
    versions: dict[str, list[VersionRecord]] = {}
    page: str | None = None
    while True:
        found = catalogue.search(page=page, size=1000)
        for record in found.versions:
            versions.setdefault(record.id.model, []).append(record)
        page = found.next_page
        if page is None:
            break
    for records in versions.values():
        records.sort(key=lambda record: -record.id.number)
    journal = Journal(journal_file)
    moves = {model: journal.moves(model) for model in versions}
    profiles = {model: _read_profiles(catalogue, records[:MOST_PROFILES]) for model, records in versions.items()}
    return Snapshot(versions, moves, profiles, time.time())


def _read_profiles(catalogue: "MlflowCatalogue", records: list[VersionRecord]) -> list[Contender]:
    """Return the profiled versions, those marked that no other beats in all; a changed profile counts as none."""
    found = []
    for record in records:
        with suppress(IntegrityError):
            profile = catalogue.profiles.read(record.id)
            if profile is not None:
                found.append(place(profile, size_bytes=record.size_bytes))
    return mark_front(found)
