"""A simulated week: the real controllers, machine and stores in virtual time, and a world that is unkind to them.

Two control planes contend, each a controller and a worker of jobs. They are killed at any of their calls, stopped for
longer than their lease and woken again, and their clocks don't agree; the database, the gateway, MLflow and the scorer
go away and come back; answers get lost and telemetry comes late. A PostgreSQL server is restarted in earnest.

``python -m tests.simulation`` lives through many.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from sqlalchemy import event

from contracts.clock import Clock, FakeClock
from contracts.errors import RoostError, Unavailable
from contracts.ids import VersionId, VersionRef
from contracts.rng import SeededRng
from contracts.specs.loading import load_service_spec
from contracts.wire.telemetry import SampledOutput
from controlplane.desks.rollouts import RolloutDesk
from controlplane.desks.services import ServiceDesk
from controlplane.guard.guard import make_guard
from controlplane.loop.chores import AtOnce
from controlplane.loop.controller import MOST_SKEW_S, Controller
from controlplane.loop.world import World
from controlplane.store.migrate import open_store
from controlplane.stores import Stores
from evaluation.scorers.port import Score
from registry.catalogue import Registration
from registry.fake_catalogue import FakeCatalogue
from rollout.actions import ReasonCode
from rollout.phases import RETREATING, ManualAction, ManualKind, Phase
from serving.fleet.fake import FakeFleet
from tests.controlplane.conftest import trust_the_disk
from tests.simulation.faults import Faults, Faulty, FaultyDatabase, Killed
from tests.simulation.gateway import SERVICE, Quality, SimulatedGateway
from tests.simulation.promises import look_back, unfinished_jobs
from tests.simulation.worker import SCHEDULE, SimulatedWorker, make_jobs

SPEC = """
service: tags
model: m
slos:
  availability: {objective: 98%}
  text: {scorer: seen-text, objective: 97%, sample: 5%, margin: 5%, unacceptable_margin: 12%}
rollout:
  {relative: null, harm_budget: 100, bake: 2m, max_duration: 1h, max_staleness: 60s, on_timeout: rollback,
   warmup: {prompts: 1}}
"""
TICK_S = 10.0
IDLE_S = 7200.0
LEASE_S = 25.0
ROLLOUTS = 7
DAY_S = 86400.0
PATIENCE = 400
PARTS = ("database", "gateway", "mlflow", "scorer")
PROVEN_HARM = ReasonCode.PROVEN_HARM.value
KINDS = ("good", "errors", "wrong", "late", "outage", "aborted")
HARMFUL = frozenset({"errors", "wrong"})


class SeenText:
    """A scorer that reads its score from the prompt."""

    name = "seen-text"
    digest = "sha256:0"

    def score(self, samples: Sequence[SampledOutput]) -> list[Score]:
        """Judge by what traffic wrote."""
        return [Score(float(sample.prompt)) for sample in samples]


Restart = Callable[[], None]
"""Ends the database's server at once, and starts it again."""


@dataclass
class SkewedClock:
    """One machine's clock: it runs like the others', ``ahead_s`` of them."""

    true: FakeClock
    ahead_s: float = 0.0

    def now_s(self) -> float:
        """Return what this machine thinks it is."""
        return self.true.now_s() + self.ahead_s

    def monotonic_s(self) -> float:
        """Return seconds since an arbitrary start."""
        return self.true.monotonic_s()


@dataclass
class Contender:
    """One control plane: its faults, its stores and its clock; while it lives, its parts; until when it sleeps."""

    name: str
    faults: Faults
    stores: Stores
    clock: SkewedClock
    controller: Controller | None = None
    worker: SimulatedWorker | None = None
    back_s: float = 0.0


