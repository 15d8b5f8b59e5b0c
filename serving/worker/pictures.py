"""The worker's picture desk: requests become jobs, jobs become answers, and who leaves is not drawn for."""

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from contracts.wire.worker import (
    BatchReply,
    BatchRequest,
    FailureReason,
    GenerateRequest,
    PictureEvent,
    WorkerFailure,
    WorkerSpec,
)
from serving.worker.answers import read_document
from serving.worker.batching import Batcher, Job
from serving.worker.runtimes.port import DrawFailure

TIME_LEFT_HEADER = "x-roost-time-left-s"
NDJSON = "application/x-ndjson"
LONGEST_TIME_LEFT_S = 86_400.0


class PictureDesk:
    """Answers the picture routes of one worker; ``pictures`` counts those handed out since it was ready."""

    def __init__(self, batcher: Batcher, spec: WorkerSpec, encoder: Executor) -> None:
        self._batcher, self._defaults, self._max_queue = batcher, spec.defaults, spec.limits.max_queue
        self._encoder = encoder
        self.pictures = 0
        self.in_flight = 0

    async def generate(self, request: Request) -> Response:
        """Draw one picture: PNG, or a stream of events where partial images were asked for."""
        wanted = await read_document(request, GenerateRequest)
        self._refuse_if_full(1)
        time_left_s = _time_left_s(request, wanted)
        if wanted.partial_images is not None:
            stream = self._stream(wanted, time_left_s)
            return StreamingResponse(stream, media_type=NDJSON)
        job = Job(wanted, self._defaults)
        picture = (await self._draw(request, [job], time_left_s))[0]
        return Response(picture, media_type="image/png")

    async def batch(self, request: Request) -> Response:
        """Draw the pictures asked for in one batch, however large; all or nothing."""
        wanted = await read_document(request, BatchRequest)
        self._refuse_if_full(len(wanted.requests))
        jobs = [Job(each, self._defaults, joinable=False) for each in wanted.requests]
        if len({job.shape for job in jobs}) > 1:
            raise DrawFailure(FailureReason.REFUSED, "requests: a batch has one number of steps, guidance and size")
        begun_s = time.perf_counter()
        time_left_s = min(_time_left_s(request, each) for each in wanted.requests)
        pictures = await self._draw(request, jobs, time_left_s)
        reply = BatchReply(pictures=tuple(pictures), latency_s=time.perf_counter() - begun_s)
        return Response(reply.model_dump_json(), media_type="application/json")

    async def _draw(self, request: Request, jobs: list[Job], time_left_s: float) -> list[bytes]:
        """Wait for jobs as long as somebody listens and time is left; what is still to do then is given up."""
        self.in_flight += len(jobs)
        left = asyncio.ensure_future(_await_departure(request))
        drawn = asyncio.ensure_future(self._await_pictures(jobs))
        try:
            self._batcher.submit(jobs)
            await asyncio.wait([left, drawn], timeout=time_left_s, return_when=asyncio.FIRST_COMPLETED)
            if drawn.done():
                pictures = drawn.result()
                self.pictures += len(jobs)
                return pictures
            if left.done():
                raise DrawFailure(FailureReason.ABANDONED, "the client went away")
            raise DrawFailure(FailureReason.TIMEOUT, f"not drawn within {time_left_s:.3g} s")
        finally:
            self.in_flight -= len(jobs)
            for job in jobs:
                job.abandon()
            await _settle(left, drawn)

    async def _stream(self, wanted: GenerateRequest, time_left_s: float) -> AsyncIterator[str]:
        """Yield the events of one picture, a JSON document per line; ends early when the client goes away."""
        events: asyncio.Queue[PictureEvent] = asyncio.Queue()
        job = Job(wanted, self._defaults, events.put_nowait)
        ending = asyncio.ensure_future(self._last_event(job, time_left_s))
        ending.add_done_callback(partial(_put_last, events))
        self.in_flight += 1
        try:
            self._batcher.submit([job])
            while True:
                event = await events.get()
                yield event.model_dump_json(exclude_none=True) + "\n"
                if event.kind in {"picture", "failure"}:
                    self.pictures += event.kind == "picture"
                    return
        finally:
            self.in_flight -= 1
            job.abandon()
            ending.cancel()

    async def _last_event(self, job: Job, time_left_s: float) -> PictureEvent:
        steps = job.shape[0]
        try:
            async with asyncio.timeout(time_left_s):
                picture = await job.result
        except TimeoutError:
            message = f"not drawn within {time_left_s:.3g} s"
            failure = WorkerFailure(reason=FailureReason.TIMEOUT, message=message)
        except DrawFailure as error:
            failure = WorkerFailure(reason=error.reason, message=error.message[:500])
        else:
            png = await asyncio.get_running_loop().run_in_executor(self._encoder, picture)
            return PictureEvent(kind="picture", step=steps, steps=steps, image_png=png)
        return PictureEvent(kind="failure", steps=steps, failure=failure)

    async def _await_pictures(self, jobs: list[Job]) -> list[bytes]:
        loop = asyncio.get_running_loop()
        drawn = await asyncio.gather(*(job.result for job in jobs))
        return [await loop.run_in_executor(self._encoder, picture) for picture in drawn]

    def _refuse_if_full(self, coming: int) -> None:
        if self.in_flight and self.in_flight + coming > self._max_queue:
            raise DrawFailure(FailureReason.OVERLOAD, f"{self.in_flight} pictures are waiting")


def _time_left_s(request: Request, wanted: GenerateRequest) -> float:
    """Return how long the caller waits: the header goes before the body, which a gateway may not want to write anew."""
    told = request.headers.get(TIME_LEFT_HEADER)
    try:
        header_s = float(told) if told is not None else LONGEST_TIME_LEFT_S
    except ValueError:
        header_s = -1.0
    if not 0 < header_s <= LONGEST_TIME_LEFT_S:
        raise DrawFailure(FailureReason.REFUSED, f"{TIME_LEFT_HEADER}: {told!r} is not a time in seconds")
    return min(header_s, wanted.time_left_s or LONGEST_TIME_LEFT_S)


async def _await_departure(request: Request) -> None:
    """Return when the client closes its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        continue


def _put_last(events: asyncio.Queue[PictureEvent], ending: asyncio.Task[PictureEvent]) -> None:
    if not ending.cancelled():
        events.put_nowait(ending.result())


async def _settle(*tasks: asyncio.Task[Any]) -> None:
    """Cancel what is still awaited, and look at what became of the rest, so that nothing is reported as forgotten."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
