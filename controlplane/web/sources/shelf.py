"""The versions on MLflow's shelf and their aliases' history, read again when they change."""

import asyncio
import time
from dataclasses import dataclass

from contracts.errors import RoostError
from controlplane.settings import Settings
from registry.catalogue import VersionRecord
from registry.journal import Journal, Move

LOOK_EVERY_S = 2.0
JOURNAL = "registry.db"
CATALOGUE = "mlflow.db"
STORES = (JOURNAL, CATALOGUE, f"{CATALOGUE}-wal")


@dataclass(frozen=True)
class Snapshot:
    """All our versions by model, newest first, with every alias's moves, oldest first; read at ``at_s``."""

    versions: dict[str, list[VersionRecord]]
    moves: dict[str, list[Move]]
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
    return Snapshot(versions, {model: journal.moves(model) for model in versions}, time.time())
