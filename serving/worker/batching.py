"""Dynamic batching: requests that can be drawn together are, when they meet within a bounded wait."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from contracts.wire.capacity import WorkerLimits
from contracts.wire.worker import FailureReason, GenerateRequest, GenerationDefaults, PictureEvent
from serving.worker.guard import MemoryGuard
from serving.worker.runtimes.port import DrawFailure, Picture, PictureRuntime, Preview, Stopped

Shape = tuple[int, float, int, int]
"""What the members of a batch must have in common: steps, guidance, height, width."""


class Job:
    """One picture that somebody waits for. Made, awaited and abandoned on the event loop, drawn in another thread."""

    def __init__(
        self,
        request: GenerateRequest,
        defaults: GenerationDefaults,
        on_event: Callable[[PictureEvent], None] | None = None,
        *,
        joinable: bool = True,
    ) -> None:
        self.request = request
        self.joinable = joinable
        self.shape: Shape = (
            request.steps or defaults.num_inference_steps,
            defaults.guidance_scale if request.guidance is None else request.guidance,
            request.height or defaults.height,
            request.width or defaults.width,
        )
        self._loop = asyncio.get_running_loop()
        self.result: asyncio.Future[Picture] = self._loop.create_future()
        self.abandoned = False
        self._on_event = on_event
        steps, shown = self.shape[0], request.partial_images or 0
        self._shown_at = {round(k * steps / (shown + 1)) for k in range(1, shown + 1)} - {0, steps}

    @property
    def is_over(self) -> bool:
        """Tell whether nobody waits for it, or it is answered."""
        return self.abandoned or self.result.done()

    def abandon(self) -> None:
        """Nobody waits any more: it is not begun, and not drawn to its end unless others in its batch are."""
        self.abandoned = True
        self.result.cancel()

    def finish(self, picture: Picture) -> None:
        """Hand over the picture, from whatever thread."""
        self._loop.call_soon_threadsafe(self._settle, picture)

    def fail(self, failure: DrawFailure) -> None:
        """Hand over the failure, from whatever thread."""
        self._loop.call_soon_threadsafe(self._settle, failure)

    def _settle(self, outcome: Picture | DrawFailure) -> None:
        if self.result.done():
            return
        if isinstance(outcome, DrawFailure):
            self.result.set_exception(outcome)
        else:
            self.result.set_result(outcome)

    def tell_step(self, step: int, steps: int, preview: Callable[[], bytes | None]) -> None:
        """Tell whoever follows that a step is done, with the picture so far where one is due."""
        if self._on_event is None or self.is_over:
            return
        self._send(PictureEvent(kind="progress", step=step, steps=steps))
        png = preview() if step in self._shown_at else None
        if png is not None:
            self._send(PictureEvent(kind="partial", step=step, steps=steps, image_png=png))

    def _send(self, event: PictureEvent) -> None:
        if self._on_event is not None:
            self._loop.call_soon_threadsafe(self._on_event, event)


class Batcher:
    """Draws jobs in one thread: those of one shape that wait together in one batch, the others in their order."""

    def __init__(self, runtime: PictureRuntime, guard: MemoryGuard, limits: WorkerLimits) -> None:
        self._runtime, self._guard, self._limits = runtime, guard, limits
        self._waiting: deque[tuple[float, list[Job]]] = deque()
        self._came = asyncio.Event()

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue jobs of one shape, to be drawn together; joinable ones may be drawn with others that fit."""
        self._waiting.append((time.monotonic(), list(jobs)))
        self._came.set()

    async def run(self, thread: ThreadPoolExecutor) -> None:
        """Draw whatever comes, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            jobs = await self._next_batch()
            if jobs:
                await loop.run_in_executor(thread, self._draw, jobs)

    async def _next_batch(self) -> list[Job]:
        """Take the oldest jobs, and those that can be drawn with them once enough have come or the wait is over."""
        while not self._waiting:
            self._came.clear()
            await self._came.wait()
        since_s, jobs = self._waiting.popleft()
        if not jobs[0].joinable or self._limits.max_batch_size == 1:
            return [job for job in jobs if not job.is_over]
        while True:
            jobs = [job for job in jobs if not job.is_over]
            if not jobs:
                return []
            self._join(jobs)
            left_s = since_s + self._limits.batch_window_s - time.monotonic()
            if len(jobs) >= self._most(jobs[0].shape) or left_s <= 0:
                return jobs
            self._came.clear()
            try:
                await asyncio.wait_for(self._came.wait(), left_s)
            except TimeoutError:
                continue

    def _join(self, jobs: list[Job]) -> None:
        """Move the waiting jobs of the same shape into a batch, oldest first, until it is full."""
        shape, most = jobs[0].shape, self._most(jobs[0].shape)
        for entry in list(self._waiting):
            others = [job for job in entry[1] if not job.is_over]
            fits = all(job.joinable and job.shape == shape for job in others) and len(jobs) + len(others) <= most
            if fits:
                jobs += others
                self._waiting.remove(entry)

    def _most(self, shape: Shape) -> int:
        predicted = self._guard.largest_batch(shape[2] * shape[3])
        most = self._limits.max_batch_size
        return most if predicted is None else max(1, min(most, predicted))

    def _draw(self, jobs: list[Job]) -> None:
        """Draw jobs in as few batches as memory is predicted to allow."""
        pixels = jobs[0].shape[2] * jobs[0].shape[3]
        room = self._guard.largest_batch(pixels)
        if room == 0:
            message = f"a picture of {jobs[0].shape[3]}x{jobs[0].shape[2]} is predicted not to fit the memory limit"
            for job in jobs:
                job.fail(DrawFailure(FailureReason.OOM_PREDICTED, message))
            return
        for batch in _chunks(jobs, room or len(jobs)):
            self._draw_batch(batch)

    def _draw_batch(self, jobs: list[Job]) -> None:
        """Draw one batch. When it fails its members are drawn alone, so that none fails for another.

        What one client asked for as a batch fails as one: it wants to know how a batch of that size fares.
        """
        jobs = [job for job in jobs if not job.is_over]
        if not jobs:
            return
        try:
            pictures = self._runtime.draw([job.request for job in jobs], partial(_after_step, jobs))
        except Stopped:
            return
        except Exception as error:  # noqa: BLE001 - a model's fault is an answer that is counted
            failure = error if isinstance(error, DrawFailure) else _as_failure(error)
        else:
            for job, picture in zip(jobs, pictures, strict=True):
                job.finish(picture)
            return
        if len(jobs) > 1 and jobs[0].joinable:
            for job in jobs:
                self._draw_batch([job])
        else:
            for job in jobs:
                job.fail(failure)


def _after_step(jobs: list[Job], step: int, steps: int, preview: Preview) -> None:
    """Stop when nobody waits for any of the batch; tell whoever follows a member how far it is."""
    if all(job.is_over for job in jobs):
        raise Stopped
    for member, job in enumerate(jobs):
        job.tell_step(step, steps, partial(preview, member))


def _as_failure(error: Exception) -> DrawFailure:
    return DrawFailure(FailureReason.ERROR, f"{type(error).__name__}: {error}")


def _chunks(jobs: list[Job], size: int) -> Iterator[list[Job]]:
    for start in range(0, len(jobs), size):
        yield jobs[start : start + size]
