"""A world in virtual time: the real loop, machine, ledger and routing desk; fake fleet, catalogue and traffic."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from sqlalchemy import event

from contracts.clock import FakeClock
from contracts.events import Event
from contracts.ids import CHAMPION, VersionId, VersionRef
from contracts.rng import SeededRng
from contracts.specs.loading import load_service_spec
from contracts.specs.service import ServiceSpec
from controlplane.loop.chores import AtOnce
from controlplane.loop.controller import Controller
from controlplane.loop.evidence import sliced_lanes
from controlplane.loop.ports import Guard, Watchers
from controlplane.loop.room import Means
from controlplane.loop.snapshot import ServiceView
from controlplane.loop.world import World
from controlplane.store.migrate import open_store
from controlplane.store.rollouts import Start, StoredRollout
from controlplane.stores import Stores
from registry.catalogue import Registration
from registry.fake_catalogue import FakeCatalogue
from rollout.machine import Decision, start
from rollout.policy import Policy, compile_policy
from serving.fleet.fake import FakeFleet
from tests.controlplane.desk_ground import Desks
from tests.controlplane.scripted_traffic import FakeTraffic, Gateways, SeenText
from tests.prepared import prepare_store

SPEC = """
service: tags
model: m
slos:
  availability: {objective: 98%}
  text: {scorer: seen-text, objective: 97%, sample: 100%, margin: 5%, unacceptable_margin: 12%}
rollout: {relative: null, bake: 20s, max_duration: 10m, max_staleness: 10s, on_timeout: rollback, warmup: {prompts: 2}}
"""


class Bench:
    """Champion m@1 in service, challenger m@2 on its way; a controller on a database of its own."""

    def __init__(self, folder: Path, spec: str = SPEC, *, memory_budget_bytes: int | None = None) -> None:
        self.clock, self.folder = FakeClock(), folder
        self.spec: ServiceSpec = load_service_spec(spec)
        self.fleet, self.catalogue, self.traffic = FakeFleet(), FakeCatalogue(), FakeTraffic(self.clock)
        folder.mkdir(exist_ok=True)
        database = open_store(prepare_store(folder / "roost.db"), self.clock)
        event.listen(database.engine, "connect", trust_the_disk)
        database.engine.dispose()
        self.stores = Stores.on(database, b"k" * 32, self.clock)
        self.ledger = self.stores.ledger
        self.champion = self.catalogue.register("m", Registration(folder)).id
        self.challenger = self.catalogue.register("m", Registration(folder)).id
        self.catalogue.move_alias(self.champion, CHAMPION, actor="test", reason="the first")
        self.stores.services.apply(self.spec, actor="test", reason="the first")
        self.crown(self.champion)
        self.told: list[Event] = []
        self.guard: Guard | None = None
        self.watchers: Watchers | None = None
        data_plane = Gateways(self.traffic)
        self.world = World(self.clock, SeededRng(5), self.catalogue, self.fleet, data_plane, Means(memory_budget_bytes))
        self.controller = self.control()

    def control(self, holder: str = "one") -> Controller:
        """Return a controller that knows nothing but what the stores and the world say."""
        return Controller(
            self.world,
            self.stores,
            holder=holder,
            scorers={SeenText.name: SeenText()},
            tell=self.told.append,
            guard=self.guard,
            watchers=self.watchers,
            warm_up_prompts=("a", "b", "c"),
            executor=AtOnce(),
        )

    def crown(self, version: VersionId) -> None:
        with self.stores.database.write() as connection:
            self.stores.services.crown(connection, self.spec.service, str(version))

    def begin(self, challenger: VersionId | None = None, *, forced: bool = False) -> StoredRollout:
        """Write a rollout's start down, as a desk does."""
        version = challenger or self.challenger
        revision = self.stores.services.get(self.spec.service)
        champion = self.stores.services.production(self.spec.service).champion
        assert champion is not None
        state = start(
            self.policy,
            at_s=self.clock.now_s(),
            rollout_id=f"{self.spec.service}-{version.number}-{self.world.rng.token(3)}",
            champion=champion,
            challenger=str(version),
        )
        wish = Start(
            service=self.spec.service,
            service_revision=revision.revision,
            digest=self.catalogue.get(VersionRef(version.model, number=version.number)).digest,
            salt=self.world.rng.token(8),
            state=state,
            actor="test",
            reason="to see",
            forced=forced,
        )
        with self.stores.database.write() as connection:
            return self.stores.rollouts.start(connection, wish)

    @property
    def rollout_id(self) -> str:
        """The service's newest rollout."""
        return self.stores.rollouts.of_service(self.spec.service)[0].id

    @property
    def policy(self) -> Policy:
        """The policy of the spec."""
        return compile_policy(self.spec.rollout, self.spec.objectives(), slices=sliced_lanes(self.spec))

    @property
    def view(self) -> ServiceView:
        """The service after the last tick."""
        return self.controller.snapshot().services[self.spec.service]

    def ticks(self, count: int = 1) -> None:
        """Tick once a virtual second."""
        for _ in range(count):
            self.clock.advance(1.0)
            self.controller.step()

    def run(self, until: Callable[[Decision], bool] | None = None, at_most: int = 1000) -> Decision:
        """Begin a rollout if none lives, and tick until ``until`` holds, or the rollout is over."""
        if not self.stores.rollouts.living():
            self.begin()
        decision: Decision | None = None
        for _ in range(at_most):
            self.ticks()
            problem = self.controller.snapshot().problem
            decision = self.view.decision if not problem else decision
            over = not self.stores.rollouts.living()
            if decision is not None and (over if until is None else until(decision)):
                return decision
        raise AssertionError(f"after {at_most} ticks: {decision and (decision.state.phase, decision.reason.sentence)}")

    def close(self) -> None:
        self.controller.close()
        self.stores.close()


def trust_the_disk(connection: sqlite3.Connection, record: object) -> None:
    """No test here cuts the power: let the operating system write when it likes."""
    connection.execute("PRAGMA synchronous=OFF")


@pytest.fixture
def warm_up_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Answer warm-up prompts without a worker; returns the URLs asked."""
    calls: list[str] = []

    def post(url: str, **options: object) -> httpx.Response:
        calls.append(url)
        return httpx.Response(200)

    monkeypatch.setattr("controlplane.loop.effects.httpx.post", post)
    return calls


@pytest.fixture
def bench(tmp_path: Path, warm_up_calls: list[str]) -> Iterator[Bench]:
    with closing(Bench(tmp_path)) as made:
        yield made


@pytest.fixture
def mirroring_bench(tmp_path: Path, warm_up_calls: list[str]) -> Iterator[Bench]:
    spec = SPEC.replace("rollout: {", "rollout: {mirror: {share: 50%, min_pairs: 100}, ")
    with closing(Bench(tmp_path, spec)) as made:
        yield made


@pytest.fixture
def desks(tmp_path: Path) -> Iterator[Desks]:
    made = Desks(tmp_path)
    yield made
    made.stores.close()