@dataclass
class Week:
    """One week under one seed; ``broken`` says which promise was broken when, and stays empty."""

    seed: int
    url: str
    folder: Path
    unkind: float = 1.0
    restart: Restart | None = None
    broken: list[str] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.rng, self.clock = np.random.default_rng(self.seed), FakeClock()
        self.gateway = SimulatedGateway(self.clock, self.rng)
        self.fleet, self.catalogue = FakeFleet(), FakeCatalogue()
        self.stores = self._open(self.url)
        self.contenders = [self._contender(name) for name in ("one", "two")]
        self._begin_s, self._overdue = self.clock.now_s(), 0
        self._asleep = 0
        self.jobs_done: Counter[tuple[str, str]] = Counter()
        self.decisions = 0

    def run(self) -> None:
        """Live through the week, and look back at it."""
        champion = self.catalogue.register("m", Registration(self.folder)).id
        self.catalogue.move_alias(champion, "champion", actor="test", reason="the first")
        services = ServiceDesk(self.stores, self.catalogue)
        services.apply(load_service_spec(SPEC), actor="test", reason="the first", champion=VersionRef("m", number=1))
        make_jobs(self.stores.database).declare("tidy", SCHEDULE, "tidy")
        while not self._serves():
            self._tick(TICK_S)
        for index in range(ROLLOUTS):
            while self.clock.now_s() < self._begin_s + (index + 1) * 7 * DAY_S / (ROLLOUTS + 1):
                self._tick(IDLE_S)
            self._roll_out(KINDS[int(self.rng.integers(len(KINDS)))])
        for _ in range(PATIENCE):
            if not unfinished_jobs(self.stores.database):
                break
            self._tick(TICK_S)
        self.broken += self.gateway.broken + look_back(self)

    def close(self) -> None:
        """Close all databases."""
        for contender in self.contenders:
            contender.stores.close()
        self.stores.close()

    def _roll_out(self, kind: str) -> None:
        version = self.catalogue.register("m", Registration(self.folder)).id
        self._make_ready()
        desk = RolloutDesk(self.stores, self.catalogue, self.clock, SeededRng(int(self.rng.integers(2**31))))
        row = desk.start(SERVICE, VersionRef("m", number=version.number), actor="eva", reason=kind)
        self._prepare(kind, version)
        for count in range(PATIENCE):
            self._tick(TICK_S, live=row.id)
            now = self.stores.rollouts.get(row.id)
            if kind == "aborted" and count == 9 and not now.ended:
                self._abort(desk, row.id)
            if kind == "outage" and count == 25:
                self.gateway.outage = False
            if now.ended:
                break
        self._settle(kind, row.id)

    def _prepare(self, kind: str, version: VersionId) -> None:
        now_s = self.clock.now_s()
        self.gateway.qualities[version.number] = {
            "errors": Quality(bad=0.3),
            "wrong": Quality(wrong=0.4),
            "late": Quality(bad=0.4, since_s=now_s + float(self.rng.uniform(60, 400))),
        }.get(kind, Quality())
        self.gateway.outage = kind == "outage"

    def _abort(self, desk: RolloutDesk, rollout: str) -> None:
        try:
            desk.act(rollout, ManualAction(ManualKind.ABORT, "eva", "second thoughts"))
        except RoostError:
            self.struck["refused abort"] += 1

    def _make_ready(self) -> None:
        """Wait until nothing is away and the last rollout's leftovers are gone: a person starts nothing in a storm."""
        self.gateway.outage = False
        for _ in range(PATIENCE):
            self._tick(TICK_S)
            if not self.stores.rollouts.living():
                return
        self.broken.append("a rollout never ended")

    def _settle(self, kind: str, rollout: str) -> None:
        row = self.stores.rollouts.get(rollout)
        self.gateway.outage = False
        for _ in range(PATIENCE):
            if row.ended:
                break
            self._tick(TICK_S, live=rollout)
            row = self.stores.rollouts.get(rollout)
        blamed = any(entry.decision["reason"] == PROVEN_HARM for entry in self.stores.ledger.entries(rollout))
        self.ends[f"{kind}: {row.phase}{', harm proven' if blamed else ''}"] += 1
        if not row.ended:
            self.broken.append(f"{rollout} ({kind}) did not end: {row.phase}")
        if kind in HARMFUL and row.phase == Phase.PROMOTED:
            self.broken.append(f"{rollout} ({kind}) was promoted")
        number = VersionId.parse(row.challenger).number
        if row.phase != Phase.PROMOTED:
            self.gateway.qualities.pop(number, None)

    def _tick(self, duration_s: float, *, live: str | None = None) -> None:
        """Let time pass for everybody: users are served, processes step, sleep, die and come back."""
        self.gateway.serve(duration_s)
        self.clock.advance(duration_s)
        if not self._asleep:
            self._be_unkind()
        acted = False
        for contender in list(self.contenders):
            acted |= self._step(contender)
        if live is not None:
            self._check_retreat(live, acted=acted)

    def _step(self, contender: Contender) -> bool:
        """Let one process tick; tell whether it led, reached the gateway and finished."""
        if self.clock.now_s() < contender.back_s:
            return False
        try:
            if contender.controller is None:
                contender.controller = self._control(contender)
            contender.controller.step()
            if contender.worker is None:
                contender.worker = SimulatedWorker(contender.name, contender.stores.database, self.rng, self.jobs_done)
            self.struck["job refused"] += not contender.worker.step(self.clock.monotonic_s())
        except Killed:
            self.struck["killed"] += 1
            contender.controller = contender.worker = None
            contender.back_s = self.clock.now_s() + float(self.rng.uniform(TICK_S, 12 * TICK_S))
            return False
        snapshot = contender.controller.snapshot()
        return snapshot.leads and not snapshot.problem and "gateway" not in contender.faults.away

    def _be_unkind(self) -> None:
        rng, unkind = self.rng, self.unkind
        for contender in self.contenders:
            contender.faults.disarm()
            for part in PARTS:
                if part in contender.faults.away:
                    if rng.uniform() < 0.3:
                        contender.faults.away.discard(part)
                elif rng.uniform() < 0.01 * unkind:
                    contender.faults.away.add(part)
                    self.struck[f"{part} away"] += 1
            if rng.uniform() < 0.06 * unkind:
                contender.faults.arm(int(rng.integers(1, 40)), self._choose_strike(contender))
            if abs(contender.clock.ahead_s) > MOST_SKEW_S:
                contender.clock.ahead_s *= float(rng.uniform() > 0.1)
            elif rng.uniform() < 0.01 * unkind:
                self.struck["clock set"] += 1
                contender.clock.ahead_s = float(rng.choice([-600.0, -2.0, 2.0, 600.0]))
        if self.restart is not None and rng.uniform() < 0.002 * unkind:
            self.struck["database restarted"] += 1
            self.restart()
            self.stores.database.engine.dispose()
        self.gateway.withheld = int(rng.integers(0, 3)) if rng.uniform() < 0.1 * unkind else 0

    def _choose_strike(self, contender: Contender) -> Callable[[bool], None]:
        def kill(within: bool) -> None:
            raise Killed

        def lose(within: bool) -> None:
            if not within:
                self.struck["answer lost"] += 1
                raise Unavailable("the answer got lost")

        def stop(within: bool) -> None:
            if within or self._asleep:
                return  # a stopped process within a transaction is the database's affair: it ends it
            self.struck["stopped"] += 1
            self._sleep(contender)

        return (kill, kill, lose, stop)[int(self.rng.integers(4))]

    def _sleep(self, contender: Contender) -> None:
        """Stop a process in the middle of a call while the world goes on, and wake it after its lease is over."""
        self._asleep += 1
        controller, contender.controller = contender.controller, None
        worker, contender.worker = contender.worker, None
        until_s = self.clock.now_s() + float(self.rng.uniform(1.5, 4)) * LEASE_S
        contender.back_s = until_s
        while self.clock.now_s() < until_s:
            self._tick(TICK_S)
        contender.controller, contender.worker = controller, worker
        self._asleep -= 1

    def _check_retreat(self, rollout: str, *, acted: bool) -> None:
        """Promises 2 and 3: what is rolled back loses its traffic, whatever else is away, and never gets it again."""
        split, row = self.gateway.split, self.stores.rollouts.get(rollout)
        weight = split.weight if split is not None and split.rollout_id == rollout else 0.0
        retreats = row.phase in {phase.value for phase in RETREATING | {Phase.ROLLED_BACK, Phase.ABORTED}}
        if retreats and weight == 0.0:
            self.gateway.zeroed.add(rollout)
        self._overdue = self._overdue + 1 if retreats and weight > 0 and acted else 0
        if self._overdue > 3:
            self.broken.append(f"{rollout} has {weight:.0%} of the traffic though it is {row.phase}")

    def _serves(self) -> bool:
        table = self.gateway.table_in_force
        return table is not None and SERVICE in table.services

    def _open(self, url: str, faults: Faults | None = None, clock: Clock | None = None) -> Stores:
        database = open_store(url, self.clock) if faults is None else FaultyDatabase(url, self.clock, faults)
        if database.dialect == "sqlite":
            event.listen(database.engine, "connect", trust_the_disk)
            database.engine.dispose()
        return Stores.on(database, b"k" * 32, clock or self.clock)

    def _contender(self, name: str) -> Contender:
        faults, clock = Faults(), SkewedClock(self.clock)
        return Contender(name, faults, self._open(self.url, faults, clock), clock)

    def _control(self, contender: Contender) -> Controller:
        """Start a process anew: it knows what the stores say, and nothing else."""
        faults = contender.faults
        world = World(
            contender.clock,
            SeededRng(int(self.rng.integers(2**31))),
            Faulty("mlflow", self.catalogue, faults),
            self.fleet,
            Faulty("gateway", self.gateway, faults),
        )
        return Controller(
            world,
            contender.stores,
            holder=contender.name,
            scorers={SeenText.name: Faulty("scorer", SeenText(), faults)},
            guard=make_guard(contender.stores, contender.clock),
            warm_up_prompts=(),
            executor=AtOnce(),
            lease_s=LEASE_S,
        )


def live_through(seed: int, url: str | None = None, *, unkind: float = 1.0, restart: Restart | None = None) -> Week:
    """Simulate one week on a database of its own: SQLite in a folder that goes away, unless ``url`` names another."""
    with tempfile.TemporaryDirectory() as folder:
        week = Week(seed, url or f"sqlite:///{folder}/roost.db", Path(folder), unkind, restart)
        try:
            week.run()
        finally:
            week.close()
        return week
