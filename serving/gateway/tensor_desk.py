"""Tensors and tables for clients: the Open Inference Protocol, and MLflow's scoring."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version as distribution_version
from urllib.parse import parse_qs

from pydantic import ValidationError

from contracts.clock import Clock
from contracts.errors import InvalidInput, Unavailable
from contracts.wire.tensors import ModelMetadata
from serving.gateway.dispatch import Answer, Dispatcher
from serving.gateway.exchange import Exchange
from serving.gateway.intake import Intake, find_service, text_of
from serving.gateway.protocols import mlflow, oip
from serving.gateway.protocols.dialect import JSON, Shape, answer_lines, dump, problem_of_attempt, retry_line
from serving.gateway.recording import Recorder
from serving.gateway.service import Service
from serving.gateway.tokens import Tokens
from serving.gateway.upstream import LostConnection

LARGEST_METADATA_WAIT_S = 5.0
Handler = Callable[[Exchange], Awaitable[None]]


class TensorDesk:
    """``/v2/...``, ``/invocations`` and ``/services/{service}/invocations``."""

    def __init__(self, dispatcher: Dispatcher, recorder: Recorder, clock: Clock, tokens: Tokens) -> None:
        self._dispatcher, self._recorder, self._clock, self._tokens = dispatcher, recorder, clock, tokens
        self._metadata: dict[str, ModelMetadata] = {}

    def find(self, method: str, path: str) -> Handler | None:
        """Return the handler of a path below ``/v2/models/`` or ``/services/``."""
        parts = path.strip("/").split("/")
        if parts[0] == "services":
            return self.invoke if method == "POST" and len(parts) == 3 and parts[2] == "invocations" else None
        action = parts[3:] if len(parts) < 5 or parts[3] != "versions" else parts[5:]
        handlers: dict[tuple[str, tuple[str, ...]], Handler] = {
            ("POST", ("infer",)): self.infer,
            ("GET", ()): self.describe,
            ("GET", ("ready",)): self.is_model_ready,
        }
        return handlers.get((method, tuple(action)))

    async def infer(self, exchange: Exchange) -> None:
        """Answer an inference."""
        start_s = time.perf_counter()
        service, version = self._named(exchange)
        exchange.service = service.name
        body = await exchange.read_body(service.routes.limits.max_body)
        intake = oip.read_infer_request(body, exchange.headers, service, version, self._tokens)
        await self._serve(exchange, intake, start_s, oip.shape_error, lambda a: oip.write_infer_reply(intake, a))

    async def invoke(self, exchange: Exchange) -> None:
        """Answer MLflow's scoring request."""
        start_s = time.perf_counter()
        service = await self._scored_service(exchange)
        exchange.service = service.name
        body = await exchange.read_body(service.routes.limits.max_body)
        content_type = exchange.headers.get(b"content-type", b"").decode("latin-1")
        request = mlflow.read_invocation(body, content_type, await self._describe(service))
        intake = oip.tensor_intake(request, exchange.headers, service, None, self._tokens)
        write = mlflow.write_predictions
        await self._serve(exchange, intake, start_s, mlflow.shape_error, lambda a: write(a.attempt.body))

    async def describe_server(self, exchange: Exchange) -> None:
        """Tell what this server is."""
        told = {"name": "roost", "version": distribution_version("roost"), "extensions": ["binary_tensor_data"]}
        await exchange.respond(200, dump(told), JSON)

    async def describe(self, exchange: Exchange) -> None:
        """Tell a service's inputs and outputs."""
        service, _ = self._named(exchange)
        await exchange.respond(200, oip.describe_service(service, await self._describe(service)), JSON)

    async def is_live(self, exchange: Exchange) -> None:
        """Tell that the gateway runs."""
        await exchange.respond(200, b'{"live":true}', JSON)

    async def is_ready(self, exchange: Exchange) -> None:
        """Tell whether a routing table is in force."""
        ready = bool(self._dispatcher.services)
        await exchange.respond(200 if ready else 503, dump({"ready": ready}), JSON)

    async def is_model_ready(self, exchange: Exchange) -> None:
        """Tell whether a service, or one version of it, has a replica that was there when it was last asked."""
        service, version = self._named(exchange)
        named = service.version_named(version) if version is not None else service.routes.champion
        now = asyncio.get_running_loop().time()
        ready = named is not None and any(r.aside_until <= now for r in service.line(named).replicas)
        await exchange.respond(200 if ready else 503, dump({"name": service.name, "ready": ready}), JSON)

    async def ping(self, exchange: Exchange) -> None:
        """Tell MLflow's clients that somebody is there."""
        await exchange.respond(200 if self._dispatcher.services else 503, b"\n", JSON)

    async def tell_version(self, exchange: Exchange) -> None:
        """Tell MLflow's clients which MLflow this speaks as."""
        await exchange.respond(200, distribution_version("mlflow").encode(), b"text/plain; charset=utf-8")

    async def _serve(
        self, exchange: Exchange, intake: Intake, start_s: float, shape: Shape, write: Callable[[Answer], bytes]
    ) -> None:
        exchange.watch()
        answers = await self._dispatcher.serve(intake)
        lines = answer_lines(intake, answers)
        if answers[0].attempt.failure is not None:
            problem = problem_of_attempt(answers[0].attempt)
            await exchange.respond(problem.status, shape(problem), JSON, lines + retry_line(problem))
        else:
            await exchange.respond(200, write(answers[0]), JSON, lines)
        self._recorder.note(exchange, intake, answers, start_s)

    def _named(self, exchange: Exchange) -> tuple[Service, str | None]:
        parts = exchange.path.split("/")
        version = parts[5] if len(parts) > 5 and parts[4] == "versions" else None
        return find_service(parts[3], self._dispatcher.services), version

    async def _scored_service(self, exchange: Exchange) -> Service:
        """Return the service that MLflow's path, header or query names, or the only one that takes tables."""
        services = self._dispatcher.services
        parts = exchange.path.strip("/").split("/")
        if parts[0] == "services":
            return find_service(parts[1], services)
        queried = parse_qs(exchange.query.decode("latin-1")).get("service", [None])[0]
        named = text_of(exchange.headers, b"x-roost-service") or queried
        if named is not None:
            return find_service(named, services)
        fitting = list(services.values())
        if len(fitting) != 1:
            fitting = [service for service in fitting if (await self._describe(service)).inputs]
        if len(fitting) != 1:
            raise InvalidInput(
                f"{len(fitting)} services take tables", hint="name one: x-roost-service, or /services/NAME/invocations"
            )
        return fitting[0]

    async def _describe(self, service: Service) -> ModelMetadata:
        """Return what the champion tells of itself, asked once per version; nothing when no replica answers."""
        champion = service.routes.champion
        known = self._metadata.get(str(champion))
        if known is not None:
            return known
        for replica in service.line(champion).replicas:
            try:
                reply = await replica.upstream.get("/metadata", timeout_s=LARGEST_METADATA_WAIT_S)
            except (LostConnection, TimeoutError):
                continue
            try:
                told = ModelMetadata.model_validate_json(reply.body) if reply.status == 200 else ModelMetadata()
            except ValidationError:
                raise Unavailable(f"the worker of {champion} tells nonsense of itself", hint="see its log") from None
            if reply.status < 500:
                self._metadata[str(champion)] = told
            return told
        return ModelMetadata()
