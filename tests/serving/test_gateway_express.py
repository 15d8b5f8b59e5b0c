"""The express way: a usual request without a task; what turns out otherwise is answered and counted all the same."""

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from contracts.specs.service import Fallback, Lane, Limits
from contracts.wire.routing import Endpoint
from contracts.wire.telemetry import RequestCounts, TelemetryReply
from contracts.wire.worker import FailureReason
from serving.gateway.dispatch import Dispatcher
from serving.gateway.image_desk import ImageDesk
from serving.gateway.server import GatewayProtocol
from tests.serving.conftest import Bench, ScriptedRuntime

FALLBACK = Fallback.model_validate({"on": ["oom", "error", "timeout"], "to": "champion", "retry_budget": 1.0})


@pytest.fixture
def in_tasks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The prompts of requests that were served in a task, in whole or from some point on."""
    seen: list[str] = []
    serve = Dispatcher.serve

    async def noting(self: Dispatcher, intake, *arguments, **options):  # type: ignore[no-untyped-def]
        seen.append(intake.prompt)
        return await serve(self, intake, *arguments, **options)

    monkeypatch.setattr(Dispatcher, "serve", noting)
    return seen


def ask(bench: Bench, prompt: str = "a tag", **body: object) -> httpx.Response:
    return bench.http.post("/v1/images/generations", json={"model": "tags", "prompt": prompt, **body})


def bad(reply: TelemetryReply) -> dict[str, dict[str, int]]:
    """Return the failures of attempts by version."""
    found: dict[str, Counter[str]] = {}
    for row in (row for batch in reply.batches for row in batch.attempts):
        found.setdefault(str(row.version), Counter()).update(row.bad)
    return {version: dict(counts) for version, counts in found.items()}


def requests(reply: TelemetryReply) -> RequestCounts:
    """Return the sum of what users got."""
    rows = [row for batch in reply.batches for row in batch.requests]
    total, n_bad, fell_back = (sum(getattr(row, name) for row in rows) for name in ("total", "bad", "fell_back"))
    cancelled = sum(row.cancelled for row in rows)
    return RequestCounts(service="tags", lane="", total=total, bad=n_bad, fell_back=fell_back, cancelled=cancelled)


def attempts_in_all(reply: TelemetryReply) -> int:
    return sum(row.total for batch in reply.batches for row in batch.attempts)


def test_usual_requests_need_no_task_and_are_counted_like_all(bench: Bench, in_tasks: list[str]) -> None:
    bench.route(1.0, score_sample=1.0)
    ask(bench, "connects")
    answers = [ask(bench, f"tag {i}", user="ann") for i in range(10)]
    assert in_tasks == ["connects"]
    assert {answer.headers["x-roost-version"] for answer in answers} == {"m@2"}
    assert len({answer.headers["x-roost-request-id"] for answer in answers}) == 10
    reply = bench.client.pull()
    assert (requests(reply).total, attempts_in_all(reply)) == (11, 11)
    rows = [row for batch in reply.batches for row in batch.attempts]
    assert sum(sum(row.latency.values()) for row in rows) == sum(sum(row.queue.values()) for row in rows) == 11
    assert sum(row.cold for row in rows) == 1
    assert [sample.prompt for sample in reply.samples] == ["connects", *(f"tag {i}" for i in range(10))]


def test_a_seed_with_a_cache_several_pictures_and_policies_take_the_long_way(bench: Bench, in_tasks: list[str]) -> None:
    bench.route(cache={"ttl": "60s", "max_size": "1MB"}, intake={"policies": ["not-installed"], "on_failure": "allow"})
    for _ in range(2):
        ask(bench, "judged")
    bench.route(cache={"ttl": "60s", "max_size": "1MB"})
    ask(bench, "connected")
    assert [ask(bench, "twice", seed=1).headers.get("x-roost-cache") for _ in range(2)] == [None, "hit"]
    assert len(ask(bench, "several", n=3).json()["data"]) == 3
    assert in_tasks[:2] == ["judged", "judged"]
    assert in_tasks[-3:] == ["twice", "twice", "several"]


def test_a_failure_on_the_way_falls_back(bench: Bench, challenger: ScriptedRuntime) -> None:
    bench.route(1.0, fallback=FALLBACK)
    ask(bench)
    bench.client.pull()
    challenger.failure = FailureReason.OOM
    answers = [ask(bench) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert {answer.headers["x-roost-fallback"] for answer in answers} == {"m@2 oom"}
    reply = bench.client.pull()
    assert bad(reply) == {"m@2": {"oom": 4}, "m@1": {}}
    assert (requests(reply).total, requests(reply).fell_back, attempts_in_all(reply)) == (4, 4, 8)


def test_a_late_replica_is_left_and_the_attempt_counts_as_late(bench: Bench, challenger: ScriptedRuntime) -> None:
    bench.route(1.0, fallback=FALLBACK, limits=Limits.model_validate({"timeout": "200ms"}))
    ask(bench)
    bench.client.pull()
    challenger.delay_s = 0.6
    answer = ask(bench)
    assert (answer.status_code, answer.headers["x-roost-fallback"]) == (200, "m@2 timeout")
    assert bad(bench.client.pull()) == {"m@2": {"timeout": 1}, "m@1": {}}


def test_who_leaves_is_counted_and_frees_the_replica(bench: Bench, champion: ScriptedRuntime) -> None:
    bench.route(lanes={"draft": Lane(steps=2, max_concurrency=1)})
    ask(bench)
    bench.client.pull()
    champion.delay_s = 0.3
    host, port = bench.url.removeprefix("http://").split(":")
    for _ in range(3):
        with socket.create_connection((host, int(port))) as connection:
            body = b'{"model":"tags","prompt":"never seen"}'
            head = b"POST /v1/images/generations HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
            connection.sendall(head % len(body) + body)
            time.sleep(0.05)
    champion.delay_s = 0.0
    assert ask(bench).status_code == 200
    counted = requests(bench.client.pull())
    assert (counted.total, counted.cancelled) == (1, 3)


def test_requests_beyond_the_slots_wait_in_the_queue(bench: Bench, champion: ScriptedRuntime) -> None:
    bench.route(limits=Limits.model_validate({"timeout": "20s"}))
    ask(bench)
    bench.client.pull()
    champion.delay_s = 0.05
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda _: ask(bench).status_code, range(6))) == [200] * 6
    assert (requests(bench.client.pull()).total, len(champion.asked)) == (6, 7)


def test_a_large_picture_is_answered_whole(bench: Bench, in_tasks: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.gateway.protocols.openai.INLINE_BYTES", 10)
    bench.route()
    for _ in range(3):
        assert ask(bench).json()["data"][0]["b64_json"]
    assert len(in_tasks) == 1
    assert requests(bench.client.pull()).total == 3


def test_a_fault_of_the_gateway_is_told_and_the_connection_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bench.route()
    ask(bench)
    with monkeypatch.context() as broken:
        broken.setattr(ImageDesk, "finish", lambda *_: 1 / 0)
        answer = ask(bench)
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
    assert "ZeroDivisionError" in caplog.text
    assert ask(bench).status_code == 200


Script = Callable[[int], bytes]
"""What a worker sends back to its nth request; it then closes a connection on which it sent less than an answer."""
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 7\r\n\r\npicture"


@contextmanager
def raw_worker(script: Script) -> Iterator[Endpoint]:
    """Run a worker that is nothing but a socket; yields its endpoint."""
    count = 0

    def serve(connection: socket.socket) -> None:
        nonlocal count
        with connection:
            while b"\r\n\r\n" in connection.recv(65_536):
                count += 1
                answer = script(count)
                connection.sendall(answer)
                if answer != ANSWER:
                    return

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        yield Endpoint(replica="raw-0", url=f"http://127.0.0.1:{listener.getsockname()[1]}")
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_an_idle_connection_that_closes_in_the_same_moment_loses_nothing(bench: Bench) -> None:
    with raw_worker(lambda n: b"" if n == 2 else ANSWER) as endpoint:
        bench.route(endpoints={"m@1": (endpoint,), "m@2": (endpoint,)})
        assert [ask(bench).status_code for _ in range(3)] == [200] * 3
        reply = bench.client.pull()
        assert (requests(reply).total, attempts_in_all(reply), bad(reply)) == (3, 3, {"m@1": {}})


@pytest.mark.parametrize("answer", [ANSWER[:-3], b"nonsense\r\n\r\n", ANSWER[:20]])
def test_a_replica_that_breaks_off_is_an_error_and_the_fallback_answers(bench: Bench, answer: bytes) -> None:
    champion = bench.endpoints["m@1"]
    with raw_worker(lambda n: ANSWER if n == 1 else answer) as endpoint:
        bench.route(1.0, fallback=FALLBACK, endpoints={"m@1": champion, "m@2": (endpoint,)})
        assert ask(bench).headers["x-roost-version"] == "m@2"
        second = ask(bench)
        assert (second.status_code, second.headers["x-roost-fallback"]) == (200, "m@2 error")
        assert bad(bench.client.pull()) == {"m@2": {"error": 1}, "m@1": {}}


def test_an_answer_that_nobody_asked_for_is_given_to_nobody(bench: Bench) -> None:
    surplus = ANSWER.replace(b"picture", b"another")
    with raw_worker(lambda n: ANSWER + surplus if n == 1 else ANSWER) as endpoint:
        bench.route(endpoints={"m@1": (endpoint,), "m@2": (endpoint,)})
        pictures = {ask(bench).json()["data"][0]["b64_json"] for _ in range(3)}
        assert len(pictures) == 1


def test_a_client_that_reads_slowly_holds_up_nobody_else(bench: Bench) -> None:
    picture = b"x" * 100_000
    large = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(picture), picture)
    body = b'{"model":"tags","prompt":"a tag"}'
    request = b"POST /v1/images/generations HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    host, port = bench.url.removeprefix("http://").split(":")
    with raw_worker(lambda _: large) as endpoint:
        bench.route(endpoints={"m@1": (endpoint,), "m@2": (endpoint,)})
        with socket.create_connection((host, int(port))) as slow:
            slow.settimeout(20)
            for _ in range(100):
                slow.sendall(request)
                time.sleep(0.002)
            assert ask(bench).status_code == 200
            heads = got = 0
            rest = b""
            while heads < 100:
                piece = slow.recv(1 << 20)
                assert piece, got
                got += len(piece)
                heads += (rest + piece).count(b"HTTP/1.1 200")
                rest = piece[-11:]


def test_who_takes_nothing_of_its_answers_is_let_go(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GatewayProtocol, "read_timeout_s", 0.5)
    picture = b"x" * 1_000_000
    large = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(picture), picture)
    body = b'{"model":"tags","prompt":"a tag"}'
    request = b"POST /v1/images/generations HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    host, port = bench.url.removeprefix("http://").split(":")
    with raw_worker(lambda _: large) as endpoint:
        bench.route(endpoints={"m@1": (endpoint,), "m@2": (endpoint,)})
        with socket.create_connection((host, int(port))) as deaf:
            deaf.settimeout(20)
            with pytest.raises(ConnectionError):  # noqa: PT012 - which of the writes fails is the gateway's affair
                for _ in range(1000):
                    deaf.sendall(request)
                    time.sleep(0.02)
        assert ask(bench).status_code == 200
