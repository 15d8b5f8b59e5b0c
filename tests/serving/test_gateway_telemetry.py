"""Telemetry: exact, at least once, kept while nobody fetches it, coarser before it is lost."""

import asyncio
import hashlib
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.clock import SystemClock
from contracts.ids import VersionId
from contracts.rng import SystemRng
from contracts.sketch import merge, quantile_s
from contracts.specs.service import Fallback, ForcedVersions, StickyKey
from contracts.wire.gateway import GatewaySpec
from contracts.wire.telemetry import AttemptCounts, Feedback, RequestCounts, TelemetryBatch, UserSignals
from contracts.wire.worker import FailureReason
from serving.gateway import spool as spool_module
from serving.gateway.app import Gateway
from serving.gateway.client import GatewayClient
from serving.gateway.counting import Counter as TickCounter
from serving.gateway.merging import merge_batches
from serving.gateway.recording import Recorder
from serving.gateway.spool import BatchSpool
from tests.serving.conftest import CONTROL_TOKEN, Bench, ScriptedRuntime, running

IMAGES = "/v1/images/generations"


def ask(bench: Bench, headers: dict[str, str] | None = None, **body: object) -> httpx.Response:
    return bench.http.post(IMAGES, json={"model": "tags", "prompt": "a tag", **body}, headers=headers)


def batch(sequence: int, *, good: int = 1, bad: int = 0, boot: str = "b1", version: int = 1) -> TelemetryBatch:
    row = AttemptCounts(
        service="tags",
        version=VersionId("m", version),
        replica="r0",
        lane="draft",
        total=good + bad,
        bad={"oom": bad} if bad else {},
        latency={10: good} if good else {},
        latency_sum_s=0.25 * good,
    )
    requests = RequestCounts(service="tags", lane="draft", total=good + bad, bad=bad)
    return TelemetryBatch(
        gateway="g",
        boot=boot,
        sequence=sequence,
        start_s=float(sequence),
        end_s=sequence + 1.0,
        table_revision=1,
        attempts=(row,),
        requests=(requests,),
    )


def totals(batches: tuple[TelemetryBatch, ...]) -> Counter[str]:
    counted: Counter[str] = Counter()
    for one in batches:
        for row in one.attempts:
            counted[f"total {row.version}"] += row.total
            counted[f"bad {row.version}"] += row.n_bad
            counted[f"latency {row.version}"] += sum(row.latency.values())
    return counted


@settings(deadline=None, max_examples=30)
@given(
    rows=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(1, 2)), min_size=1, max_size=120),
    restarts=st.sets(st.integers(0, 119), max_size=3),
    pulls=st.sets(st.integers(0, 119), max_size=4),
)
def test_whatever_happens_every_count_is_delivered_once(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[int, int, int]],
    restarts: set[int],
    pulls: set[int],
) -> None:
    """Restarts, pulls whose answer is lost, and merging: a control plane that counts each number once has it all."""
    folder = tmp_path_factory.mktemp("spool")
    seen: dict[tuple[str, int], TelemetryBatch] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool_module, "MOST_BATCHES", 16)
        spool = BatchSpool(folder, limit_bytes=1 << 20)
        boot, expected, sequence = "b0", list[TelemetryBatch](), 0
        for index, (good, bad, version) in enumerate(rows):
            if index in restarts:
                spool, boot, sequence = BatchSpool(folder, limit_bytes=1 << 20), f"b{index + 1}", 0
            expected.append(batch(sequence, good=good, bad=bad, boot=boot, version=version))
            spool.append(expected[-1])
            sequence += 1
            if index in pulls:  # handed over, and never acknowledged
                for one in spool.hand_over():
                    seen.setdefault((one.boot, one.sequence), one)
        for one in spool.hand_over():
            seen.setdefault((one.boot, one.sequence), one)
    # Batches handed over pile up unmerged until they are acknowledged; within the bound nothing is dropped.
    if spool.dropped == 0:
        assert totals(tuple(seen.values())) == totals(tuple(expected))
    else:
        assert pulls or restarts


