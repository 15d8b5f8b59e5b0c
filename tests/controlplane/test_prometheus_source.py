"""Telemetry from a real Prometheus: every event counted once, and silence never taken for health."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count, pairwise
from pathlib import Path

import pytest

from contracts.clock import Clock, SystemClock
from contracts.errors import InvalidInput, Unavailable
from contracts.ids import VersionId
from contracts.rng import SeededRng
from contracts.specs.loading import load_service_spec
from contracts.specs.service import ServiceSpec
from contracts.wire.counted import Counted, take_new
from contracts.wire.telemetry import AttemptCounts, TelemetryBatch
from controlplane.loop.evidence import EvidenceDesk
from controlplane.telemetry_sources.prometheus import PrometheusSource
from controlplane.telemetry_sources.prometheus_server import PrometheusServer
from controlplane.telemetry_sources.settings import PrometheusService
from rollout.evidence.counts import Tally
from tests.controlplane.prometheus import Prometheus, Target, needs_prometheus, scraped_target

ONE, TWO = VersionId("m", 1), VersionId("m", 2)
PLAIN = "{service: tags, model: m, slos: {availability: {objective: 98%}}}"
TIMED = "{service: tags, model: m, slos: {availability: {objective: 98%}, quick: {objective: 90%, threshold: 500ms}}}"
POOL = 18


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Prometheus, list[Target]]]:
    """A server that scrapes enough targets for all tests: each takes its own."""
    server = Prometheus(tmp_path_factory.mktemp("prometheus"))
    with ExitStack() as stack:
        targets = [stack.enter_context(scraped_target()) for _ in range(POOL)]
        server.scrape(*targets)
        server.start()
        stack.callback(server.kill)
        yield server, targets


@pytest.fixture
def shared(pool: tuple[Prometheus, list[Target]]) -> Prometheus:
    return pool[0]


@pytest.fixture
def target(pool: tuple[Prometheus, list[Target]]) -> Target:
    return pool[1].pop()


@pytest.fixture
def second(pool: tuple[Prometheus, list[Target]]) -> Target:
    """Another target, which is found only when it answers for the first time."""
    return pool[1].pop()


def selectors(*targets: Target) -> PrometheusService:
    only = "|".join(target.address for target in targets)
    return PrometheusService(
        total=f'asked_total{{instance=~"{only}"}}',
        bad=f'failed_total{{instance=~"{only}"}}',
        histogram=f'took_seconds{{instance=~"{only}"}}',
    )


class Reader:
    """A source that keeps all it was told."""

    def __init__(self, url: str, service: PrometheusService, spec: str = PLAIN, *, clock: Clock | None = None) -> None:
        self.spec: ServiceSpec = load_service_spec(spec)
        self.server = PrometheusServer(url)
        clock = clock or SystemClock()
        self.source = PrometheusSource(self.server, service, self.spec, clock=clock, rng=SeededRng(1))
        self.batches: list[TelemetryBatch] = []
        self.counted: Counted = {}
        self._turns = count()
        self.expected: tuple[VersionId, ...] = (ONE,)

    def pull(self) -> None:
        """Fetch, and count what is new, but only every other time: what is not counted comes again."""
        reply, counted = take_new(self.source.fetch(self.counted, self.expected), self.counted)
        if next(self._turns) % 2:
            self.batches += reply.batches
            self.counted = counted

    @property
    def newest_s(self) -> float:
        return self.batches[-1].end_s if self.batches else 0.0

    def rows(self, version: VersionId = ONE) -> list[AttemptCounts]:
        return [row for batch in self.batches for row in batch.attempts if row.version == version]

    def tally(self, version: VersionId = ONE) -> tuple[int, int]:
        return sum(row.n_bad for row in self.rows(version)), sum(row.total for row in self.rows(version))

    def until(self, holds: Callable[[], bool]) -> None:
        """Pull until something holds."""
        deadline_s = time.monotonic() + 30
        while time.monotonic() < deadline_s:
            self.pull()
            if holds():
                return
            time.sleep(0.05)
        raise AssertionError(f"{self.tally()} {self.tally(TWO)} {self.newest_s} {self.source.problems}")

    def until_known(self) -> None:
        """Pull until what was counted by now has surely been scraped and told."""
        now_s = time.time()
        self.until(lambda: self.newest_s > now_s)

    def idle(self, duration_s: float = 1.0) -> None:
        deadline_s = time.monotonic() + duration_s
        while time.monotonic() < deadline_s:
            self.pull()
            time.sleep(0.05)


@pytest.fixture
def reader(shared: Prometheus, target: Target, second: Target) -> Iterator[Reader]:
    target.add(asked_total=1000, failed_total=100)
    found = Reader(shared.url, selectors(target, second))
    found.until_known()
    yield found
    found.server.close()


@needs_prometheus
def test_each_event_since_the_beginning_is_counted_once(reader: Reader, target: Target) -> None:
    assert reader.tally() == (0, 0), "what happened earlier says nothing"
    for number in range(20):
        target.add(asked_total=7, failed_total=number % 2)
        reader.idle(0.05)
    reader.until_known()
    assert reader.tally() == (10, 140)
    reader.idle(0.5)
    assert reader.tally() == (10, 140)
    sequences = [batch.sequence for batch in reader.batches]
    assert sequences == list(range(len(sequences)))
    assert all(a.end_s == b.start_s for a, b in pairwise(reader.batches))


@needs_prometheus
def test_a_version_that_appears_counts_from_zero_and_the_gates_get_both_arms(reader: Reader, target: Target) -> None:
    reader.expected = (ONE, TWO)
    target.add(asked_total=50, asked_total_2=9, failed_total_2=4)
    reader.until_known()
    assert reader.tally(TWO) == (4, 9)
    evidence = EvidenceDesk(reader.spec, {}).arrange(reader.batches, [], "r", ONE, TWO, since_s=0.0)
    assert evidence.counts["availability"].challenger == Tally(4, 9)
    assert evidence.counts["availability"].champion == Tally(0, 50)


@needs_prometheus
def test_a_restarted_program_counts_from_zero(reader: Reader, target: Target) -> None:
    target.add(asked_total=30)
    reader.until_known()
    target.lines.clear()
    target.add(asked_total=11, failed_total=3)
    reader.until_known()
    assert reader.tally() == (3, 41)


@needs_prometheus
def test_a_dead_target_is_no_data_and_what_it_counted_meanwhile_is_not_lost(reader: Reader, target: Target) -> None:
    target.is_down = True
    reader.idle(0.5)
    stood_s, told = reader.newest_s, len(reader.batches)
    target.add(asked_total=20, failed_total=2)
    reader.idle(1.5)
    assert reader.newest_s == stood_s, "time stands still, so that gates see how old the data is"
    assert len(reader.batches) == told, "nothing is told, least of all zeros"
    target.is_down = False
    reader.until_known()
    assert reader.tally() == (2, 20)


@needs_prometheus
def test_one_dead_target_of_two_stops_time_but_not_the_evidence(reader: Reader, target: Target, second: Target) -> None:
    second.add(asked_total=500)
    reader.until(lambda: len(reader.source._arms[ONE].targets) == 2)
    reader.until_known()
    assert reader.tally() == (0, 0), "what a target counted before it was found is not the rollout's"
    second.is_down = True
    reader.idle(0.5)
    stood_s = reader.newest_s
    target.add(asked_total=10, failed_total=10)
    reader.until(lambda: reader.tally() == (10, 10))
    assert reader.newest_s == stood_s


@needs_prometheus
@pytest.mark.slow
def test_a_target_that_is_taken_away_is_not_waited_for(tmp_path: Path) -> None:
    own = Prometheus(tmp_path)
    with scraped_target() as stays, scraped_target() as leaves:
        for one in (stays, leaves):
            one.add(asked_total=1)
        own.scrape(stays, leaves)
        own.start()
        reader = Reader(own.url, selectors(stays, leaves))
        try:
            reader.until(lambda: len(reader.source._arms[ONE].targets) == 2)
            own.scrape(stays)
            leaves.is_down = True
            reader.idle(1.0)
            reader.until_known()
        finally:
            reader.server.close()
            own.kill()


@needs_prometheus
def test_an_expected_version_that_nobody_tells_of_is_no_data(reader: Reader, target: Target) -> None:
    reader.expected = (ONE, TWO)
    reader.idle(0.5)
    stood_s = reader.newest_s
    target.add(asked_total=5)
    reader.idle(1.0)
    assert reader.newest_s == stood_s
    target.add(asked_total_2=1)
    reader.until_known()
    assert (reader.tally(), reader.tally(TWO)) == ((0, 5), (0, 1))


@needs_prometheus
def test_a_version_that_left_its_target_is_forgotten(reader: Reader, target: Target) -> None:
    reader.expected = (TWO,)
    target.lines.clear()
    target.add(asked_total_2=3)
    reader.until(lambda: reader.tally(TWO) == (0, 3))
    reader.until_known()
    assert ONE not in reader.source._arms


@needs_prometheus
@pytest.mark.slow
def test_prometheus_killed_and_started_again_loses_and_doubles_nothing(tmp_path: Path, target: Target) -> None:
    own = Prometheus(tmp_path)
    target.add(asked_total=100, failed_total=1)
    own.scrape(target)
    own.start()
    reader = Reader(own.url, selectors(target))
    try:
        reader.until_known()
        target.add(asked_total=10)
        reader.until_known()
        own.kill()
        target.add(asked_total=5, failed_total=2)
        with pytest.raises(Unavailable, match="gave no answer"):
            reader.pull()
        own.start()
        reader.until_known()
        target.add(asked_total=1)
        reader.until_known()
        assert reader.tally() == (2, 16)
        assert time.time() - reader.newest_s < 30
    finally:
        reader.server.close()
        own.kill()


@needs_prometheus
def test_latency_is_counted_at_the_threshold_and_never_guessed(shared: Prometheus, target: Target) -> None:
    target.add(asked_total=10)
    target.observe(quick=10, slow=0)
    reader = Reader(shared.url, selectors(target), TIMED)
    other = Reader(shared.url, selectors(target), TIMED.replace("500ms", "400ms"))
    try:
        for one in (reader, other):
            one.until(lambda one=one: bool(one.source._arms[ONE].targets))  # type: ignore[misc]
        reader.until_known()
        target.observe(quick=6, slow=4)
        target.add(asked_total=12, failed_total=2)
        reader.until_known()
        assert sum(row.slow["quick"] for row in reader.rows()) == 4
        assert reader.tally() == (2, 12)
        other.idle(0.5)
        assert other.batches == []
        assert "no bucket at 0.4 s, the threshold of quick" in other.source.problems[0]
        del target.lines['took_seconds_bucket{version="m@1",le="0.5"}']
        reader.idle(0.5)
        stood_s, before = reader.newest_s, reader.tally()
        target.add(asked_total=50)
        reader.idle(1.0)
        assert (reader.newest_s, reader.tally()) == (stood_s, before), "a part that is missing is not all quick"
    finally:
        reader.server.close()
        other.server.close()


@needs_prometheus
def test_a_selector_that_prometheus_refuses_is_told(shared: Prometheus) -> None:
    reader = Reader(shared.url, PrometheusService(total='x{a=~"("}', bad="y"))
    try:
        with pytest.raises(InvalidInput, match="Prometheus refused"):
            reader.pull()
    finally:
        reader.server.close()


@needs_prometheus
def test_a_clock_that_differs_from_the_servers_makes_nothing_look_newer_or_older(
    shared: Prometheus, target: Target
) -> None:
    class Ahead(SystemClock):
        def now_s(self) -> float:
            return super().now_s() + 3600

    target.add(asked_total=1)
    reader = Reader(shared.url, selectors(target), clock=Ahead())
    try:
        reader.until(lambda: len(reader.batches) > 3)
        assert 0 <= Ahead().now_s() - reader.newest_s < 60
    finally:
        reader.server.close()
