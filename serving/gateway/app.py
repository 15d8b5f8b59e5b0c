"""The gateway: a Starlette application for people and the control plane; clients' requests go past it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.types import Lifespan, Receive, Scope, Send

from contracts.clock import Clock
from contracts.rng import Rng
from contracts.wire.gateway import GatewaySpec
from serving.gateway.control import ControlRoutes
from serving.gateway.counting import Counter
from serving.gateway.dispatch import Dispatcher
from serving.gateway.exchange import AsgiExchange
from serving.gateway.frontdoor import FrontDoor
from serving.gateway.heads import Heads
from serving.gateway.recording import Recorder
from serving.gateway.signals import Recall
from serving.gateway.sweep import Sweep
from serving.gateway.table import RoutingState
from serving.gateway.whole import Head

SECRET_BYTES = 32


class Gateway:
    """One gateway: stateless but for the last routing table, and the telemetry that nobody has fetched."""

    def __init__(self, spec: GatewaySpec, clock: Clock, rng: Rng) -> None:
        state = Path(spec.state_directory)
        self._table = RoutingState(state / "routing.json")
        counter = Counter(spec.name, "b-" + rng.token(6), clock)
        self._recorder = Recorder(spec, counter, clock)
        recall = Recall(_secret(state / "hash-key", rng), clock)
        self._dispatcher = Dispatcher(counter, self._recorder.samples, recall, clock, on_gone=self._recorder.note_gone)
        self._door = FrontDoor(self._dispatcher, self._recorder, counter=counter, recall=recall, clock=clock, rng=rng)
        self._control = ControlRoutes(spec, self._table, self._recorder, self.follow)

    def app(self) -> "GatewayApp":
        """Return the ASGI application."""
        return GatewayApp(self._door, self._control, self._lifespan)

    async def follow(self) -> None:
        """Serve by the table in force from now on; the tick before it ends."""
        table = self._table.current
        if table is None:
            return
        await self._recorder.cut()
        self._dispatcher.follow(table)
        self._recorder.follow(table.revision, self._dispatcher)

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        await self.follow()
        recording = asyncio.create_task(self._recorder.run())
        yield
        recording.cancel()
        await self._recorder.close()
        self._dispatcher.close()


class GatewayApp(Starlette):
    """Starlette, with the hot routes before it: they go through none of its layers."""

    def __init__(self, door: FrontDoor, control: ControlRoutes, lifespan: Lifespan[Starlette]) -> None:
        super().__init__(routes=control.routes(), lifespan=lifespan)
        self.door = door
        self.heads: Heads[Head] = Heads()
        self._sweep = Sweep()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's scope."""
        if scope["type"] == "http":
            handler = self.door.find(scope["method"], scope["path"])
            if handler is not None:
                await self.door.serve(AsgiExchange(scope, receive, send, self._sweep), handler)
                return
        await super().__call__(scope, receive, send)


def _secret(path: Path, rng: Rng) -> bytes:
    """Return the key of hashed users and prompts: made once, and the same after a restart."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(rng.token(SECRET_BYTES))
    return path.read_text().encode()[:64]
