"""Real HTTP on loopback: apps run by uvicorn in a thread, workers with a runtime that needs no model."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette

from contracts.clock import SystemClock
from contracts.ids import VersionId
from contracts.rng import SeededRng
from contracts.wire.gateway import GatewaySpec
from contracts.wire.routing import Endpoint, RoutingTable, ServiceRoutes, Split
from contracts.wire.worker import FailureReason, GenerateRequest, WorkerSpec
from serving.gateway.app import Gateway, GatewayApp
from serving.gateway.client import GatewayClient
from serving.gateway.server import GatewayProtocol
from serving.worker.app import Worker
from serving.worker.runtimes.port import AfterStep, DrawFailure, Picture

CONTROL_TOKEN = "control-token-of-tests"
CHAMPION, CHALLENGER = VersionId("m", 1), VersionId("m", 2)


class ScriptedRuntime:
    """Draws a text instead of a picture, after ``delay_s``; fails as ``failure`` says."""

    def __init__(self, failure: FailureReason | None = None, delay_s: float = 0.0) -> None:
        self.failure = failure
        self.delay_s = delay_s
        self.asked: list[GenerateRequest] = []

    def load(self) -> None:
        """Nothing to load."""

    def warm_up(self) -> None:
        """Nothing to warm up."""

    def draw(self, requests: Sequence[GenerateRequest], after_step: AfterStep) -> list[Picture]:
        self.asked.extend(requests)
        time.sleep(self.delay_s)
        if self.failure is not None:
            raise DrawFailure(self.failure, f"scripted {self.failure}")
        texts = [f"picture of {request.prompt} by seed {request.seed}" for request in requests]
        return [text.encode for text in texts]


class Server(uvicorn.Server):
    """An app on a free loopback port, in a thread; a gateway is behind the protocol that its process uses."""

    def __init__(self, app: Starlette, protocol: type[asyncio.Protocol] | None = None) -> None:
        http: Literal["auto"] | type[asyncio.Protocol] = protocol or "auto"
        if protocol is None and isinstance(app, GatewayApp):
            http = GatewayProtocol
        super().__init__(uvicorn.Config(app, port=0, http=http, log_level="error", timeout_graceful_shutdown=1))
        self._thread = threading.Thread(target=self.run)
        self._thread.start()

    async def main_loop(self) -> None:
        """Serve until told to end; uvicorn's own looks only every tenth of a second."""
        await self.on_tick(0)
        while not self.should_exit:  # noqa: ASYNC110 - another thread says so
            await asyncio.sleep(0.005)

    def url(self) -> str:
        """Wait until it listens, and return where."""
        while not self.started:
            time.sleep(0.005)
        return f"http://127.0.0.1:{self.servers[0].sockets[0].getsockname()[1]}"

    def end(self) -> None:
        self.should_exit = True
        self._thread.join()


@contextmanager
def running(app: Starlette, protocol: type[asyncio.Protocol] | None = None) -> Iterator[str]:
    """Run an app; yields its URL."""
    server = Server(app, protocol)
    try:
        yield server.url()
    finally:
        server.end()


def worker_app(version: VersionId, runtime: ScriptedRuntime) -> Starlette:
    spec = WorkerSpec(version=version, digest="sha256:" + "0" * 64, directory="unused")
    return Worker(spec, lambda _: runtime).app()


@contextmanager
def running_worker(version: VersionId, runtime: ScriptedRuntime) -> Iterator[Endpoint]:
    """Run a worker; yields its endpoint."""
    with running(worker_app(version, runtime)) as url:
        yield Endpoint(replica=f"v{version.number}-0", url=url)


class Bench:
    """A gateway with a champion and a challenger behind it."""

    def __init__(self, url: str, endpoints: dict[str, tuple[Endpoint, ...]]) -> None:
        self.url = url
        self.endpoints = endpoints
        self.client = GatewayClient(url, CONTROL_TOKEN)
        self.http = httpx.Client(base_url=url, trust_env=False, timeout=30)
        self.revision = 0

    def route(self, weight: float = 0.0, mirror_share: float = 0.0, **changes: object) -> RoutingTable:
        """Put a routing table in force and return it."""
        self.revision += 1
        document = {
            "service": "tags",
            "champion": CHAMPION,
            "split": Split(
                rollout_id="r1", salt="saltsalt", challenger=CHALLENGER, weight=weight, mirror_share=mirror_share
            ),
            "endpoints": self.endpoints,
            "latency_thresholds_s": {"fast": 0.05},
            **changes,
        }
        table = RoutingTable(fence=1, revision=self.revision, services={"tags": ServiceRoutes.model_validate(document)})
        self.client.push(table)
        return table


@contextmanager
def running_bench(
    gateway: Starlette,
    champion: ScriptedRuntime,
    challenger: ScriptedRuntime,
    protocol: type[asyncio.Protocol] | None = None,
) -> Iterator[Bench]:
    """Run a gateway with both workers behind it; they begin together and end together."""
    apps = {CHAMPION: worker_app(CHAMPION, champion), CHALLENGER: worker_app(CHALLENGER, challenger)}
    servers = [*(Server(app) for app in apps.values()), Server(gateway, protocol)]
    try:
        *workers, url = [server.url() for server in servers]
        endpoints: dict[str, tuple[Endpoint, ...]] = {
            str(version): (Endpoint(replica=f"v{version.number}-0", url=worker),)
            for version, worker in zip(apps, workers, strict=True)
        }
        built = Bench(url, endpoints)
        yield built
        built.client.close()
        built.http.close()
    finally:
        for server in servers:
            server.should_exit = True
        for server in servers:
            server.end()


@pytest.fixture
def champion() -> ScriptedRuntime:
    return ScriptedRuntime()


@pytest.fixture
def challenger() -> ScriptedRuntime:
    return ScriptedRuntime()


@pytest.fixture
def make_gateway(tmp_path: Path) -> Callable[[], Starlette]:
    """Return a maker of gateways over the same state directory, to restart one."""
    spec = GatewaySpec(name="g1", control_token=CONTROL_TOKEN, state_directory=str(tmp_path / "state"))
    return lambda: Gateway(spec, SystemClock(), SeededRng(1)).app()


@pytest.fixture
def bench(
    champion: ScriptedRuntime, challenger: ScriptedRuntime, make_gateway: Callable[[], Starlette]
) -> Iterator[Bench]:
    with running_bench(make_gateway(), champion, challenger) as built:
        yield built
