"""The fleet port: start and stop workers, and tell how they are."""

from typing import Protocol

from contracts.ids import VersionId
from contracts.wire.routing import Endpoint
from contracts.wire.worker import WorkerHealth, WorkerSpec


class Fleet(Protocol):
    """All workers of all versions, wherever they run."""

    def start(self, spec: WorkerSpec) -> None:
        """Start one worker for a version that has none; does nothing when it has one."""
        ...

    def stop(self, version: VersionId) -> None:
        """Stop a version's workers; does nothing when there are none."""
        ...

    def endpoints(self, version: VersionId) -> tuple[Endpoint, ...]:
        """Return where a version's workers listen; empty when none runs."""
        ...

    def health(self, version: VersionId) -> WorkerHealth | None:
        """Return a version's health, None when no worker answers."""
        ...

    def close(self) -> None:
        """Stop every worker."""
        ...
