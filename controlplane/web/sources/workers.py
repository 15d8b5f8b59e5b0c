"""The workers of this machine: those that report to the home's fleet folder, each asked how it is."""

import asyncio
import time
from dataclasses import dataclass

import httpx

from contracts.wire.worker import WorkerHealth
from controlplane.settings import Settings
from serving.fleet.reports import Report, read_report

FRESH_S = 2.0
PATIENCE_S = 0.5


@dataclass(frozen=True)
class SeenWorker:
    """One worker process: where it listens, and its answer; None when it gave none."""

    version: str
    port: int
    health: WorkerHealth | None


class Workers:
    """Asks workers when somebody looks, and no more often than every two seconds."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.fleet / "workers"
        self._lock = asyncio.Lock()
        self._seen: tuple[SeenWorker, ...] = ()
        self._fresh_until_s = 0.0

    async def look(self) -> tuple[SeenWorker, ...]:
        """Return the workers that run."""
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
