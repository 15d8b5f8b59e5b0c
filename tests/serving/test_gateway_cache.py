"""The cache: the same question of the same version is answered once, and never across versions."""

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx

from contracts.specs.service import Cache, StickyKey
from contracts.wire.telemetry import AttemptCounts, RequestCounts
from contracts.wire.worker import FailureReason
from tests.serving.conftest import Bench, ScriptedRuntime


def ask(bench: Bench, **body: object) -> httpx.Response:
    return bench.http.post("/v1/images/generations", json={"model": "tags", "prompt": "a tag", **body})


def counted(bench: Bench) -> tuple[list[AttemptCounts], list[RequestCounts]]:
    batches = bench.client.pull().batches
    return [row for b in batches for row in b.attempts], [row for b in batches for row in b.requests]


def test_it_is_off_unless_the_spec_has_it(bench: Bench, champion: ScriptedRuntime) -> None:
    bench.route()
    assert "x-roost-cache" not in {**ask(bench, seed=1).headers, **ask(bench, seed=1).headers}
    assert len(champion.asked) == 2


def test_the_same_question_is_one_attempt_and_two_requests(bench: Bench, champion: ScriptedRuntime) -> None:
    bench.route(cache=Cache())
    first, second = ask(bench, seed=1), ask(bench, seed=1)
    assert second.headers["x-roost-cache"] == "hit"
    assert "x-roost-cache" not in first.headers
    assert first.json()["data"] == second.json()["data"]
    assert first.headers["x-roost-request-id"] != second.headers["x-roost-request-id"]
    for different in ({"seed": 2}, {"seed": 1, "prompt": "b"}, {"seed": 1, "size": "64x64"}, {}):
        assert "x-roost-cache" not in ask(bench, **different).headers
    assert len(champion.asked) == 5
    attempts, requests = counted(bench)
    assert sum(row.total for row in attempts) == 5
    assert [(row.total, row.cached) for row in requests] == [(6, 1)]


def test_an_answer_never_serves_another_version(
    bench: Bench, champion: ScriptedRuntime, challenger: ScriptedRuntime
) -> None:
    bench.route(0.0, cache=Cache(), sticky=StickyKey.USER)
    ask(bench, seed=1)
    bench.route(1.0, cache=Cache(), sticky=StickyKey.USER)
    answer = ask(bench, seed=1)
    assert answer.headers["x-roost-version"] == "m@2"
    assert (len(champion.asked), len(challenger.asked)) == (1, 1)


def test_who_ask_at_once_share_one_attempt(bench: Bench, champion: ScriptedRuntime) -> None:
    bench.route(cache=Cache())
    champion.delay_s = 0.5
    ready = threading.Barrier(6)

    def ask_together(_: int) -> httpx.Response:
        ready.wait()
        url = f"{bench.url}/v1/images/generations"
        return httpx.post(url, json={"model": "tags", "prompt": "a", "seed": 3}, timeout=20, trust_env=False)

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(ask_together, range(6)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(champion.asked) == 1
    attempts, requests = counted(bench)
    assert [row.total for row in attempts] == [1]
    assert [(row.total, row.cached) for row in requests] == [(6, 5)]


def test_one_who_leaves_takes_nothing_from_the_others(bench: Bench, champion: ScriptedRuntime) -> None:
    bench.route(cache=Cache())
    champion.delay_s = 0.6

    def ask_for(timeout_s: float) -> int:
        url, body = f"{bench.url}/v1/images/generations", {"model": "tags", "prompt": "a", "seed": 3}
        try:
            return httpx.post(url, json=body, timeout=timeout_s, trust_env=False).status_code
        except httpx.ReadTimeout:
            return 0

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(ask_for, [0.2, 20.0])) == [0, 200]
    assert len(champion.asked) == 1


def test_failures_are_not_kept(bench: Bench, champion: ScriptedRuntime) -> None:
    bench.route(cache=Cache())
    champion.failure = FailureReason.ERROR
    assert ask(bench, seed=1).status_code == 500
    champion.failure = None
    assert ask(bench, seed=1).status_code == 200


def test_answers_grow_old_and_the_cache_keeps_to_its_size(bench: Bench, champion: ScriptedRuntime) -> None:
    bench.route(cache=Cache(ttl=0.05, max_size=1024))
    ask(bench, seed=1)
    threading.Event().wait(0.1)
    assert "x-roost-cache" not in ask(bench, seed=1).headers
    bench.route(cache=Cache(ttl=60, max_size=1024))
    for seed in range(100):
        ask(bench, seed=seed)
    metrics = bench.http.get("/metrics").text
    size = next(line for line in metrics.splitlines() if line.startswith("roost_gateway_cache_bytes{"))
    assert 0 < float(size.split()[-1]) <= 1024
    assert ask(bench, seed=99).headers["x-roost-cache"] == "hit"
    assert "x-roost-cache" not in ask(bench, seed=0).headers
