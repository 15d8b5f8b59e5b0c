"""The gateway over real HTTP: who answers, what is counted, what a client is told when something is wrong."""

import base64
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from starlette.applications import Starlette

from contracts.errors import Conflict, Unavailable
from contracts.specs.service import Fallback, Lane, Limits, StickyKey
from contracts.wire.telemetry import AttemptCounts, SampledOutput, TelemetryReply
from contracts.wire.worker import FailureReason
from serving.gateway.client import GatewayClient
from tests.serving.conftest import CONTROL_TOKEN, Bench, ScriptedRuntime, running


def ask(bench: Bench, headers: dict[str, str] | None = None, **body: object) -> httpx.Response:
    document = {"model": "tags", "prompt": "price tag 4 2 7", **body}
    return bench.http.post("/v1/images/generations", json=document, headers=headers)


def attempts(reply: TelemetryReply) -> dict[str, AttemptCounts]:
    return {str(row.version): row for batch in reply.batches for row in batch.attempts}


def test_an_answer_is_in_openais_shape_and_says_which_version_gave_it(bench: Bench) -> None:
    bench.route()
    answer = ask(bench, seed=7)
    assert answer.status_code == 200
    assert base64.b64decode(answer.json()["data"][0]["b64_json"]) == b"picture of price tag 4 2 7 by seed 7"
    assert answer.headers["x-roost-version"] == "m@1"
    assert answer.headers["x-roost-seed"] == "7"


def test_a_user_stays_with_a_version_and_raising_the_weight_moves_nobody_back(bench: Bench) -> None:
    users = [f"user-{index}" for index in range(60)]
    served: list[dict[str, str]] = []
    for weight in (0.2, 0.5):
        bench.route(weight, sticky=StickyKey.USER)
        served.append({user: ask(bench, user=user).headers["x-roost-version"] for user in users})
        assert served[-1] == {user: ask(bench, user=user).headers["x-roost-version"] for user in users}
    on_challenger = [{user for user, version in answers.items() if version == "m@2"} for answers in served]
    assert on_challenger[0] < on_challenger[1]
    shares = Counter(served[1].values())
    assert 15 <= shares["m@2"] <= 45
    exposures = [row for batch in bench.client.pull().batches for row in batch.exposures]
    assert sum(row.champion + row.challenger for row in exposures) == len(users), "a user is assigned once"


def test_every_attempt_and_request_is_counted_exactly_once(bench: Bench, challenger: ScriptedRuntime) -> None:
    bench.route(0.5)
    bench.client.pull()
    challenger.failure = FailureReason.ERROR
    answers = [ask(bench) for _ in range(40)]
    reply = bench.client.pull()
    rows = attempts(reply)
    failed = sum(answer.status_code == 500 for answer in answers)
    assert rows["m@2"].total == rows["m@2"].bad["error"] == failed > 0
    assert rows["m@1"].total == 40 - failed
    assert rows["m@1"].bad == {}
    requests = [row for batch in reply.batches for row in batch.requests]
    assert sum(row.total for row in requests) == 40
    assert sum(row.bad for row in requests) == failed
    exposures = [row for batch in reply.batches for row in batch.exposures]
    assert sum(row.challenger for row in exposures) == failed
    assert not attempts(bench.client.pull())


def test_a_closed_service_turns_everybody_away_and_counts_them(bench: Bench) -> None:
    bench.route()
    open_ = bench.client.table()
    assert open_ is not None
    routes = open_.services["tags"].model_copy(update={"closed": True, "endpoints": {"m@1": ()}})
    bench.client.pull()
    bench.client.push(open_.model_copy(update={"revision": open_.revision + 1, "services": {"tags": routes}}))
    answers = [ask(bench) for _ in range(5)]
    assert {answer.status_code for answer in answers} == {503}, answers[0].text
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)
    rows = [row for batch in bench.client.pull().batches for row in batch.requests]
    assert (sum(row.total for row in rows), sum(row.bad for row in rows)) == (5, 5)


def test_a_batch_is_delivered_again_until_acknowledged_and_counted_once(bench: Bench) -> None:
    bench.route()
    ask(bench)
    forgetful = [GatewayClient(bench.url, CONTROL_TOKEN) for _ in range(2)]
    totals = [sum(row.total for row in attempts(client.pull()).values()) for client in forgetful]
    assert totals == [1, 1]
    assert sum(row.total for row in attempts(forgetful[0].pull()).values()) == 0
    for client in forgetful:
        client.close()


def test_slow_answers_are_counted_at_the_threshold_and_failures_are_slow(
    bench: Bench, champion: ScriptedRuntime
) -> None:
    bench.route()
    ask(bench)
    champion.delay_s = 0.08
    ask(bench)
    champion.delay_s, champion.failure = 0.0, FailureReason.ERROR
    ask(bench)
    assert attempts(bench.client.pull())["m@1"].slow == {"fast": 2}


