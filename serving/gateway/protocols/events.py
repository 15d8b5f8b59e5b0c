"""Streamed pictures: OpenAI's server-sent events, one for each picture on the way and one for the last."""

import asyncio
from typing import Any

import orjson

from contracts.wire.worker import PictureEvent
from serving.gateway.dispatch import Answer, Dispatcher
from serving.gateway.exchange import Exchange
from serving.gateway.intake import Intake
from serving.gateway.pictures import PictureFormat, finish_picture
from serving.gateway.protocols.dialect import Problem, answer_lines, problem_of_attempt
from serving.gateway.protocols.openai import facts_of, seed_line, shape_error
from serving.gateway.provenance import Facts
from serving.gateway.work import PictureWork

EVENT_STREAM = b"text/event-stream; charset=utf-8"
NO_TOKENS = {
    "input_tokens": 0,
    "output_tokens": 0,
    "total_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
}


class PictureStream:
    """Writes one streamed answer. Nothing is sent before the first picture, so that early failures keep a status."""

    def __init__(self, exchange: Exchange, intake: Intake, wanted: PictureFormat, now_s: int) -> None:
        self._exchange, self._intake, self._wanted, self._now_s = exchange, intake, wanted, now_s
        self._partial = 0
        self._started = False

    @property
    def has_started(self) -> bool:
        """Tell whether anything was sent."""
        return self._started

    async def run(self, dispatcher: Dispatcher) -> list[Answer]:
        """Serve the request, stream what comes, and return its answers; nothing is sent of a failure without pictures.

        Raises:
            CancelledError: when the client has gone.
        """
        events: asyncio.Queue[PictureEvent | None] = asyncio.Queue()
        serving = asyncio.create_task(dispatcher.serve(self._intake, events.put_nowait))
        serving.add_done_callback(lambda _: events.put_nowait(None))
        try:
            while (event := await events.get()) is not None:
                if event.kind == "partial" and event.image_png is not None:
                    await self._send_partial(event.image_png)
            answers = serving.result()
        finally:
            serving.cancel()
        await self._finish(answers)
        return answers

    async def _send_partial(self, png: bytes) -> None:
        facts: Facts = {"service": self._intake.service.name, "request_id": self._intake.request_id, "partial": "true"}
        picture = await finish_picture(png, facts, self._wanted)
        if not self._started:
            await self._start(
                seed_line(self._intake) + b"x-roost-request-id: %s\r\n" % self._intake.request_id.encode()
            )
        shape = self._shape("image_generation.partial_image", picture) | {"partial_image_index": self._partial}
        self._partial += 1
        await self._send(shape)

    async def _finish(self, answers: list[Answer]) -> None:
        answer = answers[0]
        if answer.attempt.failure is not None:
            if self._started:
                await self._exchange.send_chunk(_error_event(problem_of_attempt(answer.attempt)), last=True)
            return
        facts = facts_of(self._intake, answer, 0, self._now_s)
        picture = await finish_picture(answer.attempt.body, facts, self._wanted)
        if not self._started:
            await self._start(answer_lines(self._intake, answers) + seed_line(self._intake))
        shape = self._shape("image_generation.completed", picture) | {"usage": NO_TOKENS, "roost": facts}
        await self._send(shape, last=True)

    async def _start(self, lines: bytes) -> None:
        await self._exchange.start_stream(EVENT_STREAM, lines)
        self._started = True

    def _shape(self, kind: str, picture: bytes) -> dict[str, Any]:
        work = self._intake.works[0]
        sized = isinstance(work, PictureWork) and work.width is not None
        return {
            "type": kind,
            "b64_json": picture.decode(),
            "created_at": self._now_s,
            "size": f"{work.width}x{work.height}" if isinstance(work, PictureWork) and sized else "auto",
            "quality": "auto",
            "background": "auto",
            "output_format": self._wanted.kind,
        }

    async def _send(self, shape: dict[str, Any], *, last: bool = False) -> None:
        event = b"event: %s\ndata: %s\n\n" % (shape["type"].encode(), orjson.dumps(shape))
        await self._exchange.send_chunk(event, last=last)


def _error_event(problem: Problem) -> bytes:
    return b"event: error\ndata: %s\n\n" % shape_error(problem)
