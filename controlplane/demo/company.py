"""The demo's company: a service, its users, the controller that looks after it, and whoever rolls out to it."""

import threading
import time
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Self

from sqlalchemy import select

from contracts.errors import Unavailable
from contracts.ids import CHAMPION, VersionId, VersionRef
from controlplane.demo.ahead import Ahead
from controlplane.demo.outage import StandStill
from controlplane.demo.play import Player, Trial
from controlplane.demo.scenario import Case, Fate, Scenario
from controlplane.demo.show import Result, Scene, Stage
from controlplane.demo.traffic import USERS, LiveTraffic, draw_prompts
from controlplane.demo.trial import DeskTrial
from controlplane.demo.versions import Versions
from controlplane.desks.rollouts import RolloutDesk
from controlplane.desks.services import ServiceDesk
from controlplane.loop.effects import warm_up
from controlplane.settings import Settings
from controlplane.store.history import SCORES, History
from controlplane.store.telemetry_database import reading
from controlplane.wiring import System
from registry.catalogue import VersionRecord
from rollout.phases import BEFORE_TRAFFIC, Phase
from serving.fleet.port import ReplicaState

LOADING_TIMEOUT_S = 180.0
LOADING = {ReplicaState.STARTING, ReplicaState.WAITING}
POLL_S = 0.1
TICK_S = 0.5
TIMED_PROMPTS = 8
BUSY_SHARE = 0.5
HIGHEST_RATE = 6.0
LATER = 3.0
"""How many times as many requests come once a faster version serves: enough in a bake to show what wears out."""
HIGHEST_LATER_RATE = 12.0
SEED = 7
ACTOR = "demo"


