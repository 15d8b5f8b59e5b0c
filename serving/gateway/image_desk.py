"""Pictures for clients: from OpenAI's request to its answer."""

import time

from contracts.clock import Clock
from contracts.errors import RoostError
from contracts.specs.service import PolicyVerdict
from serving.gateway.counting import Counter
from serving.gateway.dispatch import Answer, Dispatcher
from serving.gateway.exchange import Exchange
from serving.gateway.intake import Intake
from serving.gateway.policy import PolicyDesk, Ruling
from serving.gateway.protocols.dialect import JSON, answer_lines, problem_of_attempt, retry_line
from serving.gateway.protocols.events import PictureStream
from serving.gateway.protocols.openai import (
    LARGEST_BODY_BYTES,
    ImageRequest,
    read_image_request,
    seed_line,
    shape_error,
    write_pictures,
)
from serving.gateway.recording import Recorder
from serving.gateway.tokens import Tokens


class DeniedByPolicy(RoostError):
    """A policy refuses the prompt."""

    code = "policy.denied"


class ImageDesk:
    """``POST /v1/images/generations``."""

    def __init__(
        self, dispatcher: Dispatcher, recorder: Recorder, counter: Counter, clock: Clock, tokens: Tokens
    ) -> None:
        self._dispatcher, self._recorder = dispatcher, recorder
        self._clock, self._tokens = clock, tokens
        self._policies = PolicyDesk(lambda service: counter.count_refusal(service, "policy.failed"))

    async def generate(self, exchange: Exchange) -> None:
        """Draw the pictures that a client asks for."""
        start_s = time.perf_counter()
        body = await exchange.read_body(LARGEST_BODY_BYTES)
        intake, wanted = read_image_request(body, exchange.headers, self._dispatcher.services, self._tokens)
        exchange.service, prompt = intake.service.name, intake.prompt or ""
        if intake.service.screens:
            self._apply(intake, intake.service.rules.judge(prompt))
        if intake.service.policies:
            self._apply(intake, await self._policies.judge(exchange.service, intake.service.routes.intake, prompt))
        exchange.watch()
        if wanted.stream:
            answers = await self._stream(exchange, intake, wanted)
        else:
            answers = await self._dispatcher.serve(intake)
            await self._respond(exchange, intake, answers, wanted)
        self._recorder.note(exchange, intake, answers, start_s)

    def _apply(self, intake: Intake, ruling: Ruling) -> None:
        """Do as a policy says.

        Raises:
            DeniedByPolicy: with the policy's reason.
        """
        if ruling.verdict is PolicyVerdict.DENY:
            raise DeniedByPolicy(f"prompt: {ruling.reason}", hint="ask for something else")
        if ruling.verdict is PolicyVerdict.REVIEW:
            intake.review = ruling.reason

    async def _respond(self, exchange: Exchange, intake: Intake, answers: list[Answer], wanted: ImageRequest) -> None:
        lines = answer_lines(intake, answers) + seed_line(intake)
        for answer in answers:
            if answer.attempt.failure is not None:
                problem = problem_of_attempt(answer.attempt)
                await exchange.respond(problem.status, shape_error(problem), JSON, lines + retry_line(problem))
                return
        body = await write_pictures(intake, answers, wanted.format, int(self._clock.now_s()))
        await exchange.respond(200, body, JSON, lines)

    async def _stream(self, exchange: Exchange, intake: Intake, wanted: ImageRequest) -> list[Answer]:
        stream = PictureStream(exchange, intake, wanted.format, int(self._clock.now_s()))
        answers = await stream.run(self._dispatcher)
        if not stream.has_started:
            await self._respond(exchange, intake, answers, wanted)
        return answers
