"""The keeper of one replica: starts its worker, watches it, starts it again when it ends, drains it before it stops."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import aiohttp
from pydantic import ValidationError

from contracts.errors import InvalidInput, RoostError, Unavailable
from contracts.wire.routing import Endpoint
from contracts.wire.worker import WorkerHealth, WorkerSpec, WorkerState
from serving.fleet.budget import MemoryBudget, expect_bytes
from serving.fleet.launch import Launcher, Running
from serving.fleet.port import Replica, ReplicaState


@dataclass(frozen=True)
class Means:
    """What all keepers of a fleet share; ``on_ready`` is told how long a worker took from its start."""

    launcher: Launcher
    budget: MemoryBudget
    session: aiohttp.ClientSession
    patience: "Patience"
    on_ready: Callable[[WorkerSpec, float], None]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a keeper waits for what, in seconds.

    A worker that isn't ready ``start_s`` after its start, or hasn't answered for ``silence_s``, is ended and started
    again. The first new start comes after ``back_off_s``, each further one after twice as long, up to
    ``longest_back_off_s``; a worker that was ready for ``well_s`` begins anew. A drained worker is stopped once
    nothing was in flight for ``settle_s``, and after ``drain_s`` in any case.
    """

    start_s: float = 600.0
    silence_s: float = 60.0
    back_off_s: float = 0.5
    longest_back_off_s: float = 60.0
    well_s: float = 60.0
    settle_s: float = 1.0
    drain_s: float = 120.0
    stop_s: float = 10.0
    heartbeat_s: float = 0.5
    loading_heartbeat_s: float = 0.1


CRASH_LOOP = 3
"""After so many ends in a row without having been well a replica counts as failed, and not as starting."""


