"""Before the first case: versions are registered, the first one serves, and its speed tells how many users may come."""

import tempfile
import time
from pathlib import Path

from contracts.errors import Unavailable
from contracts.ids import CHAMPION, VersionId
from contracts.specs.service import ServiceSpec
from contracts.wire.worker import FaultDrill, WorkerState
from controlplane.demo.model.versions import assemble, find_version
from controlplane.loop.effects import warm_up, worker_spec
from controlplane.loop.routing import DesiredTraffic
from controlplane.wiring import System
from registry.catalogue import Catalogue, Registration, VersionRecord
from serving.fleet.port import Placement, place

LOADING_TIMEOUT_S = 120.0
BUSY_SHARE = 0.5
HIGHEST_RATE = 6.0


def register(catalogue: Catalogue, spec: ServiceSpec, name: str) -> VersionRecord:
    """Assemble a demo version and register it under the service's model."""
    version = find_version(name)
    with tempfile.TemporaryDirectory() as folder:
        directory = assemble(name, Path(folder) / "pipeline")
        registration = Registration(
            directory,
            description=f"{name}: {version.lesson}",
            defaults=version.defaults,
            faults=FaultDrill.model_validate(version.faults),
        )
        return catalogue.register(spec.model, registration)


def serve_first(system: System, spec: ServiceSpec, version: VersionId) -> None:
    """Serve all traffic from a version and make it champion.

    Raises:
        Unavailable: when it does not get ready, or the gateway takes no routes.
    """
    place(system.world.fleet, Placement(spec=worker_spec(system.world.catalogue, version)))
    _await_ready(system, version)
    system.world.catalogue.move_alias(version, CHAMPION, actor="demo", reason="the first version")
    system.world.desk.want(DesiredTraffic(spec, champion=version))
    if not system.world.desk.reconcile():
        raise Unavailable("the gateway took no routing table", hint=f"read {system.settings.logs / 'gateway.log'}")


def measure_rate(system: System, version: VersionId, prompts: tuple[str, ...]) -> float:
    """Return the requests per second that keep one worker of ``version`` busy half of the time."""
    warm_up(system.world.fleet, version, prompts[:1])
    start_s = system.world.clock.monotonic_s()
    warm_up(system.world.fleet, version, prompts)
    latency_s = (system.world.clock.monotonic_s() - start_s) / len(prompts)
    return min(max(BUSY_SHARE / latency_s, 1.0), HIGHEST_RATE)


def _await_ready(system: System, version: VersionId) -> None:
    deadline_s = system.world.clock.monotonic_s() + LOADING_TIMEOUT_S
    while system.world.clock.monotonic_s() < deadline_s:
        health = system.world.fleet.observe().health(version)
        if health is not None and health.state is WorkerState.READY:
            return
        if health is not None and health.state is WorkerState.FAILED:
            break
        time.sleep(0.1)
    raise Unavailable(f"{version} does not get ready", hint=f"read {system.settings.logs / f'{version}.log'}")
