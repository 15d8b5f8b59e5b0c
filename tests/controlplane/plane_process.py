"""A control plane in a process of its own, over a real gateway and workers that somebody else runs."""

import json
import sys
import threading
from pathlib import Path

from contracts.clock import SystemClock
from contracts.ids import VersionId
from contracts.rng import SystemRng
from contracts.wire.routing import Endpoint
from contracts.wire.worker import WorkerHealth, WorkerState
from controlplane.loop.controller import Controller
from controlplane.loop.world import World
from controlplane.store.migrate import open_store
from controlplane.stores import Stores
from registry.catalogue import Registration
from registry.fake_catalogue import FakeCatalogue
from serving.fleet.port import FleetState, Placement, Replica, ReplicaState
from serving.gateway.client import GatewayClient

LEASE_S = 2.0
TICK_S = 0.1


class GivenFleet:
    """A fleet whose workers run already: it only shows those that are placed."""

    def __init__(self, urls: dict[str, str]) -> None:
        self._urls = urls
        self._placements: tuple[Placement, ...] = ()

    def apply(self, placements: tuple[Placement, ...]) -> None:
        self._placements = placements

    def observe(self) -> FleetState:
        return FleetState(self._placements, tuple(self._replica(placed) for placed in self._placements))

    def drain(self, processes: frozenset[str]) -> None:
        """Nobody asks for that here."""

    def close(self) -> None:
        """Leave them."""

    def _replica(self, placed: Placement) -> Replica:
        version, name = placed.spec.version, f"v{placed.spec.version.number}-0"
        endpoint = Endpoint(replica=name, url=self._urls[str(version)], max_concurrency=8)
        health = WorkerHealth(state=WorkerState.READY, version=version, digest=placed.spec.digest)
        return Replica(version, name, ReplicaState.READY, endpoint, health)


def make_catalogue(folder: Path) -> FakeCatalogue:
    """Return a catalogue with m@1, the champion, and m@2."""
    catalogue = FakeCatalogue()
    for _ in range(2):
        catalogue.register("m", Registration(folder))
    catalogue.move_alias(VersionId("m", 1), "champion", actor="test", reason="the first")
    return catalogue


def main() -> None:
    """Decide until killed."""
    told = json.loads(sys.argv[1])
    folder = Path(told["folder"])
    client = GatewayClient(told["gateway"], told["token"])
    world = World(SystemClock(), SystemRng(), make_catalogue(folder), GivenFleet(told["workers"]), client)
    stores = Stores.on(open_store(told["database"]), b"k" * 32)
    controller = Controller(world, stores, holder=told["name"], scorers={}, warm_up_prompts=(), lease_s=LEASE_S)
    controller.run(threading.Event(), TICK_S)


if __name__ == "__main__":
    main()