class Keeper:
    """Keeps one replica of one spec; ``replica`` is how it was last seen. Lives on the fleet's event loop."""

    def __init__(self, spec: WorkerSpec, index: int, means: Means, adopted: Running | None = None) -> None:
        self.spec, self.index = spec, index
        self._launcher, self._budget, self._session = means.launcher, means.budget, means.session
        self._patience, self._on_ready = means.patience, means.on_ready
        self.running = adopted
        name = f"v{spec.version.number}-{index}"
        self._key = f"{spec.version}-{index}-{id(self)}"
        self.replica = Replica(spec.version, name, ReplicaState.STARTING)
        self._ends_in_a_row = 0
        self._task = asyncio.create_task(self._keep())

    async def stop(self, *, drain: bool) -> None:
        """Drain the replica if asked to, then end its worker and give its memory back."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        running = self.running
        if running is not None:
            if drain and running.is_alive:
                self._note(state=ReplicaState.DRAINING)
                await self._drain(running)
            await running.end(self._patience.stop_s)
        await self._budget.settle(self._key, 0)

    async def let_go(self) -> None:
        """Stop watching; the worker goes on."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        if self.running is not None:
            self.running.let_go()

    async def _keep(self) -> None:
        while True:
            try:
                if self.running is None:
                    self.running = await self._start()
                message = await self._watch(self.running)
            except InvalidInput as error:
                message = f"{error.message} ({error.hint})"
                self._ends_in_a_row = CRASH_LOOP
            except RoostError as error:
                message = error.message
            except Exception as error:  # noqa: BLE001 - a keeper that ends would leave its replica to nobody
                message = f"{type(error).__name__}: {error}"
            await self._rest(message)

    async def _start(self) -> Running:
        """Start a worker when there is room for it, and wait until it is ready, has failed or has ended.

        Raises:
            InvalidInput: when it needs more memory than the fleet may use.
            Unavailable: when it takes too long.
        """
        async with self._budget.starting(self._key, expect_bytes(self.spec), self._note_waiting):
            loop = asyncio.get_running_loop()
            begun_s = loop.time()
            self.running = running = self._launcher.launch(self.spec)
            if self.replica.state is not ReplicaState.FAILED:
                self._note(state=ReplicaState.STARTING, message="")
            try:
                async with asyncio.timeout(self._patience.start_s):
                    ready = await self._await_ready(running)
            except TimeoutError:
                await running.end(0)
                raise Unavailable(f"it was not ready within {self._patience.start_s:g} s") from None
            if ready:
                self._on_ready(self.spec, loop.time() - begun_s)
            return running

    async def _await_ready(self, running: Running) -> bool:
        """Wait until a worker is ready, has failed or has ended; tell whether it is ready."""
        if await running.await_report() is None:
            return False
        while running.is_alive:
            health = await self._ask(running)
            if health is not None and health.state is not WorkerState.LOADING:
                return health.state is WorkerState.READY
            await asyncio.sleep(self._patience.loading_heartbeat_s)
        return False

    async def _watch(self, running: Running) -> str:
        """Watch a worker until it ends; return what happened."""
        loop = asyncio.get_running_loop()
        heard_s = loop.time()
        ready_s: float | None = None
        while running.is_alive:
            health = await self._ask(running)
            now_s = loop.time()
            if health is not None and health.state is WorkerState.FAILED:
                self._ends_in_a_row = max(self._ends_in_a_row, CRASH_LOOP)
                await running.end(self._patience.stop_s)
                return health.message
            if health is not None:
                heard_s = now_s
                if ready_s is None and health.state is WorkerState.READY:
                    ready_s = now_s
                    await self._settle_in(running, health)
                self._note(health=health)
            elif now_s - heard_s > self._patience.silence_s:
                await running.end(0)
                return f"it did not answer for {self._patience.silence_s:g} s"
            if ready_s is not None and now_s - ready_s > self._patience.well_s:
                self._ends_in_a_row = 0
            await asyncio.sleep(self._patience.heartbeat_s if ready_s else self._patience.loading_heartbeat_s)
        return running.ending

    async def _settle_in(self, running: Running, health: WorkerHealth) -> None:
        """Show a ready worker to those who route, and count what it takes by measure unless it has a limit."""
        if running.report is None:
            return
        limit_bytes = self.spec.limits.memory_limit_bytes
        await self._budget.settle(self._key, limit_bytes or health.memory_bytes)
        endpoint = Endpoint(
            replica=self.replica.name,
            url=f"http://127.0.0.1:{running.report.port}",
            max_concurrency=self.spec.limits.max_concurrency,
            digest=self.spec.digest,
        )
        process = f"{running.report.pid}-{running.report.began_ticks}"
        self._note(state=ReplicaState.READY, endpoint=endpoint, health=health, message="", process=process)

    async def _rest(self, message: str) -> None:
        """Note that the worker has ended, and wait before the next start, longer each time."""
        if self.running is not None:
            self.running.forget()
            self.running = None
        await self._budget.settle(self._key, 0)
        self._ends_in_a_row += 1
        wait_s = min(self._patience.longest_back_off_s, self._patience.back_off_s * 2 ** (self._ends_in_a_row - 1))
        self._note(
            state=ReplicaState.FAILED if self._ends_in_a_row >= CRASH_LOOP else ReplicaState.STARTING,
            endpoint=None,
            health=None,
            process="",
            restarts=self.replica.restarts + 1,
            message=f"{message}; tried again after {wait_s:.3g} s, see {self._launcher.log(self.spec)}",
        )
        await asyncio.sleep(wait_s)

    async def _drain(self, running: Running) -> None:
        """Wait until nothing has been in flight for a while: whoever routed here has looked elsewhere by then."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._patience.drain_s
        idle_since_s: float | None = None
        while running.is_alive and running.report is not None and loop.time() < until_s:
            health = await self._ask(running)
            if health is not None and health.state is not WorkerState.READY:
                return
            if health is None or health.in_flight:
                idle_since_s = None
            elif idle_since_s is None:
                idle_since_s = loop.time()
            elif loop.time() - idle_since_s >= self._patience.settle_s:
                return
            await asyncio.sleep(self._patience.loading_heartbeat_s)

    async def _ask(self, running: Running) -> WorkerHealth | None:
        if running.report is None:
            return None
        try:
            async with self._session.get(f"http://127.0.0.1:{running.report.port}/health") as answer:
                return WorkerHealth.model_validate_json(await answer.read())
        except (aiohttp.ClientError, TimeoutError, ValidationError):
            return None

    def _note_waiting(self, message: str) -> None:
        if self.replica.state is not ReplicaState.FAILED:
            self._note(state=ReplicaState.WAITING, message=message)

    def _note(self, **changes: object) -> None:
        self.replica = replace(self.replica, **changes)  # type: ignore[arg-type]
