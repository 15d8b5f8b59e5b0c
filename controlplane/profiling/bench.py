"""The bench on this machine: one worker process, started as in service, watched from outside."""

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
from pydantic import ValidationError

from contracts.errors import InvalidInput, RoostError, Unavailable
from contracts.units import format_bytes
from contracts.wire.worker import (
    BatchReply,
    BatchRequest,
    FailureReason,
    GenerateRequest,
    WorkerFailure,
    WorkerHealth,
    WorkerSpec,
    WorkerState,
)
from controlplane.profiling.device import read_energy_j
from registry.profile.grid import Point
from registry.profile.port import Drawing, Loading, Usage, WorkerGone
from serving.process import Child, start_child

LOADING_TIMEOUT_S = 600.0
DRAWING_TIMEOUT_S = 900.0
POLL_S = 0.02
GONE_TIMEOUT_S = 2.0
KILLED = -9
OUT_OF_MEMORY = {FailureReason.OOM, FailureReason.OOM_PREDICTED}
SCHEDULER_CLOCK = 2
"""Linux's name for the CPU clock of a process that counts what the scheduler gave it, in nanoseconds."""


class OutOfMemory(Unavailable):
    """The version can't draw a batch for want of memory; its worker lives on."""


class ProcessBench:
    """Measures one version in worker processes of this machine; ``prompts`` are drawn in turn, by seed."""

    def __init__(self, spec: WorkerSpec, prompts: tuple[str, ...], log: Path) -> None:
        self._spec, self._prompts, self._log = spec, prompts, log
        self._client = httpx.Client(timeout=DRAWING_TIMEOUT_S, trust_env=False)
        self._worker: Child | None = None

    def start(self, *, cold: bool = False, memory_limit_bytes: int | None = None) -> Loading:
        """Start a fresh worker and wait until it is ready.

        Raises:
            InvalidInput: when the loaded version holds more than the limit already.
            Unavailable: when it doesn't get ready, with the place of its log.
        """
        self.stop()
        if cold:
            forget_files(Path(self._spec.directory))
        limits = self._spec.limits.model_copy(update={"memory_limit_bytes": memory_limit_bytes})
        spec = self._spec.model_copy(update={"limits": limits})
        begun_s = time.monotonic()
        self._worker = start_child("serving.worker.main", spec.model_dump_json(), self._log, threads=spec.threads)
        health = self._await_ready(self._worker, begun_s, memory_limit_bytes)
        return Loading(time.monotonic() - begun_s, health.load_s, health.warm_up_s, self._held_bytes(health))

    def draw(self, point: Point, seed: int) -> Drawing:
        """Ask for one batch and tell how long it took.

        Raises:
            WorkerGone: when the process ends, or doesn't answer.
            Unavailable: when the version can't draw, for another reason than memory.
        """
        begun_s = time.perf_counter()
        try:
            self._ask(self._request(point, seed))
        except OutOfMemory:
            return Drawing(time.perf_counter() - begun_s, out_of_memory=True)
        return Drawing(time.perf_counter() - begun_s)

    def reset_peak(self) -> None:
        """Begin peak memory anew: the kernel's for the process, the allocator's for a GPU."""
        worker = self._running()
        try:
            self._client.post(f"{_url(worker)}/peak/reset").raise_for_status()
        except httpx.HTTPError as error:
            raise self._gone(worker, error) from None

    def usage(self) -> Usage:
        """Return what the worker has used, as the operating system and the device tell."""
        worker = self._running()
        pid = worker.process.pid
        host_bytes = _status_bytes(pid, "VmHWM")
        peak_bytes = host_bytes if self._spec.device == "cpu" else self._health(worker).peak_memory_bytes
        return Usage(peak_bytes, host_bytes, _cpu_s(pid), read_energy_j(self._spec.device))

    def stop(self) -> None:
        """End the worker."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.end()

    def paint(self, requests: Sequence[GenerateRequest]) -> tuple[bytes, ...]:
        """Draw one batch and return its pictures.

        Raises:
            WorkerGone: when the process ends, or doesn't answer.
            Unavailable: when the version can't draw.
        """
        return self._ask(BatchRequest(requests=tuple(requests))).pictures

    def close(self) -> None:
        """End the worker and let go of connections."""
        self.stop()
        self._client.close()

    def _ask(self, request: BatchRequest) -> BatchReply:
        worker = self._running()
        try:
            answer = self._client.post(f"{_url(worker)}/batch", content=request.model_dump_json(exclude_none=True))
        except httpx.HTTPError as error:
            raise self._gone(worker, error) from None
        if answer.status_code == 200:
            return BatchReply.model_validate_json(answer.content)
        try:
            failure = WorkerFailure.model_validate_json(answer.content)
        except ValidationError:
            failure = WorkerFailure(reason=FailureReason.ERROR, message=f"status {answer.status_code}")
        kind = OutOfMemory if failure.reason in OUT_OF_MEMORY else Unavailable
        raise kind(f"{self._spec.version} can't draw: {failure.message}", hint=f"read {self._log}")

    def _request(self, point: Point, seed: int) -> BatchRequest:
        first = seed % len(self._prompts)
        asked = (
            GenerateRequest(
                prompt=self._prompts[(first + k) % len(self._prompts)],
                seed=seed + k,
                steps=point.steps,
                height=point.height,
                width=point.width,
            )
            for k in range(point.batch)
        )
        return BatchRequest(requests=tuple(asked))

    def _await_ready(self, worker: Child, begun_s: float, limit_bytes: int | None) -> WorkerHealth:
        while time.monotonic() - begun_s < LOADING_TIMEOUT_S:
            try:
                health = self._health(worker)
            except httpx.HTTPError as error:
                raise self._unready(limit_bytes, self._gone(worker, error).message) from None
            if health.state is WorkerState.READY:
                return health
            if health.state is WorkerState.FAILED:
                self.stop()
                raise self._unready(limit_bytes, health.message)
            time.sleep(POLL_S)
        self.stop()
        raise self._unready(None, f"it is not ready after {LOADING_TIMEOUT_S:.0f} s")

    def _unready(self, limit_bytes: int | None, why: str) -> RoostError:
        """Return why a version can't be loaded; under a limit, however it ended, the limit is what to change."""
        if limit_bytes is None:
            return Unavailable(f"{self._spec.version} can't be loaded: {why}", hint=f"read {self._log}")
        return InvalidInput(
            f"memory-limit: {self._spec.version} can't be loaded within {format_bytes(limit_bytes)}: {why}",
            hint="give a larger limit",
        )

    def _health(self, worker: Child) -> WorkerHealth:
        return WorkerHealth.model_validate_json(self._client.get(f"{_url(worker)}/health").content)

    def _held_bytes(self, health: WorkerHealth) -> int:
        if self._spec.device == "cpu":
            return _status_bytes(self._running().process.pid, "VmRSS")
        return health.memory_bytes

    def _running(self) -> Child:
        if self._worker is None:
            raise RoostError("no worker was started")
        return self._worker

    def _gone(self, worker: Child, error: Exception) -> WorkerGone:
        """Return what became of a worker that did not answer; one that hangs is ended."""
        try:
            status: int | None = worker.process.wait(timeout=GONE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            status = None
        self.stop()
        ended = f"ended with status {status}" if status is not None else "did not answer"
        return WorkerGone(
            f"the worker of {self._spec.version} {ended} while it was measured: {error}",
            hint=f"read {self._log}",
            killed=status == KILLED,
        )


def forget_files(directory: Path) -> None:
    """Ask the kernel to drop a directory's files from its page cache, so that they are read from disk again."""
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _url(worker: Child) -> str:
    return f"http://127.0.0.1:{worker.port}"


def _status_bytes(pid: int, name: str) -> int:
    """Return a size from the kernel's status of a process; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)


def _cpu_s(pid: int) -> float:
    """Return the CPU time of all threads of a process, as its CPU clock tells (clock_getcpuclockid of POSIX)."""
    try:
        return time.clock_gettime((~pid << 3) | SCHEDULER_CLOCK)
    except OSError:
        return 0.0
