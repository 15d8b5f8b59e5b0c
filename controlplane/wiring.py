"""Wiring: the embedded system, put together from its parts, on one machine and one folder."""

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version as distribution_version
from pathlib import Path

from contracts.clock import Clock, SystemClock
from contracts.errors import Conflict, InvalidInput
from contracts.rng import Rng, SystemRng
from contracts.wire.gateway import GatewaySpec
from controlplane.loop.reconcile import World
from controlplane.loop.routing import RoutingDesk
from controlplane.settings import Settings
from controlplane.store.ledger import FileLedger
from registry.mlflow_catalogue import MlflowCatalogue
from serving.fleet.local import LocalFleet
from serving.gateway.client import GatewayClient
from serving.process import start_child


@dataclass(frozen=True)
class System:
    """A running system: the ports that loops act through, where clients knock, and where its state lies."""

    settings: Settings
    world: World
    gateway_url: str


@contextmanager
def embedded_system(settings: Settings, clock: Clock | None = None, rng: Rng | None = None) -> Iterator[System]:
    """Start everything embedded: MLflow's store in this process, gateway and workers as children on loopback.

    All children end with the block, and with this process however it ends.

    Raises:
        InvalidInput: when the folder can't be written.
        Conflict: when another process runs on it.
    """
    clock, rng = clock or SystemClock(), rng or SystemRng()
    with ExitStack() as stack:
        stack.enter_context(_occupied(settings.home))
        token = rng.token(24)
        spec = GatewaySpec(name="gateway-1", control_token=token, state_directory=str(settings.gateway_state.resolve()))
        child = start_child("serving.gateway.main", spec.model_dump_json(), settings.logs / "gateway.log")
        stack.callback(child.end)
        url = f"http://127.0.0.1:{child.port}"
        gateway = GatewayClient(url, token)
        stack.callback(gateway.close)
        fleet = LocalFleet(settings.fleet, logs=settings.logs)
        stack.callback(fleet.close)
        catalogue = MlflowCatalogue(settings.mlflow_uri, artifacts=settings.artifacts, manifests=settings.manifests)
        ledger = FileLedger(settings.ledger, code_version=distribution_version("roost"))
        # A new leader outranks whoever wrote the routing table that the gateway kept.
        desk = RoutingDesk(gateway, fleet, fence=gateway.fence() + 1)
        world = World(clock, rng, catalogue, fleet, gateway, desk, ledger)
        yield System(settings, world, url)


@contextmanager
def _occupied(home: Path) -> Iterator[None]:
    """Hold a system's folder for this process alone; the operating system lets go of it however the process ends."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = (home / "lock").open("w")
    except OSError as error:
        raise InvalidInput(
            f"home: {home} can't be used: {error.strerror}", hint="name a folder you may write"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"another process runs on {home}", hint="end it, or name another folder") from None
        yield
