"""The composition: everything that one control plane consists of, put together on one home."""

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from starlette.applications import Starlette

from contracts.clock import SystemClock
from contracts.events import Event
from controlplane.api.access import load_access
from controlplane.api.app import make_api
from controlplane.api.context import ApiContext
from controlplane.job_kinds import declare_schedules
from controlplane.jobs.schedules import Schedules
from controlplane.jobs.worker import Worker
from controlplane.loop.controller import Controller
from controlplane.metrics.control import ControlMetrics
from controlplane.metrics.snapshot import ControlSnapshot
from controlplane.server.app import join_apps
from controlplane.server.crew import Crew
from controlplane.server.gauges import take_snapshot
from controlplane.settings import Settings
from controlplane.stores import Stores
from controlplane.web.app import make_app
from controlplane.web.protection import LOOPBACK
from controlplane.web.sources.home import Home
from controlplane.web.views.slos import SloView, view_slos
from controlplane.wiring import embedded_system

LOG = logging.getLogger("roost.server")
JOBS_AT_ONCE = 2


@dataclass
class Plane:
    """One control plane: what it decides with, what it answers with, and the threads that work beside."""

    settings: Settings
    stores: Stores
    controller: Controller
    home: Home
    app: Starlette
    gateway_url: str
    crew: Crew = field(default_factory=Crew)

    def start(self, on_failure: Callable[[], None]) -> None:
        """Begin to decide and to work on jobs."""
        self.crew.on_failure = on_failure
        self.crew.start("controller", self.controller.run)
        for number in range(JOBS_AT_ONCE):
            self.crew.start(f"jobs-{number}", lambda stop, number=number: self._work(stop, number))

    def _work(self, stop: threading.Event, number: int) -> None:
        schedules = Schedules(self.stores.jobs)
        declare_schedules(schedules)
        name = f"{socket.gethostname()}-{os.getpid()}-{number}"
        worker = Worker(self.stores.jobs, self.settings.home.resolve(), name=name)
        worker.run(schedules, goes_on=lambda: not stop.is_set())


@contextmanager
def compose(settings: Settings, *, gateway_port: int, leave: Callable[[], bool]) -> Iterator[Plane]:
    """Start gateway and fleet, open the stores, and put the rest together; nothing decides before `Plane.start`.

    ``leave`` is asked at the end: whether gateway and workers are left to serve on.

    Raises:
        InvalidInput: when the home can't be used, or its ``access.yaml`` has mistakes.
        Conflict: when another process runs on it.
        Unavailable: when database or gateway don't answer.
    """
    access = load_access(settings.home)
    with embedded_system(settings, gateway_port=gateway_port, leave=leave, tell=_log_event) as system:
        controller, stores, home = system.controller, system.stores, Home(settings)
        context = ApiContext(
            settings, stores, home, system.world.catalogue, access=access, leads=lambda: controller.leads
        )
        hosts = (*LOOPBACK, *access.hosts)
        api = make_api(context)
        app = join_apps(make_app(home), api, Gauges(controller, stores, home).render, hosts)
        yield Plane(settings, stores, controller, home, app, system.gateway_url)


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

    def _take(self) -> ControlSnapshot:
        return take_snapshot(self._controller, self._stores, self._slos)


def _log_event(event: Event) -> None:
    LOG.info(event.message, extra={"data": event.model_dump(exclude={"message"})})
