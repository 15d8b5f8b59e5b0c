"""A fleet without processes, for tests: workers that are ready when told so."""

from contracts.ids import VersionId
from contracts.wire.routing import Endpoint
from contracts.wire.worker import WorkerHealth, WorkerState
from serving.fleet.port import FleetState, Placement, Replica, ReplicaState

STATES = {
    WorkerState.READY: ReplicaState.READY,
    WorkerState.LOADING: ReplicaState.STARTING,
    WorkerState.FAILED: ReplicaState.FAILED,
}


class FakeFleet:
    """Keeps what was placed; ``states`` sets a version's state, ``ready`` otherwise."""

    def __init__(self) -> None:
        self.running: dict[VersionId, Placement] = {}
        self.states: dict[VersionId, WorkerState] = {}
        self._begun: dict[str, int] = {}

    def apply(self, placements: tuple[Placement, ...]) -> None:
        """Note what should run as running."""
        self.running = {placement.spec.version: placement for placement in placements}

    def drain(self, processes: frozenset[str]) -> None:
        """Put another process in the place of each that is named."""
        for replica in self.observe().replicas if processes else ():
            if replica.process in processes:
                name = f"{replica.version}-{replica.name}"
                self._begun[name] = self._begun.get(name, 0) + 1

    def observe(self) -> FleetState:
        """Return the replicas of each version."""
        placed = tuple(self.running.values())
        return FleetState(placed, tuple(self._replica(p, index) for p in placed for index in range(p.replicas)))

    def close(self) -> None:
        """Stop everything."""
        self.running.clear()

    def _replica(self, placement: Placement, index: int) -> Replica:
        version, name = placement.spec.version, f"v{placement.spec.version.number}-{index}"
        port = 10_000 + version.number + 1000 * index
        state = self.states.get(version, WorkerState.READY)
        return Replica(
            version,
            name,
            STATES[state],
            Endpoint(replica=name, url=f"http://127.0.0.1:{port}"),
            WorkerHealth(state=state, version=version, digest=placement.spec.digest),
            process=f"{version}-{name}-{self._begun.get(f'{version}-{name}', 0)}",
        )
