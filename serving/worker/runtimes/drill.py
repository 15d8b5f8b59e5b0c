"""Faults on purpose: drills of a rollback on a system that is well."""

from collections.abc import Sequence

from contracts.wire.worker import FailureReason, FaultDrill, GenerateRequest
from serving.worker.memory import limit_growth
from serving.worker.runtimes.port import AfterStep, DrawFailure, Picture, PictureRuntime


class DrillingRuntime:
    """A runtime with declared faults; behaves as the one inside until a fault is due."""

    def __init__(self, inner: PictureRuntime, faults: FaultDrill) -> None:
        self._inner = inner
        self._faults = faults
        self._pictures = 0
        self._last_prompt: str | None = None
        self._leaked: list[bytes] = []

    def load(self) -> None:
        """Load the version."""
        self._inner.load()

    def warm_up(self) -> None:
        """Warm up, then let the operating system hold the process to its memory headroom.

        The first picture makes the allocator's pools; before it the headroom would be eaten at the start.
        """
        self._inner.warm_up()
        headroom_bytes = self._faults.memory_headroom_bytes
        if headroom_bytes is not None:
            limit_growth(headroom_bytes, final=True)

    def draw(self, requests: Sequence[GenerateRequest], after_step: AfterStep) -> list[Picture]:
        """Draw pictures, of the prompts before when the stale-prompt fault is due.

        Raises:
            DrawFailure: when the leak has eaten the memory headroom.
        """
        leaked_bytes = self._faults.leaked_bytes
        if leaked_bytes is not None:
            self._leak(len(requests) * leaked_bytes)
        return self._inner.draw([self._maybe_stale(request) for request in requests], after_step)

    def _leak(self, size_bytes: int) -> None:
        """Keep memory for ever; the operating system refuses more once the headroom is used up."""
        try:
            self._leaked.append(bytes(size_bytes))
        except MemoryError:
            raise DrawFailure(FailureReason.OOM, "out of memory: earlier pictures have left no room") from None

    def _maybe_stale(self, request: GenerateRequest) -> GenerateRequest:
        self._pictures += 1
        after, stale = self._faults.stale_prompts_after, self._last_prompt
        self._last_prompt = request.prompt
        if after is not None and stale is not None and self._pictures > after and self._pictures % 2:
            return request.model_copy(update={"prompt": stale})
        return request