def test_out_of_memory_falls_back_to_the_champion_and_counts_against_the_challenger(
    bench: Bench, challenger: ScriptedRuntime
) -> None:
    bench.route(1.0, fallback=Fallback.model_validate({"on": ["oom"], "to": "champion", "retry_budget": 1.0}))
    bench.client.pull()
    challenger.failure = FailureReason.OOM
    answers = [ask(bench) for _ in range(5)]
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.headers["x-roost-version"] for answer in answers} == {"m@1"}
    assert answers[0].headers["x-roost-fallback"] == "m@2 oom"
    reply = bench.client.pull()
    assert attempts(reply)["m@2"].bad == {"oom": 5}
    requests = [row for batch in reply.batches for row in batch.requests]
    assert (sum(row.bad for row in requests), sum(row.fell_back for row in requests)) == (0, 5)


def test_retries_stay_within_their_budget(bench: Bench, challenger: ScriptedRuntime) -> None:
    bench.route(1.0, fallback=Fallback.model_validate({"on": ["error"], "to": "champion", "retry_budget": 0.1}))
    challenger.failure = FailureReason.ERROR
    answers = Counter(ask(bench).status_code for _ in range(60))
    assert 10 <= answers[200] <= 17


def test_an_error_that_the_fallback_is_not_for_reaches_the_user(bench: Bench, challenger: ScriptedRuntime) -> None:
    bench.route(1.0, fallback=Fallback.model_validate({"on": ["oom"], "to": "champion"}))
    challenger.failure = FailureReason.ERROR
    answer = ask(bench)
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "attempt.error"


def test_mirrored_copies_have_the_same_prompt_and_seed_and_are_counted_apart(
    bench: Bench, champion: ScriptedRuntime, challenger: ScriptedRuntime
) -> None:
    bench.route(0.0, mirror_share=1.0, score_sample=1.0)
    samples: list[SampledOutput] = []
    rows: dict[str, AttemptCounts] = {}
    deadline_s = time.monotonic() + 20
    for asked in range(1, 5):
        assert ask(bench).headers["x-roost-version"] == "m@1"
        # A copy is dropped while the challenger is busy, so each is awaited before the next.
        while len(samples) < 2 * asked and time.monotonic() < deadline_s:
            reply = bench.client.pull()
            samples += reply.samples
            rows |= attempts(reply)
    assert {(r.prompt, r.seed) for r in challenger.asked} == {(r.prompt, r.seed) for r in champion.asked}
    assert rows["m@2"].mirrored
    assert not rows["m@1"].mirrored
    assert set(Counter(sample.request_id for sample in samples).values()) == {2}
    assert Counter(sample.mirrored for sample in samples) == {True: 4, False: 4}
    assert all(sample.image_png.decode().endswith(f"by seed {sample.seed}") for sample in samples)


def test_a_slow_version_times_out_and_is_counted(bench: Bench, champion: ScriptedRuntime) -> None:
    bench.route(limits=Limits(timeout=0.05))
    champion.delay_s = 0.3
    answer = ask(bench)
    assert answer.status_code == 504
    assert "retry-after" in answer.headers
    assert attempts(bench.client.pull())["m@1"].bad == {"timeout": 1}


