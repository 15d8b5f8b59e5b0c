"""Telemetry sources without a server: settings, the arithmetic of counters, and several sources as one data plane."""

import math
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.clock import FakeClock, SystemClock
from contracts.errors import InvalidInput, NotFound, SpecError, Unavailable
from contracts.ids import VersionId
from contracts.rng import SeededRng
from contracts.specs.loading import load_service_spec
from contracts.specs.service import ServiceSpec
from contracts.wire.counted import Counted, take_new
from contracts.wire.routing import Endpoint, RoutingTable, ServiceRoutes, Split
from contracts.wire.telemetry import RequestCounts, TelemetryBatch, TelemetryReply
from controlplane.loop.ports import DataPlane
from controlplane.secret import Secret
from controlplane.telemetry_sources.counters import TOTAL, Counters, Group
from controlplane.telemetry_sources.joined import JoinedDataPlane
from controlplane.telemetry_sources.opening import joined_telemetry
from controlplane.telemetry_sources.prometheus import PrometheusSource, narrow
from controlplane.telemetry_sources.prometheus_server import PrometheusServer, Sample, Series
from controlplane.telemetry_sources.settings import PrometheusService, load_telemetry

ONE, TWO = VersionId("m", 1), VersionId("m", 2)
PLAIN = "{service: tags, model: m, slos: {availability: {objective: 98%}}}"
TIMED = "{service: tags, model: m, slos: {availability: {objective: 98%}, quick: {objective: 90%, threshold: 500ms}}}"


@given(
    steps=st.lists(st.tuples(st.integers(0, 50), st.booleans()), min_size=2, max_size=40),
    reads=st.lists(st.integers(0, 40), max_size=12),
)
def test_a_counter_grows_by_what_it_counted_however_it_is_read(
    steps: Sequence[tuple[int, bool]], reads: Sequence[int]
) -> None:
    """Against a plain count: a restart before a sample loses what was before, each read sees a few samples again."""
    samples: list[Sample] = [(0.0, 5.0)]
    for at_s, (amount, restarts) in enumerate(steps, start=1):
        # A restart that counts on beyond the old value in between is not told from going on; no reader can.
        value = min(amount, samples[-1][1] - 1) if restarts and samples[-1][1] > 0 else samples[-1][1] + amount
        samples.append((float(at_s), value))
    expected = sum(b[1] - a[1] if b[1] >= a[1] else b[1] for a, b in pairwise(samples))
    counters, grown, before = Counters(0.0), 0.0, 0
    for until in [*sorted(min(read, len(steps)) for read in reads), len(steps)]:
        seen = tuple(samples[max(0, before - 3) : until + 1])
        group = Group({TOTAL: [Series({"job": "j", "instance": "i"}, seen)]})
        growth = counters.growth(("j", "i"), group, until_s=float(until))
        counters.take(growth)
        grown, before = grown + growth.by_kind[TOTAL], until
    assert grown == expected


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
    file.write_text("{url: 'ftp://x', services: {tags: {total: 'rate(x[5m])', bad: y, histo: z}}}")
    with pytest.raises(SpecError) as mistakes:
        load_telemetry(file)
    assert {problem.path for problem in mistakes.value.problems} == {
        "url",
        "services.tags.total",
        "services.tags.histo",
    }


def test_the_example_of_the_documentation_is_settings(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "how-to" / "watch-with-prometheus.md").read_text()
    (example,) = [found for found in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "histogram" in found]
    (tmp_path / "telemetry.yaml").write_text(example)
    found = load_telemetry(tmp_path / "telemetry.yaml")
    assert found is not None
    assert found.services["tags"].read_version("v3", "m") == VersionId("m", 3)


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


