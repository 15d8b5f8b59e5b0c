"""The gateway's HTTP face: pictures for clients; routing and telemetry for the control plane."""

import asyncio
import base64
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import orjson
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contracts.clock import Clock
from contracts.errors import RoostError
from contracts.rng import Rng
from contracts.wire.routing import RoutingTable
from contracts.wire.worker import FailureReason, GatewaySpec
from serving.gateway.counting import Counter
from serving.gateway.dispatch import Answer, Dispatcher
from serving.gateway.intake import read_image_request
from serving.gateway.provenance import mark_png
from serving.gateway.replicas import Replicas
from serving.gateway.table import RoutingState

LARGEST_BODY_BYTES = 1 << 20
LARGEST_TABLE_BYTES = 16 << 20
ERROR_STATUS = {"input.invalid": 400, "not-found": 404, "not-permitted": 403, "conflict": 409}
FAILURE_STATUS = {FailureReason.OVERLOAD: 503, FailureReason.TIMEOUT: 504, FailureReason.REFUSED: 400}


class Gateway:
    """One gateway: stateless but for the last routing table, which it keeps on disk."""

    def __init__(self, spec: GatewaySpec, clock: Clock, rng: Rng) -> None:
        self._spec, self._clock, self._rng = spec, clock, rng
        self._table = RoutingState(Path(spec.state_directory) / "routing.json")
        self._counter = Counter(spec.name, "b-" + rng.token(6), clock)
        self._dispatcher: Dispatcher | None = None

    def app(self) -> Starlette:
        """Return the ASGI application."""
        return Starlette(
            routes=[
                Route("/v1/images/generations", self.generate_image, methods=["POST"]),
                Route("/v1/models", self.list_models),
                Route("/health", self.health),
                Route("/-/routing", self.take_table, methods=["PUT"]),
                Route("/-/telemetry", self.hand_over, methods=["GET"]),
            ],
            lifespan=self._lifespan,
            exception_handlers={RoostError: _refuse},
        )

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
            self._dispatcher = Dispatcher(Replicas(session), self._counter, self._clock)
            if self._table.current is not None:
                self._dispatcher.follow(self._table.current)
            yield

    async def generate_image(self, request: Request) -> Response:
        """Draw one picture for a client, in the shape of OpenAI's images API."""
        headers = dict(request.headers)
        body = await _read_body(request, LARGEST_BODY_BYTES)
        if body is None or self._dispatcher is None:
            return _error(413, "input.invalid", "the body is too large", f"at most {LARGEST_BODY_BYTES} bytes")
        intake = read_image_request(body, headers, self._table.current, self._rng)
        answer = await self._dispatcher.serve(intake)
        return _picture_response(answer, int(self._clock.now_s()))

    async def list_models(self, request: Request) -> Response:
        """List the services that clients may name as ``model``."""
        services = self._table.current.services if self._table.current else {}
        rows = [{"id": name, "object": "model", "created": 0, "owned_by": "roost"} for name in services]
        return _json(200, {"object": "list", "data": rows})

    async def health(self, request: Request) -> Response:
        """Tell which routing table is in force."""
        table = self._table.current
        told = {"gateway": self._spec.name, "revision": table.revision if table else None}
        return _json(200, told | {"fence": table.fence if table else None})

    async def take_table(self, request: Request) -> Response:
        """Take a newer routing table; an older one is refused with 409 and changes nothing."""
        if not self._from_control_plane(request):
            return _error(401, "not-permitted", "the control token is missing or wrong", "")
        body = await _read_body(request, LARGEST_TABLE_BYTES)
        try:
            table = RoutingTable.model_validate_json(body or b"")
        except ValidationError as error:
            return _error(400, "input.invalid", str(error), "")
        self._table.accept(table)
        if self._dispatcher is not None:
            self._counter.cut(table.revision)
            self._dispatcher.follow(table)
        return _json(200, {"revision": table.revision, "fence": table.fence})

    async def hand_over(self, request: Request) -> Response:
        """Cut the tick and hand over what is not acknowledged; asking again changes nothing that was counted."""
        if not self._from_control_plane(request):
            return _error(401, "not-permitted", "the control token is missing or wrong", "")
        acknowledged = request.query_params.get("acknowledged", "")
        table = self._table.current
        self._counter.cut(table.revision if table else 0)
        sequence = int(acknowledged) if acknowledged.isascii() and acknowledged.isdigit() else -1
        reply = self._counter.reply(request.query_params.get("boot"), sequence)
        content = await asyncio.to_thread(reply.model_dump_json)
        return Response(content, media_type="application/json")

    def _from_control_plane(self, request: Request) -> bool:
        given = request.headers.get("x-roost-control-token", "")
        return hmac.compare_digest(given.encode(), self._spec.control_token.encode())


async def _read_body(request: Request, largest_bytes: int) -> bytes | None:
    chunks, size_bytes = [], 0
    async for chunk in request.stream():
        size_bytes += len(chunk)
        if size_bytes > largest_bytes:
            return None
        chunks.append(chunk)
    return b"".join(chunks)


def _picture_response(answer: Answer, now_s: int) -> Response:
    attempt = answer.attempt
    headers = {
        "x-roost-version": str(attempt.version),
        "x-roost-request-id": answer.intake.request_id,
        "x-roost-lane": answer.intake.lane,
        "x-roost-seed": str(answer.intake.generate.seed),
    }
    if answer.fell_back_from is not None:
        headers["x-roost-fallback"] = f"{answer.fell_back_from.version} {answer.fell_back_from.failure}"
    if attempt.picture is None:
        failure = attempt.failure or FailureReason.ERROR
        status = FAILURE_STATUS.get(failure, 500)
        if status in {503, 504}:
            headers["retry-after"] = "1"
        return _error(status, f"attempt.{failure}", attempt.message, "try again", headers)
    generate = answer.intake.generate
    facts: dict[str, str | float | None] = {
        "service": answer.intake.routes.service,
        "version": str(attempt.version),
        "request_id": answer.intake.request_id,
        "lane": answer.intake.lane,
        "seed": generate.seed,
        "steps": generate.steps,
        "guidance": generate.guidance,
        "created_s": now_s,
    }
    picture = base64.b64encode(mark_png(attempt.picture, facts)).decode()
    return _json(200, {"created": now_s, "data": [{"b64_json": picture}]}, headers)


def _json(status: int, document: object, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(document), status, headers, media_type="application/json")


def _error(status: int, code: str, message: str, hint: str, headers: dict[str, str] | None = None) -> Response:
    """Answer with an error in OpenAI's shape, our code and hint inside."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    error = {"message": message, "type": kind, "param": None, "code": code, "hint": hint}
    return _json(status, {"error": error}, headers)


async def _refuse(request: Request, error: Exception) -> Response:
    if not isinstance(error, RoostError):
        raise error
    return _error(ERROR_STATUS.get(error.code, 500), error.code, error.message, error.hint)
