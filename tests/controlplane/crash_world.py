"""A world that outlives its controllers: they run in processes of their own, and are killed at named steps."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.managers import BaseManager
from threading import Thread
from typing import Any

from sqlalchemy import Connection, event

from contracts.ids import VersionId
from contracts.rng import SeededRng
from contracts.wire.counted import Counted
from contracts.wire.routing import RoutingTable
from contracts.wire.telemetry import TelemetryReply
from controlplane.loop.chores import AtOnce
from controlplane.loop.controller import Controller
from controlplane.loop.world import World
from controlplane.store.database import Database
from controlplane.store.lease import Lease, Leases
from controlplane.store.rollouts import Rollouts, Step
from controlplane.stores import Stores
from serving.fleet.port import FleetState, Placement
from tests.controlplane.conftest import Bench, trust_the_disk
from tests.controlplane.scripted_traffic import SeenText

PORTS = ("clock", "fleet", "catalogue", "gateways")


@dataclass
class Tripwire:
    """Every step that leaves a mark outside passes here by its name; at the one named the process kills itself."""

    fatal: str | None = None
    passed: list[str] = field(default_factory=list)

    def at(self, step: str) -> None:
        if step not in self.passed:
            self.passed.append(step)
            if step == self.fatal:
                os.kill(os.getpid(), signal.SIGKILL)

    @contextmanager
    def around(self, step: str) -> Iterator[None]:
        self.at(f"before {step}")
        yield
        self.at(f"after {step}")


class WatchedDatabase(Database):
    """Passes the wire between the last statement of a tick and its commit, and after it."""

    def __init__(self, url: str, clock: Any, wire: Tripwire) -> None:
        super().__init__(url, clock)
        self.wire, self.writing = wire, ""
        event.listen(self.engine, "connect", trust_the_disk)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with super().write() as connection:
            yield connection
            step, self.writing = self.writing, ""
            if step:
                self.wire.at(f"before commit {step}")
        if step:
            self.wire.at(f"after commit {step}")


class WatchedRollouts(Rollouts):
    """Names each tick by the phase that it leads to, and why."""

    def __init__(self, database: WatchedDatabase, leases: Leases) -> None:
        super().__init__(database, leases)
        self._watched = database

    def save(self, connection: Connection, lease: Lease, steps: Any) -> None:
        chosen: list[Step] = list(steps)
        self._watched.writing = " ".join(f"{s.state.phase}:{s.state.reason}{':over' * s.is_over}" for s in chosen)
        super().save(connection, lease, chosen)


@dataclass
class WatchedFleet:
    fleet: Any
    wire: Tripwire

    def apply(self, placements: tuple[Placement, ...]) -> None:
        with self.wire.around(f"placing {' '.join(str(p.spec.version) for p in placements)}"):
            self.fleet.apply(placements)

    def drain(self, processes: frozenset[str]) -> None:
        self.fleet.drain(processes)

    def observe(self) -> FleetState:
        seen: FleetState = self.fleet.observe()
        return seen

    def close(self) -> None:
        self.fleet.close()


@dataclass
class WatchedGateways:
    gateways: Any
    wire: Tripwire

    def push(self, table: RoutingTable) -> None:
        routes = table.services["tags"]
        share = "" if routes.split is None else "all" if routes.split.weight == 1 else bool(routes.split.weight)
        with self.wire.around(f"routing {routes.champion} {share}"):
            self.gateways.push(table)

    def table(self) -> RoutingTable | None:
        found: RoutingTable | None = self.gateways.table()
        return found

    def fetch(self, counted: Counted) -> TelemetryReply:
        reply: TelemetryReply = self.gateways.fetch(counted)
        return reply


@dataclass
class WatchedCatalogue:
    catalogue: Any
    wire: Tripwire

    def move_alias(self, version: VersionId, alias: str, *, actor: str, reason: str) -> VersionId | None:
        with self.wire.around(f"alias {alias} {version}"):
            before: VersionId | None = self.catalogue.move_alias(version, alias, actor=actor, reason=reason)
        return before

    def __getattr__(self, name: str) -> Any:
        return getattr(self.catalogue, name)


class Stage:
    """A bench whose clock, fleet, catalogue and gateways are handed to controllers in other processes."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        bench.stores.close()
        parts = {"clock": bench.clock, "fleet": bench.fleet, "catalogue": bench.catalogue}
        parts["gateways"] = bench.world.data_plane
        manager: Any = type("Ports", (BaseManager,), {})
        for name, part in parts.items():
            manager.register(name, callable=lambda part=part: part)
        server = manager(address=str(bench.folder / "ports"), authkey=b"crash").get_server()
        Thread(target=server.serve_forever, daemon=True).start()
        self._manager = manager

    def play(self, fatal: str | None = None, *, most_ticks: int = 200) -> tuple[int, list[str]]:
        """Let a controller of its own process run the rollout to its end; return how it ended, and what it passed."""
        told = self.bench.folder / "passed"
        told.unlink(missing_ok=True)
        self.bench.stores.close()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                wire = Tripwire(fatal)
                status = 0 if self._control(wire, most_ticks) else 2
                told.write_text("\n".join(wire.passed))
            finally:
                os._exit(status)
        _, status = os.waitpid(pid, 0)
        return status, told.read_text().split("\n") if told.exists() else []

    def _control(self, wire: Tripwire, most_ticks: int) -> bool:
        ports = self._manager(address=str(self.bench.folder / "ports"), authkey=b"crash")
        ports.connect()
        clock, fleet, catalogue, gateways = (getattr(ports, name)() for name in PORTS)
        database = WatchedDatabase(f"sqlite:///{self.bench.folder / 'roost.db'}", clock, wire)
        stores = Stores.on(database, b"k" * 32, clock)
        stores = replace(stores, rollouts=WatchedRollouts(database, stores.leases))
        world = World(
            clock,
            SeededRng(5),
            WatchedCatalogue(catalogue, wire),
            WatchedFleet(fleet, wire),
            WatchedGateways(gateways, wire),
        )
        controller = Controller(
            world,
            stores,
            holder=str(os.getpid()),
            scorers={SeenText.name: SeenText()},
            warm_up_prompts=(),
            executor=AtOnce(),
        )
        for _ in range(most_ticks):
            clock.advance(1.0)
            controller.step()
            if not stores.rollouts.living() and controller.leads:
                clock.advance(1.0)
                controller.step()
                return True
        return False
