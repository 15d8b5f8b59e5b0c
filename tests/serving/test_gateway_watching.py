"""Metrics, access log and traces: what was counted, in the words of others."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families

from contracts.clock import FakeClock, SystemClock
from contracts.ids import VersionId
from contracts.rng import SystemRng
from contracts.specs.service import Fallback, Lane
from contracts.wire.gateway import GatewaySpec
from contracts.wire.routing import Endpoint, ServiceRoutes
from contracts.wire.worker import FailureReason
from serving.gateway import recording
from serving.gateway.app import Gateway
from serving.gateway.counting import AttemptKey, AttemptTally, Tick
from serving.gateway.metrics import MOST_SERVICES, MOST_VERSIONS, Totals
from serving.gateway.service import Service
from tests.serving.conftest import CONTROL_TOKEN, Bench, ScriptedRuntime, running_bench


@pytest.fixture
def spans_seen() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def watched(
    tmp_path: Path,
    champion: ScriptedRuntime,
    challenger: ScriptedRuntime,
    spans_seen: InMemorySpanExporter,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Bench]:
    """A gateway that logs with prompts and traces into memory."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans_seen))
    monkeypatch.setattr(recording, "otlp_provider", lambda _: provider)
    spec = GatewaySpec(
        name="g1",
        control_token=CONTROL_TOKEN,
        state_directory=str(tmp_path / "state"),
        access_log=str(tmp_path / "access.jsonl"),
        access_log_prompts=True,
        traces_to="http://127.0.0.1:4318/v1/traces",
    )
    with running_bench(Gateway(spec, SystemClock(), SystemRng()).app(), champion, challenger) as built:
        yield built


def ask(bench: Bench, headers: dict[str, str] | None = None, **body: object) -> httpx.Response:
    return bench.http.post("/v1/images/generations", json={"model": "tags", "prompt": "a tag", **body}, headers=headers)


def values(bench: Bench, name: str) -> dict[frozenset[str], float]:
    """Return a metric's samples by their label values, in whatever order."""
    text = bench.http.get("/metrics").text
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples if s.name == name]
    return {frozenset(sample.labels.values()): sample.value for sample in samples}


def test_metrics_say_what_was_answered(bench: Bench, challenger: ScriptedRuntime) -> None:
    bench.route(1.0, fallback=Fallback.model_validate({"on": ["oom"], "to": "champion"}))
    challenger.failure = FailureReason.OOM
    for _ in range(3):
        ask(bench)
    bench.client.pull()
    ask(bench)
    ask(bench, size="7x7")
    attempts = values(bench, "roost_gateway_attempts_total")
    assert attempts[frozenset({"tags", "m@2", "default", "live", "oom"})] == 4
    assert attempts[frozenset({"tags", "m@1", "default", "live", "good"})] == 4
    assert values(bench, "roost_gateway_requests_total")[frozenset({"tags", "default", "good"})] == 4
    assert values(bench, "roost_gateway_fallbacks_total") == {frozenset({"tags", "default"}): 4}
    refusals = values(bench, "roost_gateway_refusals_total")
    assert {labels for labels, count in refusals.items() if count} == {frozenset({"unknown", "input.invalid"})}
    buckets = values(bench, "roost_gateway_attempt_latency_seconds_bucket")
    assert buckets[frozenset({"tags", "m@1", "default", "live", "+Inf"})] == 4
    counts = [count for labels, count in buckets.items() if "m@1" in labels]
    assert counts == sorted(counts)
    assert values(bench, "roost_gateway_table_revision") == {frozenset(): 1}


def test_a_failure_that_may_happen_is_counted_from_0(bench: Bench) -> None:
    lanes = {"draft": Lane(steps=2), "final": Lane(steps=8)}
    bench.route(0.5, mirror_share=0.5, lanes=lanes)
    attempts = values(bench, "roost_gateway_attempts_total")
    outcomes = {"good", "cancelled", *FailureReason}
    live = {frozenset({"tags", v, lane, "live", o}) for v in ("m@1", "m@2") for lane in lanes for o in outcomes}
    mirror = {frozenset({"tags", "m@2", lane, "mirror", outcome}) for lane in lanes for outcome in outcomes}
    assert attempts == dict.fromkeys(live | mirror, 0)
    requests = values(bench, "roost_gateway_requests_total")
    assert requests == {frozenset({"tags", lane, outcome}): 0 for lane in lanes for outcome in outcomes}
    slow = values(bench, "roost_gateway_slow_attempts_total")
    assert slow[frozenset({"tags", "m@2", "final", "live", "fast"})] == 0
    refusals = values(bench, "roost_gateway_refusals_total")
    assert refusals[frozenset({"tags", "policy.denied"})] == refusals[frozenset({"unknown", "input.invalid"})] == 0


