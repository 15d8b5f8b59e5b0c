"""A simulated week: the real controllers, machine and stores in virtual time, and a world that is unkind to them.

Run many from the repository root::

    python -m tests.simulation.week --seeds 200
    python -m tests.simulation.week --seeds 20 --database postgresql://…     # an empty database for each, made there

Two controllers contend. They are killed at any of their calls, stopped for longer than their lease and woken again; the
database, the gateway, MLflow and the scorer go away and come back; answers get lost and telemetry comes late.
"""

import argparse
import json
import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

import numpy as np
from sqlalchemy import event

from contracts.clock import FakeClock
from contracts.errors import RoostError, Unavailable
from contracts.ids import VersionId, VersionRef
from contracts.rng import SeededRng
from contracts.specs.loading import load_service_spec
from contracts.wire.telemetry import SampledOutput
from controlplane.desks.rollouts import RolloutDesk
from controlplane.desks.services import ServiceDesk
from controlplane.guard.guard import make_guard
from controlplane.loop.chores import AtOnce
from controlplane.loop.controller import Controller
from controlplane.loop.world import World
from controlplane.store.migrate import open_store
from controlplane.stores import Stores
from evaluation.scorers.port import Score
from registry.catalogue import Registration
from registry.fake_catalogue import FakeCatalogue
from rollout.observation import Observation
from rollout.phases import RETREATING, ManualAction, ManualKind, Phase
from serving.fleet.fake import FakeFleet
from tests.controlplane.conftest import trust_the_disk
from tests.simulation.faults import Faults, Faulty, FaultyDatabase, Killed
from tests.simulation.gateway import SERVICE, Quality, SimulatedGateway

SPEC = """
service: tags
model: m
slos:
  availability: {objective: 98%}
  text: {scorer: seen-text, objective: 97%, sample: 5%, margin: 5%, unacceptable_margin: 12%}
rollout: {relative: null, bake: 2m, max_duration: 1h, max_staleness: 60s, on_timeout: rollback, warmup: {prompts: 1}}
"""
TICK_S = 10.0
IDLE_S = 3600.0
LEASE_S = 25.0
ROLLOUTS = 7
DAY_S = 86400.0
PATIENCE = 400
PARTS = ("database", "gateway", "mlflow", "scorer")
KINDS = ("good", "errors", "wrong", "late", "outage", "aborted")
HARMFUL = frozenset({"errors", "wrong"})


class SeenText:
    """A scorer that reads its score from the prompt."""

    name = "seen-text"
    digest = "sha256:0"

    def score(self, samples: Sequence[SampledOutput]) -> list[Score]:
        """Judge by what traffic wrote."""
        return [Score(float(sample.prompt)) for sample in samples]


@dataclass
class Contender:
    """One control plane's process: its faults, its stores, its controller while it lives, and until when it sleeps."""

    name: str
    faults: Faults
    stores: Stores
    controller: Controller | None = None
    back_s: float = 0.0


