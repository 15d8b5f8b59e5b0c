"""Pictures for clients: from OpenAI's request to its answer."""

import time

from contracts.clock import Clock
from contracts.errors import RoostError
from contracts.specs.service import PolicyVerdict
from serving.gateway.counting import Counter
from serving.gateway.dispatch import Answer, Dispatcher, Trying
from serving.gateway.exchange import Exchange
from serving.gateway.express import begin_ride, failing
from serving.gateway.intake import Intake
from serving.gateway.policy import PolicyDesk, Ruling
from serving.gateway.protocols.dialect import JSON, answer_lines, problem_of_attempt, retry_line
from serving.gateway.protocols.events import PictureStream
from serving.gateway.protocols.openai import (
    LARGEST_BODY_BYTES,
    PLAIN,
    ImageRequest,
    read_image_request,
    seed_line,
    shape_error,
    write_pictures,
    write_plain_picture,
)
from serving.gateway.recording import Recorder
from serving.gateway.tokens import Tokens
from serving.gateway.whole import WholeExchange


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
        intake, wanted = self._read(exchange, await exchange.read_body(LARGEST_BODY_BYTES))
        await self._generate(exchange, intake, wanted, start_s)

    def begin(self, exchange: WholeExchange) -> None:
        """Draw the pictures that a client asks for, without a task unless something about it is unusual."""
        start_s = time.perf_counter()
        try:
            intake, wanted = self._read(exchange, exchange.take_body(LARGEST_BODY_BYTES))
            if wanted is not PLAIN or not begin_ride(self, self._dispatcher, exchange, intake, start_s):
                exchange.connection.run(exchange, lambda _: self._generate(exchange, intake, wanted, start_s))
        except Exception as error:  # noqa: BLE001 - whatever it is, the front door answers it
            exchange.connection.run(exchange, failing(error))

    def finish(self, exchange: WholeExchange, intake: Intake, answers: list[Answer], start_s: float) -> None:
        """Answer a ride that arrived with a good picture."""
        body = write_plain_picture(intake, answers[0], int(self._clock.now_s()))
        if body is None:
            exchange.connection.run(exchange, lambda _: self._finish(exchange, intake, answers, PLAIN, start_s))
            return
        exchange.answer(200, body, JSON, answer_lines(intake, answers) + seed_line(intake))
        self._recorder.note(exchange, intake, answers, start_s)
        exchange.connection.end_exchange(exchange)

    async def go_on(self, exchange: Exchange, intake: Intake, first: Trying, start_s: float) -> None:
        """Serve what is left of a ride that ends otherwise."""
        await self._finish(exchange, intake, await self._dispatcher.serve(intake, first=first), PLAIN, start_s)

    def _read(self, exchange: Exchange, body: bytes) -> tuple[Intake, ImageRequest]:
        intake, wanted = read_image_request(body, exchange.headers, self._dispatcher.services, self._tokens)
        exchange.service = intake.service.name
        if intake.service.screens:
            self._apply(intake, intake.service.rules.judge(intake.prompt or ""))
        return intake, wanted

    async def _generate(self, exchange: Exchange, intake: Intake, wanted: ImageRequest, start_s: float) -> None:
        service = intake.service
        if service.policies:
            self._apply(intake, await self._policies.judge(service.name, service.routes.intake, intake.prompt or ""))
        exchange.watch()
        if wanted.stream:
            answers = await self._stream(exchange, intake, wanted)
            self._recorder.note(exchange, intake, answers, start_s)
        else:
            await self._finish(exchange, intake, await self._dispatcher.serve(intake), wanted, start_s)

    async def _finish(
        self, exchange: Exchange, intake: Intake, answers: list[Answer], wanted: ImageRequest, start_s: float
    ) -> None:
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
