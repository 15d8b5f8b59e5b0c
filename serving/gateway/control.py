"""Routes for the control plane and for whoever watches: routing tables in, telemetry and metrics out."""

import hmac
from collections.abc import Awaitable, Callable

import orjson
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contracts.errors import Conflict
from contracts.wire.gateway import GatewaySpec
from contracts.wire.routing import RoutingTable
from serving.gateway.exchange import TooLarge
from serving.gateway.protocols.dialect import Problem
from serving.gateway.protocols.openai import shape_error
from serving.gateway.recording import Recorder
from serving.gateway.table import RoutingState

LARGEST_TABLE_BYTES = 16 << 20


class ControlRoutes:
    """``/health``, ``/metrics``, ``/-/routing`` and ``/-/telemetry``."""

    def __init__(
        self, spec: GatewaySpec, table: RoutingState, recorder: Recorder, follow: Callable[[], Awaitable[None]]
    ) -> None:
        self._spec, self._table, self._recorder, self._follow = spec, table, recorder, follow

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/health", self.health),
            Route("/metrics", self.expose_metrics),
            Route("/-/routing", self.take_table, methods=["PUT"]),
            Route("/-/routing", self.show_table, methods=["GET"]),
            Route("/-/telemetry", self.hand_over, methods=["GET"]),
        ]

    async def health(self, request: Request) -> Response:
        """Tell which routing table is in force."""
        table = self._table.current
        told = {"gateway": self._spec.name, "revision": table.revision if table else None}
        return _json(200, told | {"fence": table.fence if table else None})

    async def expose_metrics(self, request: Request) -> Response:
        """Tell Prometheus everything that was counted since the start."""
        return Response(self._recorder.metrics.expose(), media_type=CONTENT_TYPE_LATEST)

    async def take_table(self, request: Request) -> Response:
        """Take a newer routing table; an older one is refused with 409 and changes nothing."""
        if not self._from_control_plane(request):
            return _refuse(401, "not-permitted", "the control token is missing or wrong")
        try:
            table = RoutingTable.model_validate_json(await _read_body(request))
            self._table.accept(table)
        except ValidationError as error:
            return _refuse(400, "input.invalid", str(error))
        except (Conflict, TooLarge) as error:
            return _refuse(409 if isinstance(error, Conflict) else 413, error.code, error.message, error.hint)
        await self._follow()
        return _json(200, {"revision": table.revision, "fence": table.fence})

    async def show_table(self, request: Request) -> Response:
        """Return the routing table in force, ``null`` while there is none."""
        if not self._from_control_plane(request):
            return _refuse(401, "not-permitted", "the control token is missing or wrong")
        table = self._table.current
        return Response("null" if table is None else table.model_dump_json(), media_type="application/json")

    async def hand_over(self, request: Request) -> Response:
        """Cut the tick and hand over what is not acknowledged; asking again changes nothing that was counted."""
        if not self._from_control_plane(request):
            return _refuse(401, "not-permitted", "the control token is missing or wrong")
        asked = request.query_params
        batch, sample = _number(asked.get("acknowledged")), _number(asked.get("samples"))
        content = await self._recorder.hand_over(asked.get("boot"), batch, sample)
        return Response(content, media_type="application/json")

    def _from_control_plane(self, request: Request) -> bool:
        given = request.headers.get("x-roost-control-token", "")
        return hmac.compare_digest(given.encode(), self._spec.control_token.encode())


async def _read_body(request: Request) -> bytes:
    chunks, size_bytes = [], 0
    async for chunk in request.stream():
        size_bytes += len(chunk)
        if size_bytes > LARGEST_TABLE_BYTES:
            raise TooLarge("the routing table is too large", hint=f"at most {LARGEST_TABLE_BYTES} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 16 else -1


def _json(status: int, document: object) -> Response:
    return Response(orjson.dumps(document), status, media_type="application/json")


def _refuse(status: int, code: str, message: str, hint: str = "") -> Response:
    return Response(shape_error(Problem(status, code, message, hint)), status, media_type="application/json")
