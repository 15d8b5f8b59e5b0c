"""What one control plane costs that decides on many rollouts every second.

Run from the repository root::

    python -m benchmarks.controller                  # 1000 rollouts for two minutes
    python -m benchmarks.controller --quick          # 1000 rollouts for twenty seconds

Each rollout is of a service and a model of its own, with an availability and a latency objective, at one request a
second of each version. Every tick the controller reads its agenda, parses one telemetry batch with all services in it,
looks at each as a guard, decides on every rollout, and writes states, decisions, watches and cursors in one fenced
transaction on SQLite with ``synchronous=FULL``; all of that is the real code, only fleet, catalogue and gateway are
stand-ins. CPU is this process's.
"""

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from contracts.clock import SystemClock
from contracts.ids import VersionId, VersionRef
from contracts.rng import SeededRng
from contracts.specs.loading import load_service_spec
from contracts.wire.counted import Counted
from contracts.wire.routing import RoutingTable
from contracts.wire.telemetry import AttemptCounts, Exposure, RequestCounts, TelemetryBatch, TelemetryReply
from controlplane.guard.guard import make_guard
from controlplane.loop.chores import AtOnce
from controlplane.loop.controller import Controller
from controlplane.loop.evidence import sliced_lanes
from controlplane.loop.world import World
from controlplane.server.collector import collect_seldom
from controlplane.store.migrate import open_store
from controlplane.store.rollouts import Start
from controlplane.stores import Stores
from registry.catalogue import Registration, VersionRecord
from registry.fake_catalogue import FakeCatalogue
from rollout.machine import start
from rollout.policy import compile_policy
from serving.fleet.fake import FakeFleet
from serving.fleet.port import FleetState, Placement

SPEC = """
service: s{number:04d}
model: m{number:04d}
slos: {{availability: {{objective: 99.5%}}, fast: {{objective: 95%, threshold: 2s}}}}
rollout: {{max_duration: 4h, warmup: {{prompts: 0}}}}
"""
LIMIT = 0.5
WARM_UP_TICKS = 5


class StillFleet(FakeFleet):
    """A fleet whose workers are as they were until it is told what should run: looking at it costs nothing."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: FleetState | None = None

    def apply(self, placements: tuple[Placement, ...]) -> None:
        """Note what should run as running."""
        super().apply(placements)
        self._seen = None

    def observe(self) -> FleetState:
        """Return what was seen before."""
        if self._seen is None:
            self._seen = super().observe()
        return self._seen


class ManyModels:
    """A stand-in catalogue for each model, so that what is asked of one costs the same however many there are."""

    def __init__(self) -> None:
        self._models: defaultdict[str, FakeCatalogue] = defaultdict(FakeCatalogue)

    def register(self, model: str, registration: Registration) -> VersionRecord:
        """Give the next version of a model its number."""
        return self._models[model].register(model, registration)

    def get(self, reference: VersionRef) -> VersionRecord:
        """Return a version by number or alias."""
        return self._models[reference.model].get(reference)

    def list_versions(self, model: str) -> list[VersionRecord]:
        """Return a model's versions, newest first."""
        return self._models[model].list_versions(model)

    def fetch(self, version: VersionId) -> Path:
        """Return the directory that was registered."""
        return self._models[version.model].fetch(version)

    def move_alias(self, version: VersionId, alias: str, *, actor: str, reason: str) -> VersionId | None:
        """Point an alias at a version."""
        return self._models[version.model].move_alias(version, alias, actor=actor, reason=reason)


class BusyGateway:
    """One batch a tick with the traffic of every service, as JSON like a gateway's."""

    def __init__(self, services: Sequence[str]) -> None:
        self._services, self._random, self._sequence = services, np.random.default_rng(7), 0
        self._since_s = time.time()
        self._table: RoutingTable | None = None
        self._answer = b""

    def push(self, table: RoutingTable) -> None:
        """Follow a table."""
        self._table = table

    def table(self) -> RoutingTable | None:
        """Return the table that is followed."""
        return self._table

    def fetch(self, counted: Counted) -> TelemetryReply:
        """Read what was prepared, as it would come over the wire."""
        return TelemetryReply.model_validate_json(self._answer)

    def prepare(self) -> None:
        """Serve a second of traffic; not the controller's cost."""
        now_s, revision = time.time(), self._table.revision if self._table is not None else 0
        batch = TelemetryBatch(
            gateway="g",
            boot="b",
            sequence=self._sequence,
            start_s=self._since_s,
            end_s=now_s,
            table_revision=revision,
            attempts=tuple(part for name in self._services for part in self._attempts(name)),
            requests=tuple(RequestCounts(service=name, lane="default", total=2) for name in self._services),
            exposures=tuple(self._exposures()),
        )
        self._since_s, self._sequence = now_s, self._sequence + 1
        reply = TelemetryReply(boot="b", batches=(batch,))
        self._answer = reply.model_dump_json(exclude_defaults=True).encode()

    def _attempts(self, service: str) -> list[AttemptCounts]:
        routes = self._table.services.get(service) if self._table is not None else None
        split = routes.split if routes is not None else None
        return [
            AttemptCounts(
                service=service,
                version=VersionId(f"m{service[1:]}", number),
                replica=f"v{number}-0",
                lane="default",
                total=1,
                slow={"fast": int(self._random.random() < 0.03)},
                latency_sum_s=1.0,
                weight=split.weight if split is not None and split.weight else None,
            )
            for number in (1, 2)
        ]

    def _exposures(self) -> list[Exposure]:
        services = self._table.services.values() if self._table is not None else ()
        return [
            Exposure(
                service=one.service, rollout_id=one.split.rollout_id, weight=one.split.weight, champion=1, challenger=1
            )
            for one in services
            if one.split is not None and one.split.weight > 0
        ]


