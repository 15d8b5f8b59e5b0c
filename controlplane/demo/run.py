"""The main job on embedded defaults: register, serve, split, count, judge, decide, promote or roll back."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from rich.console import Console

from contracts.errors import Unavailable
from contracts.events import Event
from contracts.ids import CHAMPION, VersionId, VersionRef
from contracts.specs.service import ServiceSpec
from contracts.units import format_bytes
from contracts.wire.worker import FaultDrill, WorkerState
from controlplane.demo.model.versions import assemble, find_version
from controlplane.demo.scenario import Case, Scenario
from controlplane.demo.show import Ending, LiveStage, PlainStage, Scene, Stage, draw_endings
from controlplane.demo.traffic import draw_prompts, live_traffic
from controlplane.loop.effects import warm_up, worker_spec
from controlplane.loop.evidence import EvidenceDesk
from controlplane.loop.reconcile import RolloutLoop
from controlplane.loop.routing import DesiredTraffic
from controlplane.settings import Settings
from controlplane.store.history import History
from controlplane.watching import HistoryWatcher, MonitorWatcher, Watchers
from controlplane.wiring import System, embedded_system
from evaluation.scorers.price_tags import TagTextScorer
from registry.catalogue import Registration, VersionRecord
from serving.fleet.port import Placement, place
from serving.traffic.totals import TrafficTotals

TICK_S = 1.0
LOADING_TIMEOUT_S = 120.0
USERS = 400
WARM_UP_PROMPTS = 8
BUSY_SHARE = 0.5
HIGHEST_RATE = 20.0
SEED = 7
LAST_RUN = Path(".roost/demo")


def run_demo(scenario: Scenario, *, rate: float | None = None, home: Path | None = None, plain: bool = False) -> bool:
    """Run a scenario and show it; return whether every rollout ended as it must.

    ``rate`` in requests per second; by default what keeps the first champion busy half of the time on this machine.
    """
    console = Console(highlight=False)
    plain = plain or not console.is_terminal or bool(os.environ.get("CI"))
    stage: Stage = PlainStage(console) if plain else LiveStage(console)
    spec = scenario.load_spec()
    with _home(home) as folder, embedded_system(Settings(folder)) as system:
        champion = _begin(system, spec, scenario, stage)
        history = History(system.settings.history_uri)
        history.record_spec(spec, system.world.clock.now_s())
        show = Show(system, spec, stage, history)
        rate = rate or _measure_rate(system, champion.id)
        stage.say(f"✔ {USERS} users send {rate:.1f} requests a second")
        if home is not None:
            stage.say(f"  watch it in a browser: roost ui --home {home}")
        traffic = live_traffic(system.gateway_url, spec.service, rate, users=USERS, seed=SEED)
        with closing(show), traffic as totals, stage.live():
            endings = [show.play(case, _register(system, spec, case.version, stage), totals) for case in scenario.cases]
        console.print(draw_endings(endings))
        _tell_aftermath(system, champion, totals, stage)
        history.close()
        _tell_what_is_kept(system.settings, home, stage)
    return all(ending.as_expected for ending in endings)


class Show:
    """Plays rollouts one after another on a system under load."""

    def __init__(self, system: System, spec: ServiceSpec, stage: Stage, history: History) -> None:
        self._system, self._spec, self._stage = system, spec, stage
        self._world = system.world
        scorers = {TagTextScorer.name: TagTextScorer()}
        self._evidence = EvidenceDesk(spec, scorers)
        self._keeper = HistoryWatcher(history)
        self._monitors = MonitorWatcher(spec, scorers, history, self._world.clock, tell=self._tell)
        self._watcher = Watchers(self._keeper, self._monitors)
        self._warm_up_prompts = tuple(draw_prompts(SEED + 1)[:WARM_UP_PROMPTS])

    def play(self, case: Case, record: VersionRecord, totals: TrafficTotals) -> Ending:
        """Run one rollout to its end, a tick a second."""
        clock, events, wrong = self._world.clock, list[Event](), list[str]()
        before, start_s = totals.versions[str(record.id)], clock.monotonic_s()

        def tell(event: Event) -> None:
            events.append(event)
            self._tell(event)

        champion = self._world.desk.desired(self._spec.service).champion
        scene = Scene(f"{record.id} ({case.version}) against {champion}", start_s)
        loop = RolloutLoop(
            self._world,
            self._evidence,
            self._spec,
            record.id,
            warm_up_prompts=self._warm_up_prompts,
            notify=tell,
            watcher=self._watcher,
        )
        while not loop.is_over:
            scene.now_s = clock.monotonic_s()
            scene.decision = loop.tick()
            mine = (found.score for found in loop.judged if found.sample.version == record.id)
            wrong += [score.reason for score in mine if score.value == 0]
            scene.rate, scene.answered = self._evidence.request_rate, dict(totals.versions)
            self._stage.show(scene)
            time.sleep(max(0.0, TICK_S - (clock.monotonic_s() - scene.now_s)))
        return Ending(
            title=f"{record.id} ({case.version})",
            expected=case.expected,
            seen=loop.state.phase,
            why=next((e.message for e in reversed(events) if not e.code.startswith("rollout.")), ""),
            duration_s=clock.monotonic_s() - start_s,
            requests=totals.versions[str(record.id)] - before,
            wrong=tuple(wrong),
        )

    def close(self) -> None:
        """End the thread that monitors score in."""
        self._monitors.close()

    def _tell(self, event: Event) -> None:
        self._keeper.tell(event)
        self._stage.tell(event)


def _begin(system: System, spec: ServiceSpec, scenario: Scenario, stage: Stage) -> VersionRecord:
    """Register the first version, serve all traffic from it, and make it champion."""
    record = _register(system, spec, scenario.champion, stage)
    place(system.world.fleet, Placement(spec=worker_spec(system.world.catalogue, record.id)))
    _await_ready(system, record.id)
    system.world.catalogue.move_alias(record.id, CHAMPION, actor="demo", reason="the first version")
    system.world.desk.want(DesiredTraffic(spec, champion=record.id))
    if not system.world.desk.reconcile():
        raise Unavailable("the gateway took no routing table", hint=f"read {system.settings.logs / 'gateway.log'}")
    stage.say(f"✔ {record.id} serves {spec.service} at {system.gateway_url}, alias {CHAMPION} in MLflow")
    return record


def _register(system: System, spec: ServiceSpec, name: str, stage: Stage) -> VersionRecord:
    version = find_version(name)
    with tempfile.TemporaryDirectory() as folder:
        directory = assemble(name, Path(folder) / "pipeline")
        record = system.world.catalogue.register(
            spec.model,
            Registration(
                directory,
                description=f"{name}: {version.lesson}",
                defaults=version.defaults,
                faults=FaultDrill.model_validate(version.faults),
            ),
        )
    stage.say(f"✔ {record.id} registered: {name}, {format_bytes(record.size_bytes)}, {record.digest[:19]}…")
    return record


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


def _measure_rate(system: System, version: VersionId) -> float:
    """Return the requests per second that keep one worker of ``version`` busy half of the time."""
    prompts = tuple(draw_prompts(SEED + 1)[:WARM_UP_PROMPTS])
    warm_up(system.world.fleet, version, prompts[:1])
    start_s = system.world.clock.monotonic_s()
    warm_up(system.world.fleet, version, prompts)
    latency_s = (system.world.clock.monotonic_s() - start_s) / len(prompts)
    return min(max(BUSY_SHARE / latency_s, 1.0), HIGHEST_RATE)


def _tell_aftermath(system: System, first: VersionRecord, totals: TrafficTotals, stage: Stage) -> None:
    now = system.world.catalogue.get(VersionRef(first.id.model, alias=CHAMPION)).id
    stage.say(f"MLflow alias {CHAMPION}: {first.id} → {now}")
    stage.say(f"users: {sum(totals.statuses.values())} requests, {totals.bad} of them without a picture")
    stage.say(f"ledger: {system.world.ledger.verify()} decisions, chain verified")


def _tell_what_is_kept(settings: Settings, home: Path | None, stage: Stage) -> None:
    """Keep ledger and history of a run whose folder goes away, and tell how to read them."""
    kept = settings.home
    if home is None:
        kept = LAST_RUN
        kept.mkdir(parents=True, exist_ok=True)
        for file in (settings.home / "history.db", settings.ledger):
            shutil.copyfile(file, kept / file.name)
        stage.say(f"ledger and history are kept in {kept}; `roost demo run --home FOLDER` keeps MLflow store and logs")
    stage.say(f"next: roost report weekly --home {kept}")


@contextmanager
def _home(home: Path | None) -> Iterator[Path]:
    """Yield the folder of a run's state: the one asked for, or one that goes away with the run."""
    if home is not None:
        yield home
        return
    with tempfile.TemporaryDirectory(prefix="roost-demo-") as folder:
        yield Path(folder)