def test_label_sets_stay_bounded_as_versions_and_services_come_and_go() -> None:
    totals, clock = Totals(), FakeClock()
    for number in range(1, 3 * MOST_VERSIONS):
        name, version = f"s{number}", VersionId("m", number)
        endpoints = {str(version): (Endpoint(replica="r", url="http://127.0.0.1:9"),)}
        services = [Service(ServiceRoutes(service=name, champion=version, endpoints=endpoints), clock)]
        totals.add(Tick(attempts={AttemptKey(name, str(version), "r", "default"): AttemptTally(total=1)}))
        totals.forget_all_but(services)
        totals.expect(services)
    assert len(totals.attempts) <= MOST_VERSIONS + 1
    assert len({name for name, _ in totals.refusals.keys() | totals.requests.keys()}) <= MOST_SERVICES + 2
    assert str(version) in {series[1] for series in totals.attempts}


def test_the_access_log_has_a_line_per_request(watched: Bench, tmp_path: Path) -> None:
    watched.route()
    answer = ask(watched, prompt="a card for ann@example.org")
    ask(watched, size="7x7")
    lines: list[dict[str, object]] = []
    deadline_s = time.monotonic() + 10
    while len(lines) < 2 and time.monotonic() < deadline_s:
        time.sleep(0.1)
        file = tmp_path / "access.jsonl"
        lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    served, refused = lines
    assert served["request_id"] == answer.headers["x-roost-request-id"]
    assert (served["service"], served["version"], served["status"]) == ("tags", "m@1", 200)
    assert served["prompt"] == "a card for [email]"
    assert (refused["status"], refused["code"]) == (400, "input.invalid")


def test_the_access_log_tells_of_clients_that_went_away(
    watched: Bench, champion: ScriptedRuntime, tmp_path: Path
) -> None:
    watched.route()
    ask(watched)
    champion.delay_s = 1.0
    for _ in range(2):
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                watched.url + "/v1/images/generations",
                json={"model": "tags", "prompt": "never seen"},
                timeout=0.3,
                trust_env=False,
            )
    deadline_s, gone = time.monotonic() + 10, list[dict[str, object]]()
    while len(gone) < 2 and time.monotonic() < deadline_s:
        time.sleep(0.1)
        file = tmp_path / "access.jsonl"
        lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        gone = [line for line in lines if line["status"] == 499]
    assert [(line["service"], line["lane"]) for line in gone] == [("tags", "default")] * 2


def test_a_request_is_one_trace_with_queue_attempt_and_fallback(
    watched: Bench, challenger: ScriptedRuntime, spans_seen: InMemorySpanExporter
) -> None:
    watched.route(1.0, fallback=Fallback.model_validate({"on": ["oom"], "to": "champion"}))
    challenger.failure = FailureReason.OOM
    trace = "0af7651916cd43dd8448eb211c80319c"
    ask(watched, {"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    deadline_s = time.monotonic() + 10
    while len(spans := spans_seen.get_finished_spans()) < 5 and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert sorted(span.name for span in spans) == [
        *("roost.attempt", "roost.fallback", "roost.queue", "roost.queue", "roost.request")
    ]
    assert {f"{span.context.trace_id:032x}" for span in spans if span.context} == {trace}
    by_name = {span.name: span for span in spans}
    request, attempt = by_name["roost.request"], by_name["roost.attempt"]
    assert attempt.attributes is not None
    assert attempt.attributes["roost.version"] == "m@2"
    assert not attempt.status.is_ok
    assert request.start_time is not None
    assert request.end_time is not None
    assert all(
        span.start_time is not None and request.start_time <= span.start_time <= request.end_time for span in spans
    )
