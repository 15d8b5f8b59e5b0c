"""A worker in a process of its own that needs no model, so that a test may kill it."""

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from multiprocessing.queues import Queue

import httpx

from contracts.ids import VersionId
from contracts.wire.routing import Endpoint


@dataclass(frozen=True)
class ScriptedProcess:
    """A worker's process, and where it listens."""

    process: SpawnProcess
    endpoint: Endpoint

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


def _serve(number: int, delay_s: float, told: "Queue[str]") -> None:
    from tests.serving.conftest import ScriptedRuntime, running_worker

    with running_worker(VersionId("m", number), ScriptedRuntime(delay_s=delay_s)) as endpoint:
        told.put(endpoint.url)
        time.sleep(300)


@contextmanager
def scripted_process(version: VersionId, replica: str, delay_s: float) -> Iterator[ScriptedProcess]:
    """Run a worker that draws for ``delay_s``; yields once it is ready."""
    context = multiprocessing.get_context("spawn")
    told: Queue[str] = context.Queue()
    process = context.Process(target=_serve, args=(version.number, delay_s, told), daemon=True)
    process.start()
    url = told.get(timeout=60)
    while httpx.get(f"{url}/health", trust_env=False).json()["state"] != "ready":
        time.sleep(0.05)
    try:
        yield ScriptedProcess(process, Endpoint(replica=replica, url=url, max_concurrency=4))
    finally:
        process.kill()
        process.join()
        told.close()
