"""Painters: versions of the catalogue, each drawing in a worker process of its own."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
from pydantic import ValidationError

from contracts.errors import Unavailable
from contracts.ids import VersionId
from contracts.wire.worker import GenerateRequest, WorkerFailure, WorkerHealth, WorkerSpec, WorkerState
from controlplane.loop.effects import worker_spec
from evaluation.prompts.prompt_set import Prompt
from evaluation.side_by_side.ports import Drawing
from registry.catalogue import Catalogue
from serving.process import Child, start_child

LOADING_TIMEOUT_S = 600.0
DRAW_TIMEOUT_S = 300.0
POLL_S = 0.1


class WorkerPainter:
    """Draws with the worker of one version: a plain process beside the fleet, which no traffic reaches."""

    def __init__(self, spec: WorkerSpec, worker: Child, *, timeout_s: float = DRAW_TIMEOUT_S) -> None:
        self._spec, self._worker = spec, worker
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{worker.port}", timeout=timeout_s, trust_env=False)

    @property
    def version(self) -> str:
        """The version."""
        return str(self._spec.version)

    @property
    def digest(self) -> str:
        """The digest that its bytes were compared with before they were loaded."""
        return self._spec.digest

    def await_ready(self, timeout_s: float = LOADING_TIMEOUT_S) -> None:
        """Wait until the worker has loaded its version and drawn its first picture, which counts for nothing.

        Raises:
            Unavailable: when it can't load, or takes too long.
        """
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            health = self._health()
            if health is not None and health.state is WorkerState.READY:
                with suppress(httpx.HTTPError):
                    self._client.post("/peak/reset")
                return
            if health is not None and health.state is WorkerState.FAILED:
                raise Unavailable(f"the worker of {self.version} can't load it: {health.message}")
            if not self._worker.is_alive:
                raise Unavailable(f"the worker of {self.version} ended while it was loading", hint="read its log")
            time.sleep(POLL_S)
        raise Unavailable(f"{self.version} did not load within {timeout_s:g} s", hint="is the machine busy?")

    def draw(self, prompt: Prompt) -> Drawing:
        """Draw a prompt by the version's own defaults; seed and size are the prompt's."""
        request = GenerateRequest(prompt=prompt.text, seed=prompt.seed, height=prompt.height, width=prompt.width)
        if not self._worker.is_alive:
            return Drawing(None, 0.0, "gone: the worker's process has ended")
        begun_s = time.monotonic()
        try:
            answer = self._client.post("/generate", content=request.model_dump_json(exclude_none=True))
        except httpx.HTTPError as error:
            return Drawing(None, time.monotonic() - begun_s, f"no answer: {type(error).__name__}")
        latency_s = time.monotonic() - begun_s
        if answer.status_code == httpx.codes.OK:
            return Drawing(answer.content, latency_s)
        return Drawing(None, latency_s, _read_failure(answer))

    def peak_memory_bytes(self) -> int | None:
        """Return the most memory that the worker held while it drew; None when it doesn't tell."""
        health = self._health()
        return (health.peak_memory_bytes or None) if health is not None else None

    def close(self) -> None:
        """End the worker."""
        self._client.close()
        self._worker.end()

    def _health(self) -> WorkerHealth | None:
        try:
            return WorkerHealth.model_validate_json(self._client.get("/health").content)
        except (httpx.HTTPError, ValidationError):
            return None


@contextmanager
def painters(
    catalogue: Catalogue, one: VersionId, other: VersionId, *, logs: Path
) -> Iterator[tuple[WorkerPainter, WorkerPainter]]:
    """Start a worker for each of two versions (they may be the same), and end both with the block.

    Raises:
        IntegrityError, NotPermitted: when a version's bytes are not what was registered, or may not be loaded.
        Unavailable: when a worker can't load its version.
    """
    with ExitStack() as stack:
        made = [
            _start(stack, catalogue, version, logs / f"{side}-{version}.log")
            for side, version in (("one", one), ("other", other))
        ]
        for painter in made:
            painter.await_ready()
        yield made[0], made[1]


@contextmanager
def lone_painter(catalogue: Catalogue, version: VersionId, *, logs: Path) -> Iterator[WorkerPainter]:
    """Start a worker for one version, and end it with the block; raises as `painters`."""
    with ExitStack() as stack:
        painter = _start(stack, catalogue, version, logs / f"{version}.log")
        painter.await_ready()
        yield painter


def _start(stack: ExitStack, catalogue: Catalogue, version: VersionId, log: Path) -> WorkerPainter:
    spec = worker_spec(catalogue, version)
    child = start_child("serving.worker.main", spec.model_dump_json(), log, threads=spec.threads)
    painter = WorkerPainter(spec, child)
    stack.callback(painter.close)
    return painter


def _read_failure(answer: httpx.Response) -> str:
    try:
        failure = WorkerFailure.model_validate_json(answer.content)
    except ValidationError:
        return f"status {answer.status_code}"
    return f"{failure.reason.value}: {failure.message}"
