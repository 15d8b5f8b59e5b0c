"""A rollout whose traffic passes no gateway: the controller decides on what Prometheus tells, or on its silence."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import Unavailable
from contracts.ids import VersionId
from contracts.rng import SeededRng
from contracts.wire.counted import Counted
from contracts.wire.routing import RoutingTable
from contracts.wire.telemetry import TelemetryBatch, TelemetryReply
from controlplane.loop.ports import DataPlane
from controlplane.telemetry_sources.joined import JoinedDataPlane
from controlplane.telemetry_sources.prometheus import PrometheusSource
from controlplane.telemetry_sources.prometheus_server import Series
from controlplane.telemetry_sources.settings import PrometheusService
from rollout.phases import Phase
from tests.controlplane.conftest import Bench

SPEC = """
service: tags
model: m
slos: {availability: {objective: 99.5%}}
rollout: {relative: null, bake: 20s, max_duration: 30m, max_staleness: 10s, on_timeout: pause, warmup: {prompts: 0}}
"""
RATE = 40


class EmptyGateways:
    """Gateways that take tables and see no traffic, but report each second that they saw none."""

    def __init__(self, bench: Bench) -> None:
        self._bench, self._tables = bench, bench.world.data_plane

    def push(self, table: RoutingTable) -> None:
        self._tables.push(table)

    def table(self) -> RoutingTable | None:
        return self._tables.table()

    def fetch(self, counted: Counted) -> TelemetryReply:
        now_s, table = self._bench.clock.now_s(), self.table()
        batch = TelemetryBatch(
            gateway="g",
            boot="b",
            sequence=round(now_s),
            start_s=now_s - 1,
            end_s=now_s,
            table_revision=table.revision if table is not None else 0,
        )
        return TelemetryReply(boot="b", batches=(batch,))


class Users:
    """Users beside the gateways, and the Prometheus that scrapes whom they ask, once a second."""

    def __init__(self, bench: Bench) -> None:
        self._bench, self._rng = bench, SeededRng(3)
        self.bad: dict[int, float] = {}
        self.is_down = self.is_away = False
        self._sums: dict[tuple[str, int], float] = {}
        self._samples: dict[tuple[str, int], list[tuple[float, float]]] = {}

    def ask(self) -> None:
        table = self._bench.world.data_plane.table()
        routes = table.services.get("tags") if table is not None else None
        if routes is None:
            return
        for _ in range(RATE):
            split = routes.split
            version = split.challenger if split and self._rng.uniform() < split.weight else routes.champion
            bad = self._rng.uniform() < self.bad.get(version.number, 0.0)
            for name, amount in (("asked_total", 1.0), ("failed_total", float(bad))):
                self._sums[name, version.number] = self._sums.get((name, version.number), 0.0) + amount
        for key, value in self._sums.items():
            if not (self.is_down and key[1] == 2):
                self._samples.setdefault(key, []).append((self.now_s(), value))

    def now_s(self) -> float:
        if self.is_away:
            raise Unavailable("Prometheus is away")
        return self._bench.clock.now_s()

    def samples(self, selector: str, *, at_s: float, length_s: float) -> list[Series]:
        return [
            Series(labels(number), tuple(sample for sample in found if sample[0] >= at_s - length_s))
            for (name, number), found in self._samples.items()
            if name == selector and found[-1][0] >= at_s - length_s
        ]

    def values(self, query: str, *, at_s: float) -> list[tuple[dict[str, str], float]]:
        up = {number: float(not (self.is_down and number == 2)) for _, number in self._samples}
        return [(labels(number), at_s if query.startswith("timestamp") else up[number]) for number in up]


def labels(number: int) -> dict[str, str]:
    return {"job": "app", "instance": f"pod-{number}", "version": f"m@{number}"}


class Outside:
    """A bench whose users are told of by Prometheus."""

    def __init__(self, folder: Path) -> None:
        self.bench = Bench(folder, SPEC)
        self.users = Users(self.bench)
        service = PrometheusService(total="asked_total", bad="failed_total")
        server: Any = self.users
        source = PrometheusSource(server, service, self.bench.spec, clock=self.bench.clock, rng=SeededRng(1))
        gateways: DataPlane = EmptyGateways(self.bench)
        plane = JoinedDataPlane(gateways, {"tags": lambda: source})
        object.__setattr__(self.bench.world, "data_plane", plane)
        self.bench.controller = self.bench.control()
        self.bench.controller._speaks_for = plane.speaks_for

    def run(self, seconds: int) -> Phase:
        """Let seconds pass; return the phase at their end, or where the rollout ended."""
        for _ in range(seconds):
            self.bench.clock.advance(1.0)
            if not self.users.is_away:
                self.users.ask()
            self.bench.controller.step()
            row = self.bench.stores.rollouts.of_service("tags")[0]
            if row.ended:
                break
        return Phase(row.phase)

    def outcome(self) -> str:
        decision = self.bench.controller.snapshot().services["tags"].decision
        assert decision is not None
        return decision.verdicts[0].outcome.value


@pytest.fixture
def outside(tmp_path: Path, warm_up_calls: list[str]) -> Iterator[Outside]:
    found = Outside(tmp_path / "bench")
    found.bench.begin()
    yield found
    found.bench.controller.close()
    found.bench.stores.close()


def test_a_good_version_is_promoted_on_what_prometheus_tells(outside: Outside) -> None:
    assert outside.run(900) is Phase.PROMOTED


def test_a_bad_version_is_rolled_back_on_what_prometheus_tells(outside: Outside) -> None:
    outside.users.bad[2] = 0.3
    assert outside.run(900) is Phase.ROLLED_BACK


@pytest.mark.parametrize("silence", ["is_down", "is_away"])
def test_silence_promotes_nothing_although_gateways_report_that_all_is_quiet(outside: Outside, silence: str) -> None:
    assert outside.run(20) is Phase.PROGRESSING
    setattr(outside.users, silence, True)
    assert outside.run(60) is Phase.PROGRESSING
    assert outside.outcome() == "no-data"
    setattr(outside.users, silence, False)
    assert outside.run(900) is Phase.PROMOTED


def test_both_versions_are_heard_of(outside: Outside) -> None:
    outside.run(30)
    decision = outside.bench.controller.snapshot().services["tags"].decision
    assert decision is not None
    assert decision.verdicts[0].n > 0
    assert VersionId.parse(decision.state.challenger) == outside.bench.challenger
