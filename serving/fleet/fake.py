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

    def apply(self, placements: tuple[Placement, ...]) -> None:
        """Note what should run as running."""
        self.running = {placement.spec.version: placement for placement in placements}

    def observe(self) -> FleetState:
        """Return one replica for each version."""
        return FleetState(tuple(self.running.values()), tuple(self._replica(p) for p in self.running.values()))

    def close(self) -> None:
        """Stop everything."""
        self.running.clear()

    def _replica(self, placement: Placement) -> Replica:
        version, name = placement.spec.version, f"v{placement.spec.version.number}-0"
        state = self.states.get(version, WorkerState.READY)
        return Replica(
            version,
            name,
            STATES[state],
            Endpoint(replica=name, url=f"http://127.0.0.1:{10_000 + version.number}"),
            WorkerHealth(state=state, version=version, digest=placement.spec.digest),
        )