def test_an_outage_makes_batches_coarser_and_loses_nothing(tmp_path: Path) -> None:
    spool = BatchSpool(tmp_path, limit_bytes=64 << 20)
    sent = [batch(number, bad=number % 2) for number in range(3000)]
    for one in sent:
        spool.append(one)
    kept = spool.hand_over()
    assert len(kept) <= 240
    assert spool.dropped == 0
    assert totals(kept) == totals(tuple(sent))
    assert len(list(tmp_path.glob("*.json"))) == len(kept)
    assert (kept[0].start_s, kept[-1].end_s) == (0.0, 3000.0)
    spool.acknowledge("b1", kept[-1].sequence)
    spool.append(batch(3000))
    assert len(list(tmp_path.glob("*.json"))) == len(spool) == 1


def test_a_full_disk_drops_the_oldest_and_says_so(tmp_path: Path) -> None:
    spool = BatchSpool(tmp_path, limit_bytes=4096)
    for number in range(60):
        spool.append(batch(number))
    kept = spool.hand_over()
    assert spool.dropped == 60 - len(kept) > 0
    assert kept[-1].sequence == 59
    assert sum(file.stat().st_size for file in tmp_path.glob("*.json")) <= 4096


def test_a_torn_file_is_set_aside(tmp_path: Path) -> None:
    spool = BatchSpool(tmp_path, limit_bytes=1 << 20)
    spool.append(batch(0))
    (tmp_path / "00.000000_b1_0000000005_0000000005.json").write_text('{"gateway": "g", "bo')
    again = BatchSpool(tmp_path, limit_bytes=1 << 20)
    assert [one.sequence for one in again.hand_over()] == [0]
    assert len(list(tmp_path.glob("*.unreadable"))) == 1


def test_a_restart_keeps_what_nobody_fetched(bench: Bench, tmp_path: Path) -> None:
    """What a gateway counted before its end is delivered by the next one over the same folder."""
    spec = GatewaySpec(name="g2", control_token=CONTROL_TOKEN, state_directory=str(tmp_path / "other"))
    table = bench.route()
    for life in range(2):
        with (
            running(Gateway(spec, SystemClock(), SystemRng()).app()) as url,
            closing(GatewayClient(url, CONTROL_TOKEN)) as client,
        ):
            if life == 0:
                client.push(table)
            for _ in range(3):
                body = {"model": "tags", "prompt": "a"}
                assert httpx.post(url + IMAGES, json=body, trust_env=False, timeout=20).status_code == 200
    with (
        running(Gateway(spec, SystemClock(), SystemRng()).app()) as url,
        closing(GatewayClient(url, CONTROL_TOKEN)) as client,
    ):
        first, second = client.pull(), client.pull()
    assert sum(row.total for one in first.batches for row in one.attempts) == 6
    assert len({one.boot for one in first.batches}) == 3
    assert sum(row.total for one in second.batches for row in one.attempts) == 0


def test_ticks_are_cut_while_the_control_plane_is_away(bench: Bench, tmp_path: Path) -> None:
    bench.route()
    bench.client.pull()
    ask(bench)
    deadline_s = time.monotonic() + 10
    spooled: list[Path] = []
    while not spooled and time.monotonic() < deadline_s:
        spooled = [f for f in (tmp_path / "state" / "spool").glob("*.json") if b'"total":1' in f.read_bytes()]
        time.sleep(0.1)
    assert spooled
    assert sum(row.total for one in bench.client.pull().batches for row in one.attempts) == 1


def test_samples_are_delivered_until_acknowledged_and_once_to_whoever_remembers(bench: Bench) -> None:
    bench.route(score_sample=1.0)
    for seed in range(3):
        ask(bench, seed=seed)
    forgetful = GatewayClient(bench.url, CONTROL_TOKEN)
    assert [sample.seed for sample in forgetful.pull().samples] == [0, 1, 2]
    assert [sample.seed for sample in bench.client.pull().samples] == [0, 1, 2]
    assert bench.client.pull().samples == ()
    forgetful.close()


