"""The composition: everything that one control plane consists of, put together on one home."""

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, cast

from starlette.applications import Starlette

from contracts.clock import SystemClock
from contracts.errors import Unavailable
from contracts.events import Event
from controlplane.api.access import load_access
from controlplane.api.app import make_api
from controlplane.api.context import ApiContext, Shelf
from controlplane.desks.silencing import SilenceDesk
from controlplane.evaluation.comparing import open_comparisons
from controlplane.evaluation.required import RequiredComparison
from controlplane.hooks import keep_delivering
from controlplane.job_kinds import declare_schedules
from controlplane.jobs.schedules import Schedules
from controlplane.jobs.worker import Worker
from controlplane.loop.controller import Controller
from controlplane.loop.outlook import Outlook
from controlplane.metrics.control import ControlMetrics
from controlplane.metrics.snapshot import ControlSnapshot
from controlplane.notify.sender import Sender
from controlplane.notify.settings import load_notify
from controlplane.server.app import join_apps
from controlplane.server.crew import Crew
from controlplane.server.gauges import take_snapshot
from controlplane.settings import Settings, make_home
from controlplane.stores import Stores
from controlplane.web.app import make_app
from controlplane.web.protection import LOOPBACK
from controlplane.web.sources.home import Home
from controlplane.web.views.slos import SloView, view_slos
from controlplane.wiring import embedded_system
from registry.catalogue import VersionRecord

LOG = logging.getLogger("roost.server")
JOBS_AT_ONCE = 2
SEND_EVERY_S = 1.0
LOOK_EVERY_S = 0.25
"""Four times as often as the loop ticks."""
NOTIFY_FILE = "notify.yaml"


@dataclass
class Plane:
    """One control plane: what it decides with, what it answers with, and the threads that work beside."""

    settings: Settings
    stores: Stores
    controller: Controller
    home: Home
    app: Starlette
    gateway_url: str
    sender: Sender
    gauges: "Gauges"
    crew: Crew = field(default_factory=Crew)

    def start(self) -> None:
        """Begin to decide, to work on jobs and to tell people."""
        self.crew.start("controller", self.controller.run)
        for number in range(JOBS_AT_ONCE):
            self.crew.start(f"jobs-{number}", partial(self._work, number))
        self.crew.start("sender", self._send)
        self.crew.start("hooks", partial(keep_delivering, self.settings))
        self.crew.start("gauges", self.gauges.follow)

    def _work(self, number: int, stop: threading.Event) -> None:
        schedules = Schedules(self.stores.jobs)
        declare_schedules(schedules)
        name = f"{socket.gethostname()}-{os.getpid()}-{number}"
        worker = Worker(self.stores.jobs, self.settings.home.resolve(), name=name)
        worker.run(schedules, goes_on=lambda: not stop.is_set())

    def _send(self, stop: threading.Event) -> None:
        while not stop.wait(SEND_EVERY_S):
            with suppress(Unavailable):  # a database that is away is waited for
                self.sender.step()


@contextmanager
def compose(settings: Settings, *, gateway_port: int, leave: Callable[[], bool]) -> Iterator[Plane]:
    """Start gateway and fleet, open the stores, and put the rest together; nothing decides before `Plane.start`.

    ``leave`` is asked at the end: whether gateway and workers are left to serve on.

    Raises:
        InvalidInput: when the home can't be used, or one of its YAML files has mistakes.
        Conflict: when another process runs on it.
        Unavailable: when database or gateway don't answer.
    """
    make_home(settings.home)
    access, notify = load_access(settings.home), load_notify(settings.home / NOTIFY_FILE)
    with ExitStack() as stack:
        clock = SystemClock()
        system = stack.enter_context(
            embedded_system(settings, clock, gateway_port=gateway_port, leave=leave, tell=_log_event)
        )
        controller, stores, home = system.controller, system.stores, Home(settings)
        context = ApiContext(
            settings,
            stores,
            home,
            cast("Shelf", system.world.catalogue),
            access=access,
            leads=lambda: controller.leads,
            freeze=system.freezing,
            outlook=Outlook(stores, system.world, controller.snapshot),
            preconditions=(RequiredComparison(settings, system.world.catalogue),),
            find_comparisons=partial(_find_comparisons, settings),
        )
        hosts = (*LOOPBACK, *access.hosts)
        api = make_api(context)
        gauges = Gauges(controller, stores, home)
        app = join_apps(make_app(home, api=api, hosts=hosts, places=context.places), api, gauges.render, hosts)
        home.workers.observe = system.world.fleet.observe
        sender = Sender(stores.outbox, notify, settings.home, clock, SilenceDesk(stores).is_silenced)
        yield Plane(settings, stores, controller, home, app, system.gateway_url, sender, gauges)


class Gauges:
    """The metrics of one control plane, made when they are asked for."""

    def __init__(self, controller: Controller, stores: Stores, home: Home) -> None:
        self._controller, self._stores, self._home = controller, stores, home
        self._slos: tuple[SloView, ...] = ()
        self._metrics = ControlMetrics(SystemClock(), self._take)

    async def render(self) -> bytes:
        """Return them as text."""
        known = view_slos(await self._home.telemetry.read())
        self._slos = tuple(known.rows) if known is not None else ()
        return await asyncio.to_thread(self._metrics.render)

    def follow(self, stop: threading.Event) -> None:
        """Note how long each tick of the control loop took."""
        seen = 0
        while not stop.wait(LOOK_EVERY_S):
            now = self._controller.snapshot()
            if now.ticks != seen:
                seen = now.ticks
                self._metrics.observe_tick(now.tick_s)

    def _take(self) -> ControlSnapshot:
        return take_snapshot(self._controller, self._stores, self._slos)


def _find_comparisons(settings: Settings, one: VersionRecord, other: VersionRecord) -> list[dict[str, Any]]:
    """Return the kept comparisons of two versions' contents, as documents."""
    return [asdict(record) for record in open_comparisons(settings).find(one.digest, other.digest)]


def _log_event(event: Event) -> None:
    LOG.info(event.message, extra={"data": event.model_dump(exclude={"message"})})
