"""The embedded fleet: one local process per version."""

from pathlib import Path

import httpx
from pydantic import ValidationError

from contracts.ids import VersionId
from contracts.wire.routing import Endpoint
from contracts.wire.worker import WorkerHealth, WorkerSpec
from serving.process import Child, start_child

HEALTH_TIMEOUT_S = 2.0


class LocalFleet:
    """Workers as child processes on loopback; their logs go to ``logs``."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._workers: dict[VersionId, Child] = {}
        self._client = httpx.Client(timeout=HEALTH_TIMEOUT_S, trust_env=False)

    def start(self, spec: WorkerSpec) -> None:
        """Start a worker process; it loads in the background and ``health`` tells when it is ready.

        Raises:
            Unavailable: when the process ends before it listens.
        """
        if not self.endpoints(spec.version):
            self.stop(spec.version)
            self._workers[spec.version] = start_child(
                "serving.worker.main", spec.model_dump_json(), self._logs / f"{spec.version}.log", threads=spec.threads
            )

    def stop(self, version: VersionId) -> None:
        """End a version's process."""
        worker = self._workers.pop(version, None)
        if worker is not None:
            worker.end()

    def endpoints(self, version: VersionId) -> tuple[Endpoint, ...]:
        """Return where the version listens, if its process lives."""
        worker = self._workers.get(version)
        if worker is None or not worker.is_alive:
            return ()
        return (Endpoint(replica=f"v{version.number}-0", url=f"http://127.0.0.1:{worker.port}"),)

    def health(self, version: VersionId) -> WorkerHealth | None:
        """Ask the version's worker; None when it doesn't answer in two seconds."""
        for endpoint in self.endpoints(version):
            try:
                return WorkerHealth.model_validate_json(self._client.get(f"{endpoint.url}/health").content)
            except (httpx.HTTPError, ValidationError):
                return None
        return None

    def close(self) -> None:
        """End every process."""
        for version in list(self._workers):
            self.stop(version)
        self._client.close()
