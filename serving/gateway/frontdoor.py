"""The front door: finds the handler of a path, and answers in its protocol whatever happens."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from contracts.clock import Clock
from contracts.errors import NotFound, RoostError
from contracts.rng import Rng
from serving.gateway.counting import Counter
from serving.gateway.dispatch import Dispatcher
from serving.gateway.exchange import ClientGone, Exchange
from serving.gateway.feedback import FeedbackDesk
from serving.gateway.image_desk import ImageDesk
from serving.gateway.intake import find_service
from serving.gateway.protocols.dialect import JSON, Problem, dump, problem_of
from serving.gateway.protocols.shapes import shape_for
from serving.gateway.recording import Recorder
from serving.gateway.signals import Recall
from serving.gateway.tensor_desk import TensorDesk
from serving.gateway.tokens import Tokens
from serving.gateway.whole import WholeExchange

Handler = Callable[[Exchange], Awaitable[None]]
Express = Callable[[WholeExchange], None]
LOG = logging.getLogger(__name__)


class FrontDoor:
    """All routes of clients; ``express`` has those on which whole requests are served at less cost."""

    def __init__(
        self, dispatcher: Dispatcher, recorder: Recorder, *, counter: Counter, recall: Recall, clock: Clock, rng: Rng
    ) -> None:
        self._dispatcher, self._recorder, self._counter, self._clock = dispatcher, recorder, counter, clock
        tokens = Tokens(rng)
        images = ImageDesk(dispatcher, recorder, counter, clock, tokens)
        tensors = TensorDesk(dispatcher, recorder, clock, tokens)
        feedback = FeedbackDesk(dispatcher, counter, recall, clock)
        self._routes: dict[tuple[str, str], Handler] = {
            ("POST", "/v1/images/generations"): images.generate,
            ("POST", "/v1/feedback"): feedback.take,
            ("GET", "/v1/models"): self.list_models,
            ("GET", "/v2"): tensors.describe_server,
            ("GET", "/v2/health/live"): tensors.is_live,
            ("GET", "/v2/health/ready"): tensors.is_ready,
            ("POST", "/invocations"): tensors.invoke,
            ("GET", "/ping"): tensors.ping,
            ("GET", "/version"): tensors.tell_version,
        }
        self.express: dict[tuple[str, str], Express] = {("POST", "/v1/images/generations"): images.begin}
        self._tensors = tensors

    def find(self, method: str, path: str) -> Handler | None:
        """Return the handler of a path, None when it isn't a client's."""
        handler = self._routes.get((method, path))
        if handler is not None:
            return handler
        if path.startswith("/v1/models/"):
            return self.show_model if method == "GET" else _refuse_method
        if path.startswith(("/v2/models/", "/services/")):
            return self._tensors.find(method, path) or (_refuse_path if method in {"GET", "POST"} else _refuse_method)
        if path.startswith(("/v1/", "/v2")) or path == "/invocations":
            return _refuse_method if any(path == known for _, known in self._routes) else _refuse_path
        return None

    async def serve(self, exchange: Exchange, handler: Handler) -> None:
        """Run a handler; an error of ours, a client's going or a fault of the gateway all end well."""
        try:
            await handler(exchange)
        except RoostError as error:
            await self._refuse(exchange, problem_of(error))
        except ClientGone:
            return
        except asyncio.CancelledError:
            if not exchange.gone:
                raise
            current = asyncio.current_task()
            if current is not None:
                current.uncancel()
        except Exception:
            LOG.exception("the gateway failed at %s", exchange.path)
            await self._refuse(exchange, Problem(500, "internal", "the gateway failed", "see its log"))
        finally:
            exchange.unwatch()

    async def list_models(self, exchange: Exchange) -> None:
        """List the services that clients may name as ``model``."""
        rows = [_model(name) for name in self._dispatcher.services]
        await exchange.respond(200, dump({"object": "list", "data": rows}), JSON)

    async def show_model(self, exchange: Exchange) -> None:
        """Show one service."""
        service = find_service(exchange.path.removeprefix("/v1/models/"), self._dispatcher.services)
        await exchange.respond(200, dump(_model(service.name)), JSON)

    async def _refuse(self, exchange: Exchange, problem: Problem) -> None:
        if exchange.status:  # the answer has begun, as a stream does; all that can be done is to end it
            await exchange.send_chunk(b"", last=True)
            return
        if self._recorder.log is not None:
            self._recorder.log.note_refusal(exchange.path, problem.status, problem.code, self._clock.now_s())
        self._counter.count_refusal(exchange.service, problem.code)
        await exchange.respond(problem.status, shape_for(exchange.path)(problem), JSON)


def _model(name: str) -> dict[str, str | int]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "roost"}


async def _refuse_method(exchange: Exchange) -> None:
    problem = Problem(405, "input.invalid", f"{exchange.method} is not served here", "see the gateway's reference page")
    await exchange.respond(problem.status, shape_for(exchange.path)(problem), JSON)


async def _refuse_path(exchange: Exchange) -> None:
    raise NotFound(f"nothing is at {exchange.path[:200]}", hint="see the gateway's reference page")
