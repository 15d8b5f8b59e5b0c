"""A world in virtual time: the real loop, machine, ledger and routing desk; fake fleet, catalogue and traffic."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx
import pytest

from contracts.clock import FakeClock
from contracts.errors import Unavailable
from contracts.events import Event
from contracts.ids import CHAMPION, VersionId
from contracts.rng import SeededRng
from contracts.specs.loading import load_service_spec
from contracts.specs.service import ServiceSpec
from contracts.wire.routing import RoutingTable, Split
from contracts.wire.telemetry import (
    AttemptCounts,
    Exposure,
    RequestCounts,
    SampledOutput,
    TelemetryBatch,
    TelemetryReply,
)
from controlplane.loop.effects import worker_spec
from controlplane.loop.evidence import EvidenceDesk
from controlplane.loop.reconcile import RolloutLoop, World
from controlplane.loop.routing import DesiredTraffic, RoutingDesk
from controlplane.store.ledger import FileLedger
from evaluation.scorers.port import Score
from registry.catalogue import Registration
from registry.fake_catalogue import FakeCatalogue
from rollout.machine import Decision
from serving.fleet.fake import FakeFleet
from serving.fleet.port import Placement, place
from tests.controlplane.postgres import PostgresServer, find_binaries, postgres_server

SPEC = """
service: tags
model: m
slos:
  availability: {objective: 98%}
  text: {scorer: seen-text, objective: 97%, sample: 100%, margin: 5%, unacceptable_margin: 12%}
