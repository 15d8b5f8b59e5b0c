"""Real gateway, fleet, workers and load: no request is lost, and telemetry counts what the load generator counts."""

import asyncio
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from contracts.ids import VersionId
from contracts.manifest import make_manifest
from contracts.rng import Rng, SeededRng
from contracts.specs.service import Fallback, FallbackReason, Limits
from contracts.wire.capacity import WorkerLimits
from contracts.wire.gateway import GatewaySpec
from contracts.wire.routing import RoutingTable, ServiceRoutes, Split
from contracts.wire.telemetry import TelemetryBatch
from contracts.wire.worker import WorkerSpec
from controlplane.demo.model.versions import assemble, find_version
from serving.fleet.local import LocalFleet
from serving.fleet.port import Placement, place, withdraw
from serving.gateway.client import GatewayClient
from serving.process import start_child
from serving.traffic.arrivals import Arrivals
from serving.traffic.sending import TrafficPlan, send_traffic
from serving.traffic.totals import TrafficTotals

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
TOKEN = "control-token-of-exactness"
FIRST, SECOND = VersionId("tags", 1), VersionId("tags", 2)
RATE = 5.0


@dataclass
class DataPlane:
    """A gateway and a fleet."""

    fleet: LocalFleet
    client: GatewayClient
    url: str
    specs: dict[VersionId, WorkerSpec]
    revision: int = 0

    def run(self, *versions: VersionId) -> None:
        """Have these versions run, and wait until they are ready."""
        for version in versions:
            place(self.fleet, Placement(spec=self.specs[version]))
        await_that(lambda: all(self.fleet.observe().endpoints(version) for version in versions))

    def route(self, champion: VersionId, split: Split | None = None, fallback: Fallback | None = None) -> None:
        """Put a routing table in force."""
        self.revision += 1
        versions = [champion] + ([split.challenger] if split is not None else [])
        routes = ServiceRoutes(
            service="tags",
            champion=champion,
            split=split,
            fallback=fallback,
            limits=Limits(max_queue=1000, timeout=50.0),
            endpoints={str(version): self.fleet.observe().endpoints(version) for version in versions},
        )
        self.client.push(RoutingTable(fence=1, revision=self.revision, services={"tags": routes}))

    def count(self) -> "Counts":
        """Fetch all telemetry since the last time and add it up, each batch once."""
        counted: list[TelemetryBatch] = []
        while True:
            fresh = self.client.pull().batches
            counted += fresh
            if not any(batch.attempts or batch.requests for batch in fresh):
                return Counts.of(counted)


@dataclass
class Counts:
    """Telemetry, added up."""

    requests: int = 0
    bad: int = 0
    fell_back: int = 0
    attempts: Counter[str] = field(default_factory=Counter)
    bad_attempts: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, batches: list[TelemetryBatch]) -> "Counts":
        counts = cls()
        for batch in batches:
            for row in batch.requests:
                counts.requests += row.total
                counts.bad += row.bad
                counts.fell_back += row.fell_back
            for attempt in batch.attempts:
                counts.attempts[str(attempt.version)] += attempt.total
                counts.bad_attempts[str(attempt.version)] += attempt.n_bad
        return counts