@dataclass
class Week:
    """One week under one seed; ``broken`` says which promise was broken when, and stays empty."""

    seed: int
    url: str
    folder: Path
    unkind: float = 1.0
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

    def run(self) -> None:
        """Live through the week, and look back at it."""
        champion = self.catalogue.register("m", Registration(self.folder)).id
        self.catalogue.move_alias(champion, "champion", actor="test", reason="the first")
        services = ServiceDesk(self.stores, self.catalogue)
        services.apply(load_service_spec(SPEC), actor="test", reason="the first", champion=VersionRef("m", number=1))
        while not self._serves():
            self._tick(TICK_S)
        for index in range(ROLLOUTS):
            while self.clock.now_s() < self._begin_s + (index + 1) * 7 * DAY_S / (ROLLOUTS + 1):
                self._tick(IDLE_S)
            self._roll_out(KINDS[int(self.rng.integers(len(KINDS)))])
        self._look_back()

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
        self.ends[f"{kind}: {row.phase}"] += 1
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
        except Killed:
            self.struck["killed"] += 1
            contender.controller = None
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
        until_s = self.clock.now_s() + float(self.rng.uniform(1.5, 4)) * LEASE_S
        contender.back_s = until_s
        while self.clock.now_s() < until_s:
            self._tick(TICK_S)
        contender.controller = controller
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

    def _look_back(self) -> None:
        self.broken += self.gateway.broken
        ledger = list(self.stores.ledger.entries())
        self.stores.ledger.verify()
        for rollout in {entry.rollout_id for entry in ledger}:
            entries = [entry for entry in ledger if entry.rollout_id == rollout]
            row = self.stores.rollouts.get(rollout)
            totals = [_total(entry.observation) for entry in entries]
            mine = [batch for batch in self.gateway.served if batch.start_s >= row.created_s]
            prefixes = {0, *accumulate(sum(a.total for a in batch.attempts) for batch in mine)}
            if not set(accumulate(totals)) <= prefixes:
                self.broken.append(f"{rollout}: telemetry was lost or counted twice")
            self._check_proof(rollout, [(e.observation, e.decision) for e in entries])
        owner = self.stores.services.production(SERVICE).champion
        if str(self.catalogue.aliases["m", "champion"]) != owner:
            self.broken.append(f"MLflow says {self.catalogue.aliases['m', 'champion']}, production is {owner}'s")

    def _check_proof(self, rollout: str, entries: list[tuple[dict[str, object], dict[str, object]]]) -> None:
        """Promise 4: nothing is promoted without fresh data and a proof."""
        for document, decision in entries:
            if decision["reason"] != "gate.safe-proven":
                continue
            seen = Observation.from_json(json.dumps(document))
            if seen.newest_telemetry_s is None or seen.at_s - seen.newest_telemetry_s > 60.0:
                self.broken.append(f"{rollout} was promoted on stale data")
            outcomes = {verdict["outcome"] for verdict in decision["verdicts"]}  # type: ignore[attr-defined]
            if outcomes != {"pass"}:
                self.broken.append(f"{rollout} was promoted though its gates say {outcomes}")

    def _serves(self) -> bool:
        table = self.gateway.table_in_force
        return table is not None and SERVICE in table.services

    def _open(self, url: str, faults: Faults | None = None) -> Stores:
        database = open_store(url, self.clock) if faults is None else FaultyDatabase(url, self.clock, faults)
        if database.dialect == "sqlite":
            event.listen(database.engine, "connect", trust_the_disk)
            database.engine.dispose()
        return Stores.on(database, b"k" * 32, self.clock)

    def _contender(self, name: str) -> Contender:
        faults = Faults()
        return Contender(name, faults, self._open(self.url, faults))

    def _control(self, contender: Contender) -> Controller:
        """Start a process anew: it knows what the stores say, and nothing else."""
        faults = contender.faults
        world = World(
            self.clock,
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
            guard=make_guard(contender.stores, self.clock),
            warm_up_prompts=(),
            executor=AtOnce(),
            lease_s=LEASE_S,
        )


def _total(observation: dict[str, object]) -> int:
    arms = observation["counts"]
    tick = arms.get("availability") if isinstance(arms, dict) else None
    return tick["challenger"]["total"] + tick["champion"]["total"] if tick else 0


def live_through(seed: int, url: str | None = None, *, unkind: float = 1.0) -> Week:
    """Simulate one week on a database of its own: SQLite in a folder that goes away, unless ``url`` names another."""
    with tempfile.TemporaryDirectory() as folder:
        week = Week(seed, url or f"sqlite:///{folder}/roost.db", Path(folder), unkind)
        try:
            week.run()
        finally:
            week.close()
        return week


def main() -> None:
    """Simulate weeks; exit status 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--unkind", type=float, default=1.0, help="how much goes wrong; 0 for nothing")
    parser.add_argument("--postgresql", action="store_true", help="on a PostgreSQL server of its own")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    ends, struck, broken, begun_s = Counter[str](), Counter[str](), 0, time.process_time()
    for seed, week in _weeks(arguments):
        ends += week.ends
        struck += week.struck
        broken += bool(week.broken)
        for line in week.broken:
            print(f"seed {seed}: {line}", flush=True)  # noqa: T201
    print(f"{arguments.seeds} weeks, {broken} with a broken promise, {time.process_time() - begun_s:.0f} s of CPU")  # noqa: T201
    for name, count in sorted((*ends.items(), *struck.items())):
        print(f"  {name:28} {count}")  # noqa: T201
    sys.exit(1 if broken else 0)


def _weeks(arguments: argparse.Namespace) -> Iterator[tuple[int, Week]]:
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    if not arguments.postgresql:
        yield from ((seed, live_through(seed, unkind=arguments.unkind)) for seed in seeds)
        return
    from tests.controlplane.postgres import find_binaries, postgres_server

    binaries = find_binaries()
    if binaries is None:
        raise SystemExit("PostgreSQL's server is not installed (Debian: apt-get install postgresql)")
    with postgres_server(binaries) as server:
        yield from ((seed, live_through(seed, server.new_database(), unkind=arguments.unkind)) for seed in seeds)


if __name__ == "__main__":
    main()