class FakePrometheus:
    """A server whose one target was scraped each second: counters are lists of values, from time 1 on."""

    def __init__(self) -> None:
        self.at_s = 0.0
        self.counters: dict[str, list[float]] = {"asked_total": [], "failed_total": []}

    def scrape(self, **values: float) -> None:
        self.at_s += 1
        for name, value in values.items():
            self.counters[name] += [math.nan] * (int(self.at_s) - 1 - len(self.counters[name])) + [value]

    def now_s(self) -> float:
        return self.at_s + 0.5

    def samples(self, selector: str, *, at_s: float, length_s: float) -> list[Series]:
        told = enumerate(self.counters[selector], start=1)
        kept = [(float(t), value) for t, value in told if at_s - length_s <= t <= at_s and not math.isnan(value)]
        return [Series({"job": "j", "instance": "i", "version": "m@1"}, tuple(kept))] if kept else []

    def values(self, query: str, *, at_s: float) -> list[tuple[dict[str, str], float]]:
        return [({"job": "j", "instance": "i"}, self.at_s if query.startswith("timestamp") else 1.0)]


@pytest.fixture
def fake() -> FakePrometheus:
    found = FakePrometheus()
    for total in (100, 110, 120):
        found.scrape(asked_total=total, failed_total=10)
    return found


def source_of(fake: FakePrometheus, since_s: float | None = None) -> PrometheusSource:
    service = PrometheusService(total="asked_total", bad="failed_total")
    spec = load_service_spec(PLAIN)
    clock, rng = FakeClock(fake.now_s()), SeededRng(1)
    return PrometheusSource(fake, service, spec, clock=clock, rng=rng, since_s=since_s)  # type: ignore[arg-type]


def counts(source: PrometheusSource, counted: Counted | None = None) -> list[tuple[int, int]]:
    reply = source.fetch(counted or {}, (ONE,))
    return [(row.n_bad, row.total) for batch in reply.batches for row in batch.attempts]


def test_counting_goes_on_from_where_another_process_left_it(fake: FakePrometheus) -> None:
    fake.scrape(asked_total=150, failed_total=14)
    assert counts(source_of(fake, since_s=2.2)) == [(4, 40)]
    assert counts(source_of(fake)) == []


def test_a_failure_that_is_counted_before_its_attempt_waits_for_it(fake: FakePrometheus) -> None:
    source = source_of(fake)
    assert counts(source) == []
    fake.scrape(asked_total=121, failed_total=13)
    assert counts(source) == [(1, 1)]
    fake.scrape(asked_total=125, failed_total=13)
    assert counts(source) == [(1, 1), (2, 4)]


def test_what_a_new_target_counted_before_is_left_out_also_when_its_total_is_seen_last() -> None:
    fake = FakePrometheus()
    source = source_of(fake)
    assert counts(source) == []
    fake.scrape(failed_total=100)  # the scrape is being written down while we ask for one series after the other
    assert counts(source) == []
    fake.counters["asked_total"] = [1000]
    fake.scrape(asked_total=1003, failed_total=101)
    assert counts(source) == [(1, 3)]


