"""Wiring: the embedded system, put together from its parts, on one machine and one folder."""

import fcntl
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version as distribution_version
from pathlib import Path

from contracts.clock import Clock, SystemClock
from contracts.errors import Conflict, InvalidInput
from contracts.events import Event
from contracts.rng import Rng, SystemRng
from contracts.wire.gateway import GatewaySpec
from controlplane.guard.budgets import RecordedBudgets
from controlplane.guard.freezing import Freezing
from controlplane.guard.guard import make_guard
from controlplane.hooks import Hooks, read_secret
from controlplane.loop.book import GATEWAY
from controlplane.loop.controller import Controller
from controlplane.loop.room import Means
from controlplane.loop.world import World
from controlplane.reviewing.desk import ReviewDesk
from controlplane.reviewing.evidence import PreferenceEvidence
from controlplane.server.scorers import InstalledScorers
from controlplane.settings import Settings, make_home
from controlplane.store.history import History
from controlplane.store.ledger import FileLedger
from controlplane.store.reviews import ReviewStore
from controlplane.stores import Stores, open_stores
from controlplane.telemetry_sources.opening import joined_telemetry
from controlplane.watching import ServiceWatchers
from evaluation.scorers.port import Scorer
from registry.mlflow_catalogue import MlflowCatalogue
from serving.fleet.budget import MemoryBudget
from serving.fleet.local import LocalFleet
from serving.fleet.reports import read_report
from serving.gateway.client import GatewayClient
from serving.gateway.keeper import GatewayKeeper, end_process

WORKER_GRACE_S = 10.0


@dataclass(frozen=True)
class System:
    """A running system: the ports that it acts through, its stores, who decides, and where clients knock.

    The controller decides nothing before its first `step`, or its `run`. Its guard watches what serves, and enforces
    kills and freezes; ``freezing`` tells who asks for a rollout why it may not begin.
    """

    settings: Settings
    world: World
    stores: Stores
    controller: Controller
    freezing: Freezing
    gateway_url: str


@contextmanager
def embedded_system(
    settings: Settings,
    clock: Clock | None = None,
    rng: Rng | None = None,
    *,
    gateway_port: int = 0,
    leave: Callable[[], bool] = lambda: False,
    scorers: Mapping[str, Scorer] | None = None,
    tell: Callable[[Event], None] = lambda event: None,
) -> Iterator[System]:
    """Start everything embedded: MLflow's store in this process, gateway and workers as processes on loopback.

    Gateway and workers that serve already are taken over. ``leave`` is asked at the end: whether they serve on, for
    the next system on this folder; if not, they end with the block. A process that is killed leaves them, too: they
    serve on with what they have, and end by themselves when no next system comes.

    Raises:
        InvalidInput: when the folder can't be written.
        Conflict: when another process runs on it.
        Unavailable: when database or gateway don't answer.
    """
    clock, rng = clock or SystemClock(), rng or SystemRng()
    with ExitStack() as stack:
        stack.enter_context(_occupied(settings.home))
        stores = open_stores(settings)
        stack.callback(stores.close)
        _take_over_ledger(settings, stores)
        gateway = _keep_gateway(stack, settings, rng, port=gateway_port, leave=leave)
        client = GatewayClient(gateway.url, gateway.control_token)
        stack.callback(client.close)
        fleet = LocalFleet(
            settings.fleet, logs=settings.logs, outlives=True, memory_budget_bytes=settings.fleet_memory_bytes
        )
        stack.callback(_close_fleet, fleet, settings, leave)
        catalogue = MlflowCatalogue(settings.mlflow_uri, artifacts=settings.artifacts, manifests=settings.manifests)
        plane = stack.enter_context(
            joined_telemetry(settings.home, client, lambda name: stores.services.get(name).spec, clock, rng)
        )
        means = Means(MemoryBudget(settings.fleet_memory_bytes).limit_bytes, os.cpu_count())
        world = World(clock, rng, catalogue, fleet, plane, means)
        known = scorers if scorers is not None else InstalledScorers()
        history = stack.enter_context(closing(History(settings.history_uri)))
        freezing = Freezing(stores, clock, RecordedBudgets(history, clock))
        controller = Controller(
            world,
            stores,
            holder=f"{socket.gethostname()}-{os.getpid()}",
            scorers=known,
            tell=tell,
            watchers=_open_watchers(stack, settings, history, world, known),
            guard=make_guard(stores, clock, freezing),
            reconcile_alias=catalogue.aliases.reconcile,
            speaks_for=plane.speaks_for,
        )
        stack.callback(controller.close)
        yield System(settings, world, stores, controller, freezing, gateway.url)


def _keep_gateway(
    stack: ExitStack, settings: Settings, rng: Rng, *, port: int, leave: Callable[[], bool]
) -> GatewayKeeper:
    spec = GatewaySpec(
        name=GATEWAY, control_token=rng.token(24), state_directory=str(settings.gateway_state.resolve()), port=port
    )
    keeper = GatewayKeeper(spec, settings.gateway_state, settings.logs)
    stack.callback(lambda: keeper.close(leave=leave()))
    return keeper


def _close_fleet(fleet: LocalFleet, settings: Settings, leave: Callable[[], bool]) -> None:
    """Let go of the workers, and end them unless they are to serve on."""
    fleet.close()
    if leave():
        return
    # One that had to be killed leaves its report behind.
    while files := list((settings.fleet / "workers").glob("*.json")):
        for file in files:
            report = read_report(file)
            if report is not None:
                end_process(report, WORKER_GRACE_S)
            file.unlink(missing_ok=True)


def _open_watchers(
    stack: ExitStack, settings: Settings, history: History, world: World, scorers: Mapping[str, Scorer]
) -> ServiceWatchers:
    """Return what keeps every service's telemetry in the history, and its flagged outputs in the review queue."""
    reviews = stack.enter_context(closing(ReviewStore(settings.reviews_uri)))
    hooks = None
    with suppress(InvalidInput):
        hooks = Hooks(settings.hooks_uri, world.clock, read_secret(None))
        stack.callback(hooks.close)
    desk = ReviewDesk(reviews, PreferenceEvidence(), world.clock, world.rng)
    return ServiceWatchers(history, scorers, world.clock, reviews=desk, hooks=hooks)


def _take_over_ledger(settings: Settings, stores: Stores) -> None:
    """Bring the decisions of a home that kept them in a file into the database, once."""
    if settings.ledger.is_file():
        with suppress(Conflict):
            stores.ledger.take_over(FileLedger(settings.ledger, code_version=distribution_version("roost")))


@contextmanager
def _occupied(home: Path) -> Iterator[None]:
    """Hold a system's folder for this process alone; the operating system lets go of it however the process ends."""
    make_home(home)
    try:
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
