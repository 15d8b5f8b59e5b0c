"""Wiring: the embedded system, put together from its parts, on one machine and one folder."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version as distribution_version

from contracts.clock import Clock, SystemClock
from contracts.rng import Rng, SystemRng
from contracts.wire.worker import GatewaySpec
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
    """
    clock, rng = clock or SystemClock(), rng or SystemRng()
    settings.home.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        token = rng.token(24)
        spec = GatewaySpec(name="gateway-1", control_token=token, state_directory=str(settings.gateway_state.resolve()))
        child = start_child("serving.gateway.main", spec.model_dump_json(), settings.logs / "gateway.log")
        stack.callback(child.end)
        url = f"http://127.0.0.1:{child.port}"
        gateway = GatewayClient(url, token)
        stack.callback(gateway.close)
        fleet = LocalFleet(settings.logs)
        stack.callback(fleet.close)
        catalogue = MlflowCatalogue(settings.mlflow_uri, artifacts=settings.artifacts, manifests=settings.manifests)
        ledger = FileLedger(settings.ledger, code_version=distribution_version("roost"))
        world = World(clock, rng, catalogue, fleet, gateway, RoutingDesk(gateway, fleet), ledger)
        yield System(settings, world, url)
