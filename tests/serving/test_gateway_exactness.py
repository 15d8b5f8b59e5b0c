"""Under load, whatever happens: nobody loses an answer, and every count is the load generator's own."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from contracts.rng import SeededRng
from contracts.specs.service import Fallback, Limits
from contracts.wire.gateway import GatewaySpec
from contracts.wire.routing import RoutingTable, ServiceRoutes, Split
from contracts.wire.telemetry import TelemetryBatch
from serving.gateway.client import GatewayClient
from serving.process import Child, start_child
from serving.traffic.arrivals import Arrivals
from serving.traffic.sending import TrafficPlan, send_traffic
from serving.traffic.totals import TrafficTotals
from tests.serving.conftest import CHALLENGER, CHAMPION, CONTROL_TOKEN
from tests.serving.scripted_process import ScriptedProcess, scripted_process

pytestmark = pytest.mark.slow
RATE = 60.0
FALLBACK = Fallback.model_validate({"on": ["error", "overload"], "to": "champion", "retry_budget": 1.0})
LIMITS = Limits(max_queue=10_000, timeout=50.0)
"""A machine that stalls has all that was due come at once: it waits, and nobody is turned away for it."""


class Plane:
    """A gateway process, two replicas of the champion and one of the challenger."""

    def __init__(self, child: Child, workers: list[ScriptedProcess]) -> None:
        self.child, self.workers = child, workers
        self.url = f"http://127.0.0.1:{child.port}"
        self.client = GatewayClient(self.url, CONTROL_TOKEN)
        self.batches: list[TelemetryBatch] = []
        self._revision = 0

    def route(self, weight: float) -> None:
        self._revision += 1
        split = Split(rollout_id="r1", salt="saltsalt", challenger=CHALLENGER, weight=weight)
        champion = (self.workers[0].endpoint, self.workers[1].endpoint)
        endpoints = {str(CHAMPION): champion, str(CHALLENGER): (self.workers[2].endpoint,)}
        routes = ServiceRoutes(
            service="tags", champion=CHAMPION, split=split, endpoints=endpoints, fallback=FALLBACK, limits=LIMITS
        )
        self.client.push(RoutingTable(fence=1, revision=self._revision, services={"tags": routes}))

    def pull(self) -> None:
        self.batches += self.client.pull().batches

    def load(self, duration_s: float, meanwhile: Callable[[], None]) -> TrafficTotals:
        """Send traffic for a while; ``meanwhile`` runs in another thread, a third of the way through."""
        totals = TrafficTotals()
        plan = TrafficPlan(self.url, "tags", Arrivals(rate=RATE), lambda rng: f"tag {rng.integer(1000)}")

        async def run() -> None:
            sending = send_traffic(plan, totals, SeededRng(5), asyncio.Event(), duration_s=duration_s)
            await asyncio.gather(sending, self._later(duration_s / 3, meanwhile))

        asyncio.run(run())
        return totals

    async def _later(self, delay_s: float, action: Callable[[], None]) -> None:
        await asyncio.sleep(delay_s)
        await asyncio.to_thread(action)


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    with ExitStack() as stack:
        workers = [
            stack.enter_context(scripted_process(version, f"v{version.number}-{i}", 0.01))
            for i, version in enumerate((CHAMPION, CHAMPION, CHALLENGER))
        ]
        spec = GatewaySpec(name="g1", control_token=CONTROL_TOKEN, state_directory=str(tmp_path / "state"))
        child = start_child("serving.gateway.main", spec.model_dump_json(), tmp_path / "gateway.log")
        stack.callback(child.end)
        built = Plane(child, workers)
        stack.callback(lambda: built.client.close())  # noqa: PLW0108 - a test may put another client in its place
        yield built


def sent(totals: TrafficTotals) -> int:
    return totals.sent


def counted(plane: Plane) -> tuple[int, int, int]:
    """Requests, bad requests and fallbacks over all batches, each number counted once."""
    once = {(batch.boot, batch.sequence): batch for batch in plane.batches}
    rows = [row for batch in once.values() for row in batch.requests]
    return sum(row.total for row in rows), sum(row.bad for row in rows), sum(row.fell_back for row in rows)


def attempts(plane: Plane) -> Counter[str]:
    found: Counter[str] = Counter()
    for batch in plane.batches:
        for row in batch.attempts:
            found[f"{row.version} good"] += row.total - row.n_bad
            found[f"{row.version} bad"] += row.n_bad
    return found


def test_a_version_change_under_load_loses_nothing_and_counts_everything(plane: Plane) -> None:
    plane.route(0.0)
    plane.pull()

    def promote() -> None:
        for weight in (0.1, 0.5, 1.0, 0.0, 1.0):
            plane.route(weight)
            plane.pull()
            time.sleep(0.3)

    totals = plane.load(6, promote)
    plane.pull()
    assert totals.statuses == {200: sent(totals)}
    assert sent(totals) > RATE
    assert counted(plane) == (sent(totals), 0, 0)
    good = {str(version): attempts(plane)[f"{version} good"] for version in (CHAMPION, CHALLENGER)}
    assert good == dict(totals.versions)
    assert min(good.values()) > 0


def test_a_killed_worker_costs_no_client_an_answer(plane: Plane) -> None:
    plane.route(0.0)
    plane.pull()
    totals = plane.load(6, plane.workers[0].kill)
    plane.pull()
    assert totals.statuses == {200: sent(totals)}
    requests, bad, fell_back = counted(plane)
    assert (requests, bad) == (sent(totals), 0)
    assert attempts(plane)["m@1 bad"] == fell_back, "every lost attempt was made up for"
    assert attempts(plane)["m@1 good"] == sent(totals)


def test_nothing_is_lost_while_the_control_plane_is_away(plane: Plane) -> None:
    plane.route(0.3)
    plane.pull()
    totals = plane.load(6, lambda: None)
    plane.pull()
    assert len(plane.batches) > 3, "ticks were cut without being asked for"
    assert counted(plane)[:2] == (sent(totals), 0)
    assert sum(attempts(plane).values()) == sent(totals)


def test_a_restarted_gateway_delivers_what_it_counted_before(plane: Plane, tmp_path: Path) -> None:
    plane.route(0.3)
    totals = plane.load(3, lambda: None)
    plane.child.end()
    spec = GatewaySpec(name="g1", control_token=CONTROL_TOKEN, state_directory=str(tmp_path / "state"))
    again = start_child("serving.gateway.main", spec.model_dump_json(), tmp_path / "gateway.log")
    plane.client.close()
    plane.client = GatewayClient(f"http://127.0.0.1:{again.port}", CONTROL_TOKEN)
    try:
        plane.pull()
    finally:
        again.end()
    assert counted(plane)[:2] == (sent(totals), 0)
