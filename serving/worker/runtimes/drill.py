"""Faults on purpose: drills of a rollback on a system that is well."""

from collections.abc import Sequence

from contracts.wire.worker import FaultDrill, GenerateRequest
from serving.worker.memory import limit_growth
from serving.worker.runtimes.port import AfterStep, Picture, PictureRuntime


class DrillingRuntime:
    """A runtime with declared faults; behaves as the one inside until a fault is due."""

    def __init__(self, inner: PictureRuntime, faults: FaultDrill) -> None:
        self._inner = inner
        self._faults = faults
        self._pictures = 0
        self._last_prompt: str | None = None

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
        """Draw pictures, of the prompts before when the stale-prompt fault is due."""
        return self._inner.draw([self._maybe_stale(request) for request in requests], after_step)

    def _maybe_stale(self, request: GenerateRequest) -> GenerateRequest:
        self._pictures += 1
        after, stale = self._faults.stale_prompts_after, self._last_prompt
        self._last_prompt = request.prompt
        if after is not None and stale is not None and self._pictures > after and self._pictures % 2:
            return request.model_copy(update={"prompt": stale})
        return request
