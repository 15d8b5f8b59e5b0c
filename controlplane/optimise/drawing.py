"""Golden pictures from a fresh worker process: the way on which the version will serve."""

import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from contracts.errors import InvalidInput, Unavailable
from contracts.manifest import make_manifest
from contracts.wire.worker import GenerateRequest, WorkerHealth, WorkerSpec, WorkerState
from registry.golden import GoldenSet
from serving.process import Child, start_child

LOADING_TIMEOUT_S = 600.0
DRAWING_TIMEOUT_S = 900.0
POLL_S = 0.05


@dataclass(frozen=True)
class Drawn:
    """Golden pictures (PNG) in order, and the most memory that the worker held."""

    pictures: tuple[bytes, ...]
    peak_memory_bytes: int


def draw_golden(spec: WorkerSpec, golden: GoldenSet, *, log: Path) -> Drawn:
    """Start a worker, draw the golden prompts one by one, and end it.

    Raises:
        InvalidInput: when the version can't be loaded (weights are missing, ...) or can't draw, in the worker's words.
        Unavailable: when the worker dies.
    """
    worker = start_child("serving.worker.main", spec.model_dump_json(), log, threads=spec.threads)
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{worker.port}", timeout=DRAWING_TIMEOUT_S, trust_env=False
        ) as client:
            _await_ready(client, worker)
            asked = (GenerateRequest(prompt=p, seed=s) for p, s in zip(golden.prompts, golden.seeds, strict=True))
            pictures = tuple(_draw(client, request) for request in asked)
            return Drawn(pictures, _peak_bytes(client, worker, spec.device))
    except httpx.HTTPError as error:
        raise Unavailable(f"the worker with the golden prompts ended: {error}", hint=f"read {log}") from None
    finally:
        worker.end()


def worker_spec_for(like: WorkerSpec, directory: Path, update: dict[str, object]) -> WorkerSpec:
    """Return how to start a worker on a directory that is not registered yet, else as another version's."""
    digest = make_manifest(directory).digest
    return like.model_copy(update={"directory": str(directory), "digest": digest, **update})


def _await_ready(client: httpx.Client, worker: Child) -> None:
    begun_s = time.monotonic()
    while time.monotonic() - begun_s < LOADING_TIMEOUT_S:
        health = WorkerHealth.model_validate_json(client.get("/health").content)
        if health.state is WorkerState.READY:
            return
        if health.state is WorkerState.FAILED:
            raise InvalidInput(f"golden prompts: a fresh worker can't load the version: {health.message}")
        time.sleep(POLL_S)
    raise Unavailable(
        f"a fresh worker was not ready after {LOADING_TIMEOUT_S:.0f} s", hint="is the machine overloaded?"
    )


def _draw(client: httpx.Client, request: GenerateRequest) -> bytes:
    answer = client.post("/generate", content=request.model_dump_json(exclude_none=True))
    if answer.status_code != 200:
        raise InvalidInput(f"golden prompts: the version can't draw {request.prompt!r}: {answer.text[:300]}")
    return answer.content


def _peak_bytes(client: httpx.Client, worker: Child, device: str) -> int:
    """On a CPU the operating system tells the peak; on a GPU the allocator, through the worker."""
    if device != "cpu":
        return WorkerHealth.model_validate_json(client.get("/health").content).peak_memory_bytes
    lines = Path(f"/proc/{worker.process.pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)