rollout: {relative: null, bake: 20s, max_duration: 10m, max_staleness: 10s, on_timeout: rollback, warmup: {prompts: 2}}
"""


class SeenText:
    """A scorer that reads its score from the prompt, so that traffic decides what is seen."""

    name = "seen-text"
    digest = "sha256:0"

    def score(self, samples: Sequence[SampledOutput]) -> list[Score]:
        return [Score(None, "scripted") if s.prompt == "?" else Score(float(s.prompt)) for s in samples]


class FakeTraffic:
    """A data plane whose users ask ``rate`` times a second; each version fails and draws wrongly at its own rates."""

    def __init__(self, clock: FakeClock, rate: int = 40) -> None:
        self._clock, self._rng, self.rate = clock, SeededRng(11), rate
        self.bad: dict[int, float] = {}
        self.wrong: dict[int, float] = {}
        self.away = False
        self.unscored = False
        self.table: RoutingTable | None = None
        self.weights: list[float] = []
        self._sequence = 0
        self._cut_s = clock.now_s()

    def push(self, table: RoutingTable) -> None:
        if self.away:
            raise Unavailable("the gateway does not answer")
        self.table = table

    def pull(self) -> TelemetryReply:
        if self.away:
            raise Unavailable("the gateway does not answer")
        start_s, self._cut_s = self._cut_s, self._clock.now_s()
        routes = self.table.services["tags"] if self.table else None
        if routes is None:
            return TelemetryReply(batches=())
        split = routes.split
        weight = split.weight if split is not None else 0.0
        self.weights.append(weight)
        total = round(self.rate * (self._cut_s - start_s))
        on_challenger = sum(self._rng.uniform() < weight for _ in range(total))
        arms = [(routes.champion, total - on_challenger)]
        if split is not None:
            arms.append((split.challenger, on_challenger))
        rows = [self._attempts(version, n) for version, n in arms if n]
        batch = TelemetryBatch(
            gateway="g",
            boot="b",
            sequence=self._sequence,
            start_s=start_s,
            end_s=self._cut_s,
            table_revision=1,
            attempts=tuple(rows),
            requests=(RequestCounts(service="tags", lane="default", total=total),),
            exposures=()
            if split is None or not weight
            else (
                Exposure(
                    service="tags",
                    rollout_id=split.rollout_id,
                    weight=weight,
                    champion=total - on_challenger,
                    challenger=on_challenger,
                ),
            ),
        )
        self._sequence += 1
        samples = [sample for row in rows for sample in self._samples(row)]
        copies = self._copies(split, samples) if split is not None and split.mirror_share else []
        return TelemetryReply(batches=(batch,), samples=(*samples, *copies))

    def _copies(self, split: Split, samples: list[SampledOutput]) -> list[SampledOutput]:
        copied = [s for s in samples if s.version != split.challenger and self._rng.uniform() < split.mirror_share]
        return [
            sample.model_copy(
                update={
                    "version": split.challenger,
                    "mirrored": True,
                    "prompt": "0" if self._rng.uniform() < self.wrong.get(split.challenger.number, 0.0) else "1",
                }
            )
            for sample in copied
        ]

    def _attempts(self, version: VersionId, total: int) -> AttemptCounts:
        bad = sum(self._rng.uniform() < self.bad.get(version.number, 0.0) for _ in range(total))
        return AttemptCounts(
            service="tags", version=version, replica="a", lane="default", total=total, bad={"error": bad} if bad else {}
        )

    def _samples(self, row: AttemptCounts) -> Iterator[SampledOutput]:
        for index in range(row.total - row.n_bad):
            wrong = self._rng.uniform() < self.wrong.get(row.version.number, 0.0)
            yield SampledOutput(
                service="tags",
                version=row.version,
                request_id=f"r{self._sequence}-{row.version.number}-{index}",
                lane="default",
                prompt="?" if self.unscored else "0" if wrong else "1",
                seed=0,
                at_s=self._clock.now_s(),
                image_png=b"",
            )


class Bench:
    """Champion m@1 in service, challenger m@2 on its way."""

    def __init__(self, folder: Path, spec: str = SPEC) -> None:
        self.clock = FakeClock()
        self.spec: ServiceSpec = load_service_spec(spec)
        self.fleet, self.catalogue, self.traffic = FakeFleet(), FakeCatalogue(), FakeTraffic(self.clock)
        self.ledger = FileLedger(folder / "ledger.jsonl", code_version="test")
        self.desk = RoutingDesk(self.traffic, self.fleet)
        self.champion = self.catalogue.register("m", Registration(folder)).id
        self.challenger = self.catalogue.register("m", Registration(folder)).id
        self.catalogue.move_alias(self.champion, CHAMPION, actor="test", reason="the first")
        place(self.fleet, Placement(spec=worker_spec(self.catalogue, self.champion)))
        self.desk.want(DesiredTraffic(self.spec, champion=self.champion))
        self.desk.reconcile()
        self.told: list[Event] = []
        world = World(
            self.clock, SeededRng(5), self.catalogue, self.fleet, self.traffic, self.desk, self.ledger
        )  # fmt: skip
        evidence = EvidenceDesk(self.spec, {SeenText.name: SeenText()})
        self.loop = RolloutLoop(
            world,
            evidence,
            self.spec,
            self.challenger,
            warm_up_prompts=("a", "b", "c"),
            notify=self.told.append,
        )

    def run(self, until: Callable[[Decision], bool] | None = None, at_most: int = 1000) -> Decision:
        """Tick once a virtual second until ``until`` holds, or the rollout is over."""
        for _ in range(at_most):
            self.clock.advance(1.0)
            decision = self.loop.tick()
            if self.loop.is_over if until is None else until(decision):
                return decision
        raise AssertionError(f"after {at_most} ticks: {decision.state.phase} {decision.reason.sentence}")


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
def bench(tmp_path: Path, warm_up_calls: list[str]) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def mirroring_bench(tmp_path: Path, warm_up_calls: list[str]) -> Bench:
    return Bench(tmp_path, SPEC.replace("rollout: {", "rollout: {mirror: {share: 50%, min_pairs: 100}, "))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this session's own."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL's server is not installed (Debian: apt-get install postgresql)")
    with postgres_server(binaries) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database on each engine."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'roost.db'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new_database()
