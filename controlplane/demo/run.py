"""The main job on embedded defaults: register, serve, build, split, count, judge, decide, promote or roll back."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from rich.console import Console

from contracts.errors import NotPermitted
from contracts.events import Event
from contracts.ids import CHAMPION, VersionId, VersionRef
from contracts.units import format_bytes
from controlplane.demo.golden import GoldenPrompts
from controlplane.demo.opening import measure_rate, register, serve_first
from controlplane.demo.outage import Outage
from controlplane.demo.play import CaseWatcher, Player, Trial
from controlplane.demo.scenario import FASTER, Case, Scenario
from controlplane.demo.show import LiveStage, PlainStage, Result, Scene, Stage, draw_results
from controlplane.demo.traffic import USERS, LiveTraffic, draw_prompts
from controlplane.demo.trial import LoopTrial, Wishes
from controlplane.demo.variant import VariantBuild
from controlplane.loop.evidence import EvidenceDesk
from controlplane.loop.reconcile import RolloutLoop
from controlplane.reporting import Wishes as ReportWishes
from controlplane.reporting import report_week, write_report
from controlplane.settings import Settings
from controlplane.store.history import History
from controlplane.watching import HistoryWatcher, MonitorWatcher, Watchers
from controlplane.wiring import System, embedded_system
from evaluation.report.week import week_of
from evaluation.scorers.price_tags import TagTextScorer
from registry.catalogue import VersionRecord

WARM_UP_PROMPTS = 8
LATER = 2.0
"""How many times as many requests come once the faster version serves."""
SEED = 7
LAST_RUN = Path(".roost/demo")
REPORT = "report.html"


def run_demo(
    scenario: Scenario,
    *,
    rate: float | None = None,
    home: Path | None = None,
    plain: bool = False,
    keep: bool = False,
) -> bool:
    """Run a scenario and show it; return whether every rollout ended as it must.

    ``rate`` in requests per second; by default what keeps the first champion busy half of the time on this machine.
    With ``keep`` everything stays up afterwards until it is interrupted.
    """
    console = Console(highlight=False)
    plain = plain or not console.is_terminal or bool(os.environ.get("CI"))
    stage: Stage = PlainStage(console) if plain else LiveStage(console)
    with _home(home) as folder, embedded_system(Settings(folder)) as system, Show(system, scenario, stage) as show:
        show.open(rate, home)
        with stage.live():
            results = [show.play(case) for case in scenario.cases]
        console.print(draw_results(results))
        show.tell_aftermath()
        _keep_record(system.settings, home, stage)
        if keep:
            _stay(system, stage)
    return all(result.as_expected for result in results)


class Show:
    """The demo's service, its versions and its users on a running system, from the first version to the last case."""

    def __init__(self, system: System, scenario: Scenario, stage: Stage) -> None:
        self._system, self._scenario, self._stage = system, scenario, stage
        self._spec, self._world = scenario.load_spec(), system.world
        self._prompts = tuple(draw_prompts(SEED + 1)[:WARM_UP_PROMPTS])
        self._golden = GoldenPrompts(self._world.catalogue, system.settings.logs)
        self._outage = Outage(system.settings.fleet / "workers")
        self._known: dict[str, VersionId] = {}
        self._build: VariantBuild | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Open the history, and what judges and counts."""
        settings, scorers = self._system.settings, {TagTextScorer.name: TagTextScorer()}
        history = History(settings.history_uri)
        self._stack.callback(history.close)
        history.record_spec(self._spec, self._world.clock.now_s())
        self._evidence = EvidenceDesk(self._spec, scorers)
        self._keeper = HistoryWatcher(history)
        self._monitors = MonitorWatcher(self._spec, scorers, history, self._world.clock, tell=self._tell)
        self._stack.callback(self._monitors.close)
        self._traffic = LiveTraffic(self._system.gateway_url, self._spec.service, seed=SEED)
        self._stack.callback(self._traffic.stop)
        return self

    def __exit__(self, *error: object) -> None:
        """Send the users home, and close everything."""
        self._stack.close()

    def open(self, rate: float | None, home: Path | None) -> None:
        """Register the first version, serve it, let users come, and begin to build the faster one."""
        self._first = first = self._register(self._scenario.champion)
        serve_first(self._system, self._spec, first)
        self._stage.say(f"✔ {first} serves {self._spec.service} at {self._system.gateway_url}, alias {CHAMPION}")
        self._rate = rate or measure_rate(self._system, first, self._prompts)
        self._traffic.ask(self._rate)
        self._stage.say(f"✔ {USERS} users send {self._rate:.1f} requests a second, some of them in bursts")
        if any(case.version == FASTER for case in self._scenario.cases):
            self._build = VariantBuild(self._system.settings, first)
            self._stage.say(f"… meanwhile a faster version is built from {first}")
        if home is not None:
            self._stage.say(f"  watch it in a browser: roost ui --home {home}")

    def play(self, case: Case) -> Result:
        """Play one case to its end."""
        challenger = self._find(case.version)
        champion = self._world.desk.desired(self._spec.service).champion
        player = Player(self._spec, self._begin, self._stage, self._world.clock, self._outage)
        result = player.play(case, challenger, champion, self._dress)
        self._stage.say(f"{'✔' if result.as_expected else '✖'} {case.version}: {result.seen}")
        if case.version == FASTER and result.as_expected:
            self._traffic.ask(self._rate * LATER)
            self._stage.say(f"✔ users send {self._traffic.rate:.1f} requests a second from now on")
        return result

    def tell_aftermath(self) -> None:
        """Tell who serves now, what users saw in all, and whether the ledger is whole."""
        totals = self._traffic.totals
        now = self._world.catalogue.get(VersionRef(self._first.model, alias=CHAMPION)).id
        self._stage.say(f"MLflow alias {CHAMPION}: {self._first} → {now}")
        self._stage.say(f"users: {totals.sent} requests, {totals.bad} of them without a picture")
        self._stage.say(f"ledger: {self._world.ledger.verify()} decisions, chain verified")

    def _find(self, name: str) -> VersionId:
        """Return a version by its name in the scenario, registered or built at its first use."""
        if name not in self._known:
            self._known[name] = self._built() if name == FASTER else self._register(name)
        return self._known[name]

    def _register(self, name: str) -> VersionId:
        record = register(self._world.catalogue, self._spec, name)
        self._stage.say(f"✔ {record.id} registered: {name}, {_identity(record)}")
        return record.id

    def _built(self) -> VersionId:
        """Wait for the faster version, while users go on."""
        if self._build is None:
            raise NotPermitted("no faster version is being built")
        shown = ""
        while not self._build.is_over:
            if self._build.step != shown:
                shown = self._build.step
                self._stage.say(f"… {shown}")
            time.sleep(0.2)
        built = self._build.result()
        record = self._world.catalogue.get(VersionRef(built.version.model, number=built.version.number))
        self._stage.say(f"✔ {record.id} built, proven and profiled: {built.story}, {_identity(record)}")
        return record.id

    def _begin(self, case: Case, challenger: VersionId, watcher: CaseWatcher) -> Trial:
        """Begin a rollout; see ``Begin``."""
        champion = self._world.desk.desired(self._spec.service).champion
        record = self._world.catalogue.get(VersionRef(challenger.model, number=challenger.number))
        why = "" if case.force else self._golden.why_not(self._spec, champion, record)
        if why:
            raise NotPermitted(f"{challenger} may not be tried: {why}")
        wishes = Wishes()
        loop = RolloutLoop(
            self._world,
            self._evidence,
            self._spec,
            challenger,
            warm_up_prompts=self._prompts,
            notify=self._tell,
            watcher=Watchers(self._keeper, self._monitors, watcher, wishes),
        )
        return LoopTrial(loop, self._world.ledger, wishes)

    def _dress(self, scene: Scene) -> None:
        scene.rate, scene.answered = self._evidence.request_rate, dict(self._traffic.totals.versions)
        building = self._build is not None and not self._build.is_over
        scene.aside = f"meanwhile, the faster version: {self._build.step}" if building and self._build else ""

    def _tell(self, event: Event) -> None:
        self._keeper.tell(event)
        self._stage.tell(event)


def _identity(record: VersionRecord) -> str:
    return f"{format_bytes(record.size_bytes)}, {record.digest[:19]}…"


def _keep_record(settings: Settings, home: Path | None, stage: Stage) -> None:
    """Write the weekly report, and keep ledger and history of a run whose folder goes away."""
    now_s = time.time()
    report = report_week(settings, week_of(now_s), now_s=now_s, wishes=ReportWishes())
    kept = settings.home if home is not None else LAST_RUN
    kept.mkdir(parents=True, exist_ok=True)
    size = write_report(report, kept / REPORT)
    stage.say(f"✔ weekly report: {kept / REPORT} ({size / 1000:.0f} kB)")
    for sentence in report.sentences:
        stage.say(f"  {sentence}")
    if home is None:
        for file in (settings.home / "history.db", settings.ledger):
            shutil.copyfile(file, kept / file.name)
        stage.say(f"ledger and history are kept in {kept}; `roost demo run --home FOLDER` keeps MLflow store and logs")


def _stay(system: System, stage: Stage) -> None:
    """Leave everything up until somebody interrupts."""
    stage.say(f"everything stays up: {system.gateway_url}; `roost ui --home {system.settings.home}`; Ctrl-C ends it")
    try:
        while True:
            time.sleep(1.0)
    except KeyboardInterrupt:
        stage.say("")


@contextmanager
def _home(home: Path | None) -> Iterator[Path]:
    """Yield the folder of a run's state: the one asked for, or one that goes away with the run."""
    if home is not None:
        yield home
        return
    with tempfile.TemporaryDirectory(prefix="roost-demo-") as folder:
        yield Path(folder)