def test_lanes_bring_their_settings(bench: Bench, champion: ScriptedRuntime) -> None:
    lanes = {"draft": Lane(steps=4), "final": Lane(steps=20, guidance=3.0)}
    bench.route(lanes=lanes, route=[{"when": {"prompt_mentions": ["brand"]}, "lane": "final"}])
    ask(bench)
    assert ask(bench, prompt="our brand tag 3").headers["x-roost-lane"] == "final"
    assert ask(bench, headers={"x-roost-lane": "final"}).headers["x-roost-lane"] == "final"
    assert [(r.steps, r.guidance) for r in champion.asked] == [(4, None), (20, 3.0), (20, 3.0)]
    refused = ask(bench, headers={"x-roost-lane": "fast"})
    assert refused.status_code == 400
    assert "draft, final" in refused.json()["error"]["hint"]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"prompt": ""}, 400, "prompt"),
        ({"prompt": "x" * 3000}, 400, "prompt"),
        ({"prompt": 5}, 400, "prompt"),
        ({"n": 0}, 400, "n"),
        ({"n": 11}, 400, "n"),
        ({"n": True}, 400, "n"),
        ({"n": 2, "stream": True}, 400, "n"),
        ({"partial_images": 1}, 400, "partial_images"),
        ({"stream": "yes"}, 400, "stream"),
        ({"output_format": "gif"}, 400, "output_format"),
        ({"output_compression": 101}, 400, "output_compression"),
        ({"quality": "high"}, 400, "quality"),
        ({"quality": []}, 400, "quality"),
        ({"user": 7}, 400, "user"),
        ({"size": "16x8200"}, 400, "size"),
        ({"size": "7x7"}, 400, "size"),
        ({"size": "8192x8192"}, 400, "size"),
        ({"size": "large"}, 400, "size"),
        ({"seed": -1}, 400, "seed"),
        ({"seed": True}, 400, "seed"),
        ({"seed": 2**63 - 1, "n": 2}, 400, "seed"),
        ({"response_format": "url"}, 400, "response_format"),
        ({"response_format": ["b64_json"]}, 400, "response_format"),
        ({"colour": "red"}, 400, "colour"),
        ({"model": "nope"}, 404, "model"),
    ],
)
def test_bad_requests_name_the_field_and_are_not_counted(
    bench: Bench, body: dict[str, object], status: int, field: str
) -> None:
    bench.route()
    answer = ask(bench, None, **body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["message"].startswith(f"{field}:")
    assert error["type"] == "invalid_request_error"
    assert not attempts(bench.client.pull())


def test_a_body_that_is_not_json_or_too_large_is_refused(bench: Bench) -> None:
    bench.route()
    url = f"{bench.url}/v1/images/generations"
    assert httpx.post(url, content=b"{", trust_env=False).status_code == 400
    assert httpx.post(url, content=b" " * (2 << 20), trust_env=False).status_code == 413


def test_an_older_table_is_refused_and_the_newer_stays(bench: Bench) -> None:
    newer = bench.route(0.3)
    older = newer.model_copy(update={"revision": 0})
    with pytest.raises(Conflict, match="not newer"):
        bench.client.push(older)
    bench.client.push(newer)
    health = httpx.get(f"{bench.url}/health", trust_env=False).json()
    assert health["revision"] == newer.revision


def test_the_control_calls_need_the_token(bench: Bench) -> None:
    stranger = GatewayClient(bench.url, "guessed")
    with pytest.raises(Unavailable, match="token"):
        stranger.push(bench.route())
    assert httpx.get(f"{bench.url}/-/telemetry", trust_env=False).status_code == 401
    stranger.close()


def test_a_restarted_gateway_serves_on_with_the_last_table(bench: Bench, make_gateway: Callable[[], Starlette]) -> None:
    bench.route()
    with running(make_gateway()) as url:
        answer = httpx.post(
            f"{url}/v1/images/generations", json={"model": "tags", "prompt": "digit 3"}, trust_env=False
        )
        models = httpx.get(f"{url}/v1/models", trust_env=False).json()
    assert answer.status_code == 200
    assert [row["id"] for row in models["data"]] == ["tags"]


def test_a_dead_challenger_is_counted_and_the_champion_answers(bench: Bench) -> None:
    gone = bench.endpoints["m@2"][0].model_copy(update={"url": "http://127.0.0.1:9"})
    bench.route(
        1.0,
        endpoints={**bench.endpoints, "m@2": (gone,)},
        fallback=Fallback.model_validate({"on": ["error"], "to": "champion"}),
    )
    bench.client.pull()
    answer = ask(bench)
    assert (answer.status_code, answer.headers["x-roost-version"]) == (200, "m@1")
    assert attempts(bench.client.pull())["m@2"].bad == {"error": 1}


def test_a_lane_falls_back_to_another_lanes_settings_and_never_to_the_same_again(
    bench: Bench, champion: ScriptedRuntime
) -> None:
    lanes = {"draft": Lane(steps=4), "final": Lane(steps=20)}
    fallback = Fallback.model_validate({"on": ["oom"], "to": "draft"})
    bench.route(lanes=lanes, fallback=fallback, route=[{"when": {"prompt_mentions": ["brand"]}, "lane": "final"}])
    champion.failure = FailureReason.OOM
    assert ask(bench, prompt="our brand tag 3", size="64x32").status_code == 500
    assert [(r.steps, r.width) for r in champion.asked] == [(20, 64), (4, None)]
    champion.asked.clear()
    assert ask(bench).status_code == 500
    assert [r.steps for r in champion.asked] == [4]


def test_who_finds_the_queue_full_is_told_to_come_again(bench: Bench, champion: ScriptedRuntime) -> None:
    bench.route(limits=Limits(max_queue=0))
    champion.delay_s = 1.0
    with ThreadPoolExecutor(3) as pool:
        url, body = f"{bench.url}/v1/images/generations", {"model": "tags", "prompt": "a"}
        asked = [pool.submit(httpx.post, url, json=body, timeout=20, trust_env=False) for _ in range(3)]
        answers = [one.result() for one in asked]
    assert sorted(answer.status_code for answer in answers) == [200, 429, 429]
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["error"]["type"] == "rate_limit_error"
    rows = [row for batch in bench.client.pull().batches for row in batch.attempts]
    assert {row.replica: (row.total, row.bad) for row in rows} == {"v1-0": (1, {}), "queue": (2, {"overload": 2})}


def test_a_lost_replica_is_made_up_for_by_another_of_the_same_version(bench: Bench) -> None:
    alive = bench.endpoints["m@1"][0]
    gone = alive.model_copy(update={"replica": "gone", "url": "http://127.0.0.1:9"})
    fallback = Fallback.model_validate({"on": ["error"], "to": "champion", "retry_budget": 1.0})
    bench.route(endpoints={**bench.endpoints, "m@1": (gone, alive)}, fallback=fallback)
    assert {ask(bench).status_code for _ in range(8)} == {200}
    rows = [row for batch in bench.client.pull().batches for row in batch.attempts]
    assert {row.replica for row in rows} == {"gone", "v1-0"}
    assert sum(row.total - row.n_bad for row in rows if row.replica == "v1-0") == 8
    assert sum(row.total - row.n_bad for row in rows if row.replica == "gone") == 0
