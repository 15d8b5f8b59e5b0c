"""The workers of this machine: those that report to the home's fleet folder, each asked how it is."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from contracts.wire.worker import WorkerHealth, WorkerState
from controlplane.settings import Settings
from serving.fleet.port import FleetState, Replica, ReplicaState
from serving.fleet.reports import Report, read_report

STATES = {
    ReplicaState.WAITING: WorkerState.LOADING,
    ReplicaState.STARTING: WorkerState.LOADING,
    ReplicaState.READY: WorkerState.READY,
    ReplicaState.DRAINING: WorkerState.READY,
    ReplicaState.FAILED: WorkerState.FAILED,
}
FRESH_S = 2.0
PATIENCE_S = 0.5


@dataclass(frozen=True)
class SeenWorker:
    """One worker: where it listens (0: nowhere yet), what it is called, and how it is; None when it gave no answer."""

    version: str
    port: int
    health: WorkerHealth | None
    name: str = ""


class Workers:
    """Asks workers when somebody looks, and no more often than every two seconds.

    Whoever supervises the fleet sets ``observe``: it also knows of those that wait, or that failed and left no report.
    """

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.fleet / "workers"
        self._lock = asyncio.Lock()
        self._seen: tuple[SeenWorker, ...] = ()
        self._fresh_until_s = 0.0
        self.observe: Callable[[], FleetState] | None = None

    async def look(self) -> tuple[SeenWorker, ...]:
        """Return the workers that run, or should."""
        if self.observe is not None:
            return tuple(_told(replica) for replica in self.observe().replicas)
        async with self._lock:
            if time.monotonic() >= self._fresh_until_s:
                reports = await asyncio.to_thread(self._read_reports)
                if reports:
                    async with httpx.AsyncClient(timeout=PATIENCE_S, trust_env=False) as client:
                        self._seen = tuple(await asyncio.gather(*(_ask(client, report) for report in reports)))
                else:
                    self._seen = ()
                self._fresh_until_s = time.monotonic() + FRESH_S
        return self._seen

    def _read_reports(self) -> list[Report]:
        reports = (read_report(file) for file in sorted(self._folder.glob("*.json")))
        return [report for report in reports if report is not None and report.is_alive]


async def _ask(client: httpx.AsyncClient, report: Report) -> SeenWorker:
    health = None
    try:
        answer = await client.get(f"http://127.0.0.1:{report.port}/health")
        health = WorkerHealth.model_validate_json(answer.content)
    except (httpx.HTTPError, ValueError):
        pass
    return SeenWorker(str(report.spec.version), report.port, health)


def _told(replica: Replica) -> SeenWorker:
    """Return a replica as its supervisor last saw it."""
    port = urlsplit(replica.endpoint.url).port or 0 if replica.endpoint is not None else 0
    state = STATES[replica.state]
    message = f"{replica.message}; started again {replica.restarts} times" if replica.restarts else replica.message
    if replica.health is not None and state is WorkerState.READY:
        health = replica.health.model_copy(update={"message": message})
    else:
        health = WorkerHealth(state=state, version=replica.version, digest="", message=message)
    return SeenWorker(str(replica.version), port, health, replica.name)