def test_while_nobody_counts_nothing_piles_up_and_nothing_is_lost(
    fake: FakePrometheus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controlplane.telemetry_sources.prometheus.MOST_KEPT", 5)
    source = source_of(fake)
    assert counts(source) == []
    for total in range(121, 221):
        fake.scrape(asked_total=total, failed_total=10)
        counts(source)
    kept = source.fetch({}, (ONE,))
    assert len(kept.batches) == 5
    last = kept.batches[-1].sequence
    rest = counts(source, {kept.boot: (last, -1)})
    assert sum(total for _, total in rest) == 95


def test_series_that_ended_long_ago_are_forgotten_and_begin_anew(fake: FakePrometheus) -> None:
    counters = Counters(0.0)
    group = Group({TOTAL: source_series(fake)})
    counters.take(counters.growth(("j", "i"), group, until_s=3.0))
    counters.note_targets([(("j", "i"), group)])
    counters.forget_before(10.0)
    later = Group({TOTAL: [Series({"job": "j", "instance": "i"}, ((20.0, 5000.0), (21.0, 5001.0)))]})
    assert counters.growth(("j", "i"), later, until_s=21.0).by_kind == {TOTAL: 1.0}


def source_series(fake: FakePrometheus) -> list[Series]:
    return fake.samples("asked_total", at_s=fake.now_s(), length_s=100.0)


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
    source: Any = Source()
    plane = JoinedDataPlane(Gateways(weight), {"tags": lambda: source})
    reply, counted = take_new(plane.fetch({}), {})
    assert source.asked == [expected], "whoever gets users must be heard of"
    assert reply.batches[-1].table_revision == 7
    assert counted == {"p": (3, -1), "b": (0, -1)}
    again, _ = take_new(plane.fetch(counted), counted)
    assert again.batches == ()
    for service, gateway in (("tags", "prometheus"), ("other", "g")):
        assert [batch.gateway for batch in reply.batches if plane.speaks_for(batch, service)] == [gateway]
    assert {batch.table_revision for batch in reply.batches} == {1, 7}, "sources are given the table in force"


def test_a_source_that_is_away_keeps_no_other_waiting_and_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    source: Any = Source(is_away=True)
    plane = JoinedDataPlane(Gateways(), {"tags": lambda: source})
    for _ in range(3):
        assert [batch.gateway for batch in plane.fetch({}).batches] == ["g"]
    assert caplog.text.count("it is away") == 1


def test_a_home_without_settings_has_its_gateways_alone(tmp_path: Path) -> None:
    gateways = Gateways()
    with joined_telemetry(tmp_path, gateways, no_service, FakeClock(), SeededRng(1)) as plane:
        reply = plane.fetch({})
        assert reply == gateways.fetch({})
        assert plane.speaks_for(reply.batches[0], "tags")


def no_service(name: str) -> ServiceSpec:
    raise NotFound(f"there is no service {name}")


def test_a_service_that_is_not_there_or_cannot_be_told_of_keeps_no_other_waiting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "telemetry.yaml").write_text(
        "{url: 'http://127.0.0.1:9', services: {tags: {total: asked_total, bad: failed_total}}}"
    )
    specs = {"tags": load_service_spec(TIMED)}
    with joined_telemetry(tmp_path, Gateways(), specs.__getitem__, FakeClock(), SeededRng(1)) as plane:
        assert [batch.gateway for batch in plane.fetch({}).batches] == ["g"]
        assert "slos.quick needs it" in caplog.text
        specs["tags"] = load_service_spec(PLAIN)
        plane.fetch({})
        assert "gave no answer" in caplog.text
    with joined_telemetry(tmp_path, Gateways(), no_service, FakeClock(), SeededRng(1)) as plane:
        plane.fetch({})
        assert "there is no service tags" in caplog.text


def test_a_changed_spec_goes_on_counting_where_the_old_one_ended(
    fake: FakePrometheus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "telemetry.yaml").write_text(
        "{url: 'http://127.0.0.1:9', services: {tags: {total: asked_total, bad: failed_total}}}"
    )
    for name in ("now_s", "samples", "values"):
        monkeypatch.setattr(PrometheusServer, name, staticmethod(getattr(fake, name)))
    specs = {"tags": load_service_spec(PLAIN)}

    def told(plane: DataPlane) -> int:
        return sum(row.total for batch in plane.fetch({}).batches for row in batch.attempts)

    with joined_telemetry(tmp_path, Gateways(), specs.__getitem__, FakeClock(fake.now_s()), SeededRng(1)) as plane:
        assert told(plane) == 0
        fake.scrape(asked_total=130, failed_total=10)
        assert told(plane) == 10
        fake.scrape(asked_total=137, failed_total=10)
        specs["tags"] = load_service_spec(PLAIN.replace("98%", "97%"))
        assert told(plane) == 7
