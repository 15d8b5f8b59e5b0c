"""A fleet without processes, for tests: workers that are ready when told so."""

from contracts.ids import VersionId
from contracts.wire.routing import Endpoint
from contracts.wire.worker import WorkerHealth, WorkerSpec, WorkerState


class FakeFleet:
    """Keeps what was started; ``states`` sets a version's state, ``ready`` otherwise."""

    def __init__(self) -> None:
        self.running: dict[VersionId, WorkerSpec] = {}
        self.states: dict[VersionId, WorkerState] = {}

    def start(self, spec: WorkerSpec) -> None:
        """Note the version as running."""
        self.running.setdefault(spec.version, spec)

    def stop(self, version: VersionId) -> None:
        """Forget the version."""
        self.running.pop(version, None)

    def endpoints(self, version: VersionId) -> tuple[Endpoint, ...]:
        """Return one endpoint for a running version."""
        if version not in self.running:
            return ()
        return (Endpoint(replica=f"v{version.number}-0", url=f"http://127.0.0.1:{10_000 + version.number}"),)

    def health(self, version: VersionId) -> WorkerHealth | None:
        """Return the state that a test set, ready otherwise; None when the version doesn't run."""
        spec = self.running.get(version)
        if spec is None:
            return None
        state = self.states.get(version, WorkerState.READY)
        return WorkerHealth(state=state, version=version, digest=spec.digest)

    def close(self) -> None:
        """Stop everything."""
        self.running.clear()