def main() -> None:
    """Run the benchmark and print what it found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="twenty seconds instead of two minutes")
    parser.add_argument("--rollouts", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), options.rollouts, ticks=20 if options.quick else 120)


def measure(folder: Path, rollouts: int, *, ticks: int) -> None:
    """Tick once a second, and print the CPU of it."""
    clock, catalogue, fleet = SystemClock(), ManyModels(), StillFleet()
    stores = Stores.on(open_store(f"sqlite:///{folder / 'roost.db'}"), b"k" * 32)
    for number in range(2 * rollouts):
        catalogue.register(f"m{number // 2:04d}", Registration(folder))
    names = [begin(stores, number) for number in range(rollouts)]
    gateway = BusyGateway(names)
    world = World(clock, SeededRng(1), catalogue, fleet, gateway)
    guard = make_guard(stores, clock)
    controller = Controller(
        world, stores, holder="bench", scorers={}, guard=guard, warm_up_prompts=(), executor=AtOnce()
    )
    walls, cpus = [], []
    collect_seldom()  # as the server does
    for tick in range(ticks + WARM_UP_TICKS):
        gateway.prepare()
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        controller.step()
        if tick >= WARM_UP_TICKS:
            cpus.append(time.process_time() - cpu_s)
            walls.append(time.perf_counter() - wall_s)
        time.sleep(max(0.0, 1.0 - (time.perf_counter() - wall_s)))
    report(controller, stores, folder, walls=walls, cpus=cpus)
    controller.close()
    stores.close()


def begin(stores: Stores, number: int) -> str:
    """Apply a service, and start its rollout."""
    spec = load_service_spec(SPEC.format(number=number))
    revision = stores.services.apply(spec, actor="bench", reason="to measure")
    policy = compile_policy(spec.rollout, spec.objectives(), slices=sliced_lanes(spec))
    state = start(
        policy,
        at_s=time.time(),
        rollout_id=f"{spec.service}-2",
        champion=f"{spec.model}@1",
        challenger=f"{spec.model}@2",
    )
    wish = Start(
        service=spec.service,
        service_revision=revision.revision,
        digest="sha256:2",
        salt=f"{number:016x}",
        state=state,
        actor="bench",
        reason="to measure",
    )
    with stores.database.write() as connection:
        stores.services.crown(connection, spec.service, f"{spec.model}@1")
        stores.rollouts.start(connection, wish)
    return spec.service


def report(
    controller: Controller, stores: Stores, folder: Path, *, walls: Sequence[float], cpus: Sequence[float]
) -> None:
    """Print what was measured, and whether it is within the limit."""
    views = controller.snapshot().services.values()
    phases = {view.decision.state.phase.value for view in views if view.decision is not None}
    written = sum(file.stat().st_size for file in folder.glob("roost.db*"))
    decisions = stores.ledger.verify()
    share = statistics.fmean(cpus)  # ticks are a second apart
    print(f"{len(views)} rollouts in phases {', '.join(sorted(phases))}; {len(cpus)} ticks, one a second")
    print(f"CPU of a tick: median {statistics.median(cpus) * 1e3:.0f} ms, worst {max(cpus) * 1e3:.0f} ms")
    print(f"wall time of a tick: median {statistics.median(walls) * 1e3:.0f} ms, worst {max(walls) * 1e3:.0f} ms")
    print(f"database: {written / 2**20:.0f} MiB, {decisions} decisions in a verified chain")
    print(f"share of one core: {share:.0%}, {'within' if share < LIMIT else 'NOT within'} the limit of {LIMIT:.0%}")


if __name__ == "__main__":
    main()
