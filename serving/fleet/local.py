"""The embedded fleet: one local process per version, without credentials, ended with its parent."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import ValidationError

from contracts.errors import Unavailable
from contracts.ids import VersionId
from contracts.wire.routing import Endpoint
from contracts.wire.worker import WorkerHealth, WorkerSpec

KEPT_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
HEALTH_TIMEOUT_S = 2.0


@dataclass
class LocalWorker:
    """A running process and where it listens."""

    process: subprocess.Popen[str]
    endpoint: Endpoint


class LocalFleet:
    """Workers as child processes on loopback; their logs go to ``logs``."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._workers: dict[VersionId, LocalWorker] = {}
        self._client = httpx.Client(timeout=HEALTH_TIMEOUT_S, trust_env=False)
        logs.mkdir(parents=True, exist_ok=True)

    def start(self, spec: WorkerSpec) -> None:
        """Start a worker process; it loads in the background and ``health`` tells when it is ready.

        Raises:
            Unavailable: when the process ends before it listens.
        """
        if spec.version in self._workers:
            return
        with (self._logs / f"{spec.version}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "serving.worker.main"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=_environment(spec.threads),
            )
        if process.stdin is None or process.stdout is None:
            raise Unavailable("the worker has no pipes", hint="this is a fault of the operating system")
        process.stdin.write(spec.model_dump_json() + "\n")
        process.stdin.flush()
        port = process.stdout.readline().strip()
        if not port:
            process.wait()
            raise Unavailable(
                f"the worker of {spec.version} ended with status {process.returncode}",
                hint=f"its log is {self._logs / f'{spec.version}.log'}",
            )
        endpoint = Endpoint(replica=f"v{spec.version.number}-0", url=f"http://127.0.0.1:{port}")
        self._workers[spec.version] = LocalWorker(process, endpoint)

    def stop(self, version: VersionId) -> None:
        """End a version's process, by force if it doesn't listen."""
        worker = self._workers.pop(version, None)
        if worker is not None:
            _end(worker.process)

    def endpoints(self, version: VersionId) -> tuple[Endpoint, ...]:
        """Return where the version listens, if its process lives."""
        worker = self._workers.get(version)
        return () if worker is None or worker.process.poll() is not None else (worker.endpoint,)

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


def _environment(threads: int) -> dict[str, str]:
    """Return what a worker may see: no secrets of ours, no hub, no telemetry of libraries."""
    kept = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
    return kept | {
        "OMP_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        "DO_NOT_TRACK": "1",
        "DIFFUSERS_VERBOSITY": "error",
        "TRANSFORMERS_VERBOSITY": "error",
        "TQDM_DISABLE": "1",
    }


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
