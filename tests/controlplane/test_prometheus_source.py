"""Telemetry from a real Prometheus: every event counted once, and silence never taken for health."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import count, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.clock import SystemClock
from contracts.errors import InvalidInput, SpecError, Unavailable
from contracts.ids import VersionId
from contracts.rng import SeededRng
from contracts.specs.loading import load_service_spec
from contracts.specs.service import ServiceSpec
from contracts.wire.counted import Counted, take_new
from contracts.wire.routing import Endpoint, RoutingTable, ServiceRoutes, Split
from contracts.wire.telemetry import AttemptCounts, RequestCounts, TelemetryBatch, TelemetryReply
from controlplane.loop.evidence import EvidenceDesk
from controlplane.secret import Secret
from controlplane.telemetry_sources.counters import TOTAL, Counters, Group
from controlplane.telemetry_sources.joined import JoinedDataPlane, speaks_for
from controlplane.telemetry_sources.prometheus import PrometheusSource, narrow
from controlplane.telemetry_sources.prometheus_server import PrometheusServer, Sample, Series
from controlplane.telemetry_sources.settings import PrometheusService, load_telemetry
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

    def __init__(self, url: str, service: PrometheusService, spec: str = PLAIN) -> None:
        self.spec: ServiceSpec = load_service_spec(spec)
        self.server = PrometheusServer(url)
        self.source = PrometheusSource(self.server, service, self.spec, clock=SystemClock(), rng=SeededRng(1))
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


@given(
    steps=st.lists(st.tuples(st.integers(0, 50), st.booleans()), min_size=2, max_size=40),
    reads=st.lists(st.integers(0, 40), max_size=12),
)
def test_a_counter_grows_by_what_it_counted_however_it_is_read(
    steps: Sequence[tuple[int, bool]], reads: Sequence[int]
) -> None:
    """Against a plain count: a restart before a sample loses what was before, each read sees all samples so far."""
    samples: list[Sample] = [(0.0, 5.0)]
    for at_s, (amount, restarts) in enumerate(steps, start=1):
        # A restart that counts on beyond the old value in between is not told from going on; no reader can.
        value = min(amount, samples[-1][1] - 1) if restarts and samples[-1][1] > 0 else samples[-1][1] + amount
        samples.append((float(at_s), value))
    expected = sum(b[1] - a[1] if b[1] >= a[1] else b[1] for a, b in pairwise(samples))
    counters, place, grown = Counters(0.0), ("j", "i"), 0.0
    for until in [*sorted(min(read, len(steps)) for read in reads), len(steps)]:
        seen = tuple(samples[max(0, until - 5) : until + 1]) if until < len(steps) else tuple(samples)
        group = Group({TOTAL: [Series({"job": "j", "instance": "i"}, seen)]})
        growth = counters.growth(place, group, until_s=float(until))
        counters.take(growth)
        grown += growth.by_kind[TOTAL]
    if not any(later - earlier > 5 for earlier, later in _gaps(reads, len(steps))):
        assert grown == expected


def _gaps(reads: Sequence[int], last: int) -> list[tuple[int, int]]:
    points = [0, *sorted(min(read, last) for read in reads)]
    return list(pairwise(points))


def test_settings_are_read_and_every_mistake_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "telemetry.yaml"
    assert load_telemetry(file) is None
    file.write_text(
        """
url: http://127.0.0.1:9090
token: {env: PROMETHEUS_TOKEN}
services:
  tags: {total: 'asked_total{app="tags"}', bad: 'asked_total{app="tags",code=~"5.."}', version_value: "v{number}"}