def await_that(condition: Callable[[], object], timeout_s: float = 120.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it does not come about"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataPlane]:
    tmp_path, specs = tmp_path_factory.mktemp("plane"), {}
    for version, name in ((FIRST, "good"), (SECOND, "distilled")):
        directory = assemble(name, tmp_path / name)
        specs[version] = WorkerSpec(
            version=version,
            digest=make_manifest(directory).digest,
            directory=str(directory),
            # One step: these tests are about counting, on however busy a machine.
            defaults=find_version(name).defaults.model_copy(update={"num_inference_steps": 1}),
            limits=WorkerLimits(max_concurrency=4, max_batch_size=4, max_queue=64),
        )
    gateway = GatewaySpec(name="g", control_token=TOKEN, state_directory=str(tmp_path / "gateway"))
    child = start_child("serving.gateway.main", gateway.model_dump_json(), tmp_path / "gateway.log")
    fleet = LocalFleet(tmp_path / "fleet")
    client = GatewayClient(f"http://127.0.0.1:{child.port}", TOKEN)
    try:
        yield DataPlane(fleet, client, f"http://127.0.0.1:{child.port}", specs)
    finally:
        client.close()
        fleet.close()
        child.end()


@contextmanager
def load(plane: DataPlane) -> Iterator[TrafficTotals]:
    """Send requests while the block runs; its totals are whole afterwards."""
    totals, loop, stop = TrafficTotals(), asyncio.new_event_loop(), asyncio.Event()

    def prompt(rng: Rng) -> str:
        return f"the digits {rng.integer(10)} {rng.integer(10)}"

    plan = TrafficPlan(plane.url, "tags", Arrivals(rate=RATE), prompt)

    def send() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(send_traffic(plan, totals, SeededRng(4), stop))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield totals
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def assert_exact(counts: Counts, totals: TrafficTotals) -> None:
    """What the gateway counted is what its users counted; an attempt more for each that was answered by another."""
    assert (counts.requests, counts.bad) == (totals.sent, totals.bad)
    fell_back = {str(SECOND): counts.fell_back} if counts.fell_back else {}
    assert counts.attempts == totals.versions + Counter(fell_back)


def test_a_version_change_under_load_loses_no_request(plane: DataPlane) -> None:
    plane.run(FIRST)
    plane.route(FIRST)
    with load(plane) as totals:
        await_that(lambda: totals.sent > 15)
        plane.run(SECOND)
        plane.route(SECOND)
        # The old one is drained while the new one serves.
        withdraw(plane.fleet, FIRST)
        before = totals.versions[str(SECOND)]
        await_that(lambda: not [r for r in plane.fleet.observe().replicas if r.version == FIRST])
        await_that(lambda: totals.versions[str(SECOND)] > before + 15)
    assert totals.statuses == {200: totals.sent}
    assert totals.not_sent == 0
    assert_exact(plane.count(), totals)


def test_a_killed_worker_costs_its_users_nothing_and_is_counted_against_its_version(plane: DataPlane) -> None:
    plane.run(FIRST, SECOND)
    split = Split(rollout_id="r1", salt="saltsalt", challenger=SECOND, weight=0.5)
    plane.route(FIRST, split, Fallback(on=(FallbackReason.ERROR,), to="champion", retry_budget=1.0))
    with load(plane) as totals:
        await_that(lambda: totals.versions[str(SECOND)] > 10)
        (keeper,) = (k for k in plane.fleet._keepers if k.spec.version == SECOND)
        assert keeper.running is not None
        assert keeper.running.report is not None
        os.kill(keeper.running.report.pid, signal.SIGKILL)
        await_that(lambda: not plane.fleet.observe().endpoints(SECOND))
        # Half of these are the dead one's, until the control plane sees a challenger without replicas.
        killed = totals.sent
        await_that(lambda: totals.sent > killed + 20)
        plane.route(FIRST)
        answered = totals.sent
        await_that(lambda: totals.sent > answered + 10)
    counts = plane.count()
    assert totals.statuses == {200: totals.sent}
    assert_exact(counts, totals)
    assert counts.bad_attempts == {str(FIRST): 0, str(SECOND): counts.fell_back}
    assert counts.fell_back > 0


def test_a_worker_without_fallback_loses_at_most_what_was_in_flight(plane: DataPlane) -> None:
    plane.run(FIRST)
    place(plane.fleet, Placement(spec=plane.specs[FIRST], replicas=2))
    await_that(lambda: len(plane.fleet.observe().endpoints(FIRST)) == 2)
    plane.route(FIRST)
    with load(plane) as totals:
        await_that(lambda: totals.sent > 15)
        victim = plane.fleet._keepers[0]
        assert victim.running is not None
        assert victim.running.report is not None
        assert victim.replica.endpoint is not None
        dead = victim.replica.endpoint.url
        os.kill(victim.running.report.pid, signal.SIGKILL)
        await_that(lambda: dead not in {e.url for e in plane.fleet.observe().endpoints(FIRST)})
        plane.route(FIRST)
        after = totals.sent
        await_that(lambda: totals.sent > after + 15)
    # At most what its four slots held, and who was sent to the dead address before the table said so: once, then it is
    # put aside.
    assert totals.bad <= 5
    assert_exact(plane.count(), totals)