class Company:
    """Opened on a running system: from the first version to the last case."""

    def __init__(self, system: System, scenario: Scenario, stage: Stage) -> None:
        self._system, self._scenario, self._stage = system, scenario, stage
        self._spec, self._stores, self._world = scenario.load_spec(), system.stores, system.world
        self._versions = Versions(self._world.catalogue, system.settings, scenario, self._spec.model, stage)
        self._ahead = Ahead(self._stores, self._versions, scenario.cases, ACTOR)
        self._traffic = LiveTraffic(system.gateway_url, self._spec.service, seed=SEED)
        self._stack, self._stop = ExitStack(), threading.Event()
        self._position = 0

    def __enter__(self) -> Self:
        """Let the controller run."""
        controller = threading.Thread(target=self._system.controller.run, args=(self._stop, TICK_S), name="controller")
        controller.start()
        self._stack.callback(controller.join)
        self._stack.callback(self._stop.set)
        self._stack.callback(self._traffic.stop)
        return self

    def __exit__(self, *error: object) -> None:
        """Send the users home, and end the controller."""
        self._stack.close()

    def open(self, rate: float | None) -> None:
        """Register the versions, apply the service, let users come, and begin to build the faster version."""
        first = self._first = self._versions.register_champion()
        named = VersionRef(first.id.model, number=first.id.number)
        services = ServiceDesk(self._stores, self._world.catalogue)
        services.apply(self._spec, actor=ACTOR, reason="the first version", champion=named)
        self._versions.register_challengers()
        self._ahead.look(0)
        self._await_service()
        self._stage.say(f"✔ {first.id} serves {self._spec.service} at {self._system.gateway_url}, alias {CHAMPION}")
        self._rate = rate or self._measure_rate(first)
        self._traffic.ask(self._rate)
        self._stage.say(f"✔ {USERS} users send {self._rate:.1f} requests a second, some of them in bursts")
        self._versions.begin_build()
        world = self._world
        self._desk = RolloutDesk(self._stores, world.catalogue, world.clock, world.rng, freeze=self._system.freezing)
        self._player = Player(
            self._spec,
            self._begin,
            self._stage,
            world.clock,
            StandStill(self._system.settings.fleet / "workers"),
            dress=self._dress,
            unanswered=lambda: self._traffic.totals.bad,
        )

    def play(self, case: Case) -> Result:
        """Play one case to its end."""
        self._position = self._scenario.cases.index(case)
        champion = self._stores.services.production(self._spec.service).champion
        result = self._player.play(case, self._versions.find(case.version), VersionId.parse(str(champion)))
        if result.seen.by and result.served.wrong:
            result = replace(result, example=_find_wrong(self._system.settings, result.version))
        self._stage.say(f"{'✔' if result.as_expected else '✖'} {case.version}: {result.seen}")
        if result.seen.fate is Fate.PROMOTED and result.as_expected and self._traffic.rate == self._rate:
            self._traffic.ask(max(self._rate, min(self._rate * LATER, HIGHEST_LATER_RATE)))
            self._stage.say(f"✔ users send {self._traffic.rate:.1f} requests a second from now on")
        return result

    def tell_aftermath(self) -> None:
        """Tell who serves now, what users saw in all, and whether the ledger is whole."""
        totals = self._traffic.totals
        now = self._world.catalogue.get(VersionRef(self._first.id.model, alias=CHAMPION)).id
        self._stage.say(f"MLflow alias {CHAMPION}: {self._first.id} → {now}")
        self._stage.say(f"users: {totals.sent} requests, {totals.bad} of them without a picture")
        self._stage.say(f"ledger: {self._stores.ledger.verify()} decisions, chain verified")

    def _begin(self, case: Case, challenger: VersionId) -> Trial:
        """Begin a rollout; see ``Begin``."""
        named = VersionRef(challenger.model, number=challenger.number)
        row = self._desk.start(self._spec.service, named, actor=ACTOR, reason=case.lesson, force=case.force)
        return DeskTrial(self._stores, self._desk, row.id)

    def _await_service(self) -> None:
        """Wait until the gateway sends requests to the champion, and nothing loads beside it any more.

        Raises:
            Unavailable: when that takes too long.
        """
        name, deadline_s = self._spec.service, time.monotonic() + LOADING_TIMEOUT_S
        problem = ""
        while time.monotonic() < deadline_s:
            view = self._system.controller.snapshot().services.get(name)
            table = self._world.data_plane.table()
            loading = any(replica.state in LOADING for replica in self._world.fleet.observe().replicas)
            if view is not None and view.replicas and table is not None and name in table.services and not loading:
                return
            problem = view.problem if view is not None else ""
            time.sleep(POLL_S)
        raise Unavailable(f"{name} is not served: {problem}", hint=f"read {self._system.settings.logs}")

    def _measure_rate(self, first: VersionRecord) -> float:
        """Return the requests per second that keep one worker of the first version busy half of the time."""
        prompts = tuple(draw_prompts(SEED + 1)[:TIMED_PROMPTS])
        warm_up(self._world.fleet, first.id, prompts[:1])
        start_s = time.monotonic()
        warm_up(self._world.fleet, first.id, prompts)
        latency_s = (time.monotonic() - start_s) / len(prompts)
        return min(max(BUSY_SHARE / latency_s, 1.0), HIGHEST_RATE)

    def _dress(self, scene: Scene) -> None:
        if scene.decision is not None and Phase(scene.decision["phase"]) not in BEFORE_TRAFFIC:
            self._ahead.look(self._position + 1)
        view = self._system.controller.snapshot().services.get(self._spec.service)
        scene.rate = view.request_rate if view is not None else 0.0
        scene.answered = dict(self._traffic.totals.versions)
        scene.aside = self._versions.aside


def _find_wrong(settings: Settings, version: VersionId) -> str:
    """Return what a wrong picture of a version shows, in its scorer's words."""
    wrong = select(SCORES.c.reason).where(SCORES.c.version == str(version), SCORES.c.value == 0.0)
    with closing(History(settings.history_uri)) as history, reading(history.engine) as connection:
        return str(connection.execute(wrong.order_by(SCORES.c.at_s).limit(1)).scalar() or "")