def test_latency_queue_cold_starts_and_reasons_are_counted(bench: Bench, champion: ScriptedRuntime) -> None:
    bench.route()
    champion.delay_s = 0.05
    for _ in range(4):
        ask(bench)
    champion.failure = FailureReason.OOM
    ask(bench)
    batches = bench.client.pull().batches
    rows = [row for one in batches for row in one.attempts]
    assert sum(row.cold for row in rows) == 1
    latency = merge([row.latency for row in rows])
    assert sum(latency.values()) == 4
    median_s = quantile_s(latency, 0.5)
    assert median_s is not None
    assert median_s >= 0.05 * 0.98
    assert sum(merge([row.queue for row in rows]).values()) == 5
    requests = [row for one in batches for row in one.requests]
    assert merge([row.reasons for row in requests]) == {"oom": 1}


def test_a_predicted_oom_falls_back_like_one_that_happened(bench: Bench, challenger: ScriptedRuntime) -> None:
    bench.route(1.0, fallback=Fallback.model_validate({"on": ["oom"], "to": "champion"}))
    challenger.failure = FailureReason.OOM_PREDICTED
    answer = ask(bench)
    assert (answer.status_code, answer.headers["x-roost-fallback"]) == (200, "m@2 oom-predicted")


def test_forced_versions_need_a_token_and_stay_out_of_the_split(bench: Bench) -> None:
    token = "let-me-choose"
    allowed = ForcedVersions(tokens=(hashlib.sha256(token.encode()).hexdigest(),))
    bench.route(0.0, force=allowed)
    bench.client.pull()
    refused = ask(bench, {"x-roost-force-version": "m@2", "x-roost-force-token": "guess"})
    assert refused.status_code == 403
    for name in ("m@2", "2"):
        answer = ask(bench, {"x-roost-force-version": name, "x-roost-force-token": token})
        assert (answer.status_code, answer.headers["x-roost-version"]) == (200, "m@2")
    unknown = ask(bench, {"x-roost-force-version": "m@9", "x-roost-force-token": token})
    assert unknown.status_code == 404
    batches = bench.client.pull().batches
    rows = [row for one in batches for row in one.attempts]
    assert [(str(row.version), row.forced, row.total) for row in rows] == [("m@2", True, 2)]
    assert [row for one in batches for row in one.exposures] == []


def test_feedback_is_counted_for_the_version_that_answered(bench: Bench) -> None:
    bench.route(1.0)
    answer = ask(bench, user="ann")
    rated = {
        "request_id": answer.headers["x-roost-request-id"],
        "rating": 0.25,
        "reason": "wrong, mail ann@example.org",
    }
    assert bench.http.post("/v1/feedback", json=rated).json() == {"recorded": True}
    told: list[Feedback] = [row for one in bench.client.pull().batches for row in one.feedback]
    assert [(str(row.version), row.rating) for row in told] == [("m@2", 0.25)]
    assert told[0].reason == "wrong, mail [email]"
    assert told[0].user_key is not None
    assert "ann" not in told[0].user_key


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"request_id": "r-unknown", "rating": 1}, 404),
        ({"request_id": "", "rating": 1}, 400),
        ({"request_id": "r-1", "rating": 2}, 400),
        ({"request_id": "r-1", "rating": "good"}, 400),
        ({"request_id": "r-1", "rating": True}, 400),
        ({"request_id": "r-1", "rating": 1, "reason": "x" * 501}, 400),
        ({"request_id": "r-1", "rating": 1, "stars": 5}, 400),
        ([], 400),
    ],
)
def test_bad_feedback_is_refused(bench: Bench, body: object, status: int) -> None:
    bench.route()
    answer = bench.http.post("/v1/feedback", json=body)
    assert (answer.status_code, bool(answer.json()["error"]["message"])) == (status, True)


