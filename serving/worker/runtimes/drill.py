"""Faults on purpose: drills of a rollback on a system that is well."""

import resource
from pathlib import Path

from contracts.wire.worker import FaultDrill, GenerateRequest
from serving.worker.runtimes.port import Runtime


class DrillingRuntime:
    """A runtime with declared faults; behaves as the one inside until a fault is due."""

    def __init__(self, inner: Runtime, faults: FaultDrill) -> None:
        self._inner = inner
        self._faults = faults
        self._pictures = 0
        self._last_prompt: str | None = None

    def load(self) -> None:
        """Load the version, then let the operating system hold the process to its memory headroom."""
        self._inner.load()
        headroom_bytes = self._faults.memory_headroom_bytes
        if headroom_bytes is not None:
            # The first picture makes the allocator's pools; without it the headroom would be eaten before the start.
            self._inner.draw(GenerateRequest(prompt="warm-up", seed=0))
            limit_bytes = _data_bytes() + headroom_bytes
            resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))

    def draw(self, request: GenerateRequest) -> bytes:
        """Draw a picture, of the prompt before when the stale-prompt fault is due."""
        self._pictures += 1
        after, stale = self._faults.stale_prompts_after, self._last_prompt
        self._last_prompt = request.prompt
        if after is not None and stale is not None and self._pictures > after and self._pictures % 2:
            request = request.model_copy(update={"prompt": stale})
        return self._inner.draw(request)


def _data_bytes() -> int:
    """Return what RLIMIT_DATA counts now: the process's private writable memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    raise OSError("this system does not tell a process's data size")