"""
    )
    found = load_telemetry(file)
    assert found is not None
    assert found.services["tags"].read_version("v12", "m") == VersionId("m", 12)
    assert all(found.services["tags"].read_version(text, "m") is None for text in ("12", "v012", "v", "vx", "", "v1 "))
    monkeypatch.setenv("PROMETHEUS_TOKEN", "abc")
    assert found.token is not None
    assert found.token.read(tmp_path) == "abc"
    file.write_text("{url: 'ftp://x', services: {tags: {total: 'rate(x[5m])', bad: y, histgram: z}}}")
    with pytest.raises(SpecError) as mistakes:
        load_telemetry(file)
    assert {problem.path for problem in mistakes.value.problems} == {
        "url",
        "services.tags.total",
        "services.tags.histgram",
    }


def test_a_secret_that_is_not_there_names_its_place(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="keys/none"):
        Secret(file="keys/none").read(tmp_path)
    with pytest.raises(ValueError, match="either env or file"):
        Secret()


@pytest.mark.parametrize(
    ("spec", "service", "message"),
    [
        (TIMED, PrometheusService(total="a", bad="b"), "slos.quick needs it"),
        (
            "{service: tags, model: m, slos: {text: {scorer: s, objective: 90%}}}",
            PrometheusService(total="a", bad="b"),
            "no outputs to score",
        ),
        (
            "{service: tags, model: m, lanes: {draft: {}}, slos: {a: {objective: 90%}}}",
            PrometheusService(total="a", bad="b"),
            "no lanes",
        ),
    ],
)
def test_objectives_that_prometheus_cannot_tell_of_are_refused(
    spec: str, service: PrometheusService, message: str
) -> None:
    with PrometheusServer("http://127.0.0.1:9") as server, pytest.raises(InvalidInput, match=message):
        PrometheusSource(server, service, load_service_spec(spec), clock=SystemClock(), rng=SeededRng(1))


def test_a_selector_is_narrowed() -> None:
    assert narrow('x{a="}"}', "_bucket", 'le="1"') == 'x_bucket{a="}", le="1"}'
    assert narrow("x", "_count") == "x_count{}"


class Gateways:
    """A data plane that counts nothing, with a table that sends half of the users to the challenger."""

    def __init__(self, weight: float = 0.5) -> None:
        split = Split(rollout_id="r", salt="12345678", challenger=TWO, weight=weight)
        endpoints = {str(version): (Endpoint(replica="a", url="http://127.0.0.1:1"),) for version in (ONE, TWO)}
        routes = ServiceRoutes(service="tags", champion=ONE, split=split, endpoints=endpoints)
        self._table = RoutingTable(fence=1, revision=1, services={"tags": routes})

    def push(self, table: RoutingTable) -> None:
        self._table = table

    def table(self) -> RoutingTable | None:
        return self._table

    def fetch(self, counted: Counted) -> TelemetryReply:
        batch = TelemetryBatch(gateway="g", boot="b", sequence=0, start_s=0.0, end_s=1.0, table_revision=7)
        return TelemetryReply(boot="b", batches=(batch,))


class Source:
    """Stands for a source of Prometheus: notes whom it is asked for."""

    problems = ()

    def __init__(self, *, is_away: bool = False) -> None:
        self.asked: list[tuple[VersionId, ...]] = []
        self._is_away = is_away

    def fetch(self, counted: Counted, expected: tuple[VersionId, ...]) -> TelemetryReply:
        self.asked.append(expected)
        if self._is_away:
            raise Unavailable("it is away")
        requests = (RequestCounts(service="tags", lane="default", total=0),)
        batch = TelemetryBatch(
            gateway="prometheus", boot="p", sequence=3, start_s=0.0, end_s=1.0, table_revision=0, requests=requests
        )
        return TelemetryReply(boot="p", batches=(batch,))


@pytest.mark.parametrize(("weight", "expected"), [(0.0, (ONE,)), (0.5, (ONE, TWO)), (1.0, (TWO,))])
def test_gateways_and_sources_are_one_data_plane(weight: float, expected: tuple[VersionId, ...]) -> None:
    source = Source()
    plane = JoinedDataPlane(Gateways(weight), {"tags": source})  # type: ignore[dict-item]
    reply, counted = take_new(plane.fetch({}), {})
    assert source.asked == [expected], "whoever gets users must be heard of"
    assert reply.batches[-1].table_revision == 7
    assert counted == {"p": (3, -1), "b": (0, -1)}
    again, _ = take_new(plane.fetch(counted), counted)
    assert again.batches == ()
    news = {
        service: [b.gateway for b in reply.batches if speaks_for(b, service, {"tags"})] for service in ("tags", "o")
    }
    assert news == {"tags": ["prometheus"], "o": ["g"]}


def test_a_source_that_is_away_keeps_no_other_waiting_and_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    plane = JoinedDataPlane(Gateways(), {"tags": Source(is_away=True)})  # type: ignore[dict-item]
    for _ in range(3):
        assert [batch.gateway for batch in plane.fetch({}).batches] == ["g"]
    assert caplog.text.count("it is away") == 1