def test_asking_again_counts_against_the_version_that_answered_before(bench: Bench) -> None:
    bench.route(0.0, sticky=StickyKey.REQUEST)
    ask(bench, user="ann")
    bench.route(1.0, sticky=StickyKey.REQUEST)
    ask(bench, user="ann")
    ask(bench, user="bob")
    ask(bench, user="bob", prompt="another")
    ask(bench)
    signals: list[UserSignals] = [row for one in bench.client.pull().batches for row in one.signals]
    answered: Counter[str] = Counter()
    again: Counter[str] = Counter()
    for row in signals:
        answered[str(row.version)] += row.answered
        again[str(row.version)] += row.asked_again
    assert (dict(answered), +again) == ({"m@1": 1, "m@2": 3}, Counter({"m@1": 1}))


def test_refusals_are_counted_apart_from_requests(bench: Bench) -> None:
    bench.route()
    bench.client.pull()
    ask(bench, size="7x7")
    ask(bench, model="nope")
    batches = bench.client.pull().batches
    refusals = Counter({row.reason: row.total for one in batches for row in one.refusals})
    assert refusals == {"input.invalid": 1, "not-found": 1}
    assert [row for one in batches for row in one.requests] == []


def test_attempts_are_told_apart_by_the_share_that_assigned_them(bench: Bench, challenger: ScriptedRuntime) -> None:
    token = "one-of-ours"
    allowed = ForcedVersions(tokens=(hashlib.sha256(token.encode()).hexdigest(),))
    fallback = Fallback.model_validate({"on": ["oom"], "to": "champion", "retry_budget": 1.0})
    for weight in (0.0, 1.0):
        bench.route(weight, mirror_share=1.0, force=allowed, fallback=fallback)
        for _ in range(2):  # in a task while there is no connection yet, then without
            ask(bench)
    challenger.failure = FailureReason.OOM
    ask(bench)
    ask(bench, {"x-roost-force-version": "m@1", "x-roost-force-token": token})
    counts: Counter[tuple[str, float | None, bool, bool]] = Counter()
    deadline_s = time.monotonic() + 10
    while counts["m@2", None, True, False] < 1 and time.monotonic() < deadline_s:
        for row in (row for batch in bench.client.pull().batches for row in batch.attempts):
            counts[str(row.version), row.weight, row.mirrored, row.forced] += row.total
    assert {weight for _, weight, is_mirrored, _ in counts if is_mirrored} == {None}
    assert {place: total for place, total in counts.items() if not place[2]} == {
        ("m@1", 0.0, False, False): 2,
        ("m@2", 1.0, False, False): 3,
        ("m@1", None, False, False): 1,
        ("m@1", None, False, True): 1,
    }


def test_batches_are_merged_by_the_share_that_assigned() -> None:
    first, second = batch(0), batch(1)
    rows = tuple(row.model_copy(update={"weight": weight}) for weight in (0.1, 0.5, None) for row in second.attempts)
    merged = merge_batches(first, second.model_copy(update={"attempts": rows}))
    assert [(row.weight, row.total) for row in merged.attempts] == [(None, 2), (0.1, 1), (0.5, 1)]


def test_a_tick_that_was_cut_is_kept_whoever_stops_waiting(tmp_path: Path) -> None:
    spec = GatewaySpec(name="g", control_token=CONTROL_TOKEN, state_directory=str(tmp_path))
    counter = TickCounter("g", "b-1", SystemClock())
    recorder = Recorder(spec, counter, SystemClock())

    async def scenario() -> None:
        disk_is_free = threading.Event()
        busy = asyncio.get_running_loop().run_in_executor(recorder._disk, disk_is_free.wait)
        counter.count_request("tags", "default", failure=None)
        pull = asyncio.create_task(recorder.hand_over(None, -1, -1))
        await asyncio.sleep(0.01)
        pull.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pull
        disk_is_free.set()
        await busy
        await recorder.close()

    asyncio.run(scenario())
    kept = BatchSpool(tmp_path / "spool", limit_bytes=1 << 20).hand_over()
    assert sum(row.total for one in kept for row in one.requests) == 1
