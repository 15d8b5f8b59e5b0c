"""Bad input: an error in the protocol's own shape, quickly, and the worker is never asked."""

import socket
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from starlette.applications import Starlette

from contracts.rng import SeededRng
from contracts.wire.telemetry import AttemptCounts
from serving.gateway.server import GatewayProtocol
from tests.serving.conftest import Bench, ScriptedRuntime, running_bench

IMAGES, INFER, INVOKE = "/v1/images/generations", "/v2/models/tags/infer", "/services/tags/invocations"
SHAPES: dict[str, Callable[[dict[str, object]], object]] = {
    IMAGES: lambda told: told["error"]["message"],  # type: ignore[index]
    INFER: lambda told: told["error"],
    INVOKE: lambda told: told["message"],
}


class HastyProtocol(GatewayProtocol):
    read_timeout_s = 0.5


@pytest.fixture(params=[GatewayProtocol])
def guarded(
    request: pytest.FixtureRequest,
    champion: ScriptedRuntime,
    challenger: ScriptedRuntime,
    make_gateway: Callable[[], Starlette],
) -> Iterator[Bench]:
    """A gateway behind the protocol that its process uses."""
    with running_bench(make_gateway(), champion, challenger, request.param) as built:
        built.route()
        yield built


def connect(bench: Bench) -> socket.socket:
    host, port = bench.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)))
    connection.settimeout(20)
    return connection


def receive_all(connection: socket.socket) -> bytes:
    chunks = []
    while chunk := connection.recv(1 << 16):
        chunks.append(chunk)
    return b"".join(chunks)


def head(path: str, length: int) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    ).encode()


@pytest.mark.parametrize("path", SHAPES)
def test_a_body_of_100_mb_is_refused_before_it_is_read(guarded: Bench, champion: ScriptedRuntime, path: str) -> None:
    size_bytes = 100 << 20
    with connect(guarded) as connection:
        sender = threading.Thread(target=_send_quietly, args=(connection, head(path, size_bytes) + b" " * size_bytes))
        sender.start()
        answer = receive_all(connection)
        sender.join()
    assert answer.startswith(b"HTTP/1.1 413")
    told = httpx.Response(413, content=answer.partition(b"\r\n\r\n")[2]).json()
    assert "104857600 bytes" in str(SHAPES[path](told))
    assert not champion.asked


def test_a_large_body_without_a_length_is_refused_too(guarded: Bench, champion: ScriptedRuntime) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * (1 << 20)

    answer = guarded.http.post(IMAGES, content=chunks())
    assert answer.status_code == 413
    assert not champion.asked


@pytest.mark.parametrize("guarded", [HastyProtocol], indirect=True)
@pytest.mark.parametrize("path", SHAPES)
@pytest.mark.parametrize("sent", [b"POST", b"POST %s HTTP/1.1\r\nhost: x\r\n", b"HEAD-AND-SOME"])
def test_a_slow_client_is_told_and_let_go(guarded: Bench, champion: ScriptedRuntime, path: str, sent: bytes) -> None:
    whole = head(path, 1000) + b'{"model":' if sent == b"HEAD-AND-SOME" else sent.replace(b"%s", path.encode())
    begun_s = time.monotonic()
    with connect(guarded) as connection:
        connection.sendall(whole)
        answer = receive_all(connection)
    assert answer.startswith(b"HTTP/1.1 408")
    assert time.monotonic() - begun_s < 15
    if sent == b"HEAD-AND-SOME":
        told = httpx.Response(408, content=answer.partition(b"\r\n\r\n")[2]).json()
        assert "not complete in time" in str(SHAPES[path](told))
    assert not champion.asked
    assert guarded.http.get("/health").status_code == 200


@pytest.mark.parametrize("path", SHAPES)
def test_a_half_closed_connection_is_told_what_was_missing(
    guarded: Bench, champion: ScriptedRuntime, path: str
) -> None:
    with connect(guarded) as connection:
        connection.sendall(head(path, 1000) + b'{"model": "tags", "prompt": "half"}')
        connection.shutdown(socket.SHUT_WR)
        answer = receive_all(connection)
    assert answer.startswith(b"HTTP/1.1 400")
    told = httpx.Response(400, content=answer.partition(b"\r\n\r\n")[2]).json()
    assert "cut short" in str(SHAPES[path](told))
    assert not champion.asked


def test_a_client_that_goes_away_frees_the_worker_and_is_no_failure(guarded: Bench, champion: ScriptedRuntime) -> None:
    champion.delay_s = 0.8
    body = b'{"model": "tags", "prompt": "never seen"}'
    guarded.client.pull()
    with connect(guarded) as connection:
        connection.sendall(head(IMAGES, len(body)) + body)
        time.sleep(0.3)
    deadline_s = time.monotonic() + 10
    cancelled = 0
    while not cancelled and time.monotonic() < deadline_s:
        batches = guarded.client.pull().batches
        requests = [row for batch in batches for row in batch.requests]
        cancelled = sum(row.cancelled for row in requests)
        assert sum(row.total for row in requests) == 0
    assert cancelled == 1


def test_a_patient_client_that_goes_away_counts_against_the_version(guarded: Bench, champion: ScriptedRuntime) -> None:
    guarded.route(latency_thresholds_s={"fast": 0.1})
    guarded.client.pull()
    champion.delay_s = 1.5
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(guarded.url + IMAGES, json={"model": "tags", "prompt": "a"}, timeout=0.6, trust_env=False)
    rows: list[AttemptCounts] = []
    deadline_s = time.monotonic() + 10
    while not rows and time.monotonic() < deadline_s:
        rows = [row for batch in guarded.client.pull().batches for row in batch.attempts]
    assert (rows[0].total, rows[0].bad, rows[0].slow) == (1, {"abandoned": 1}, {"fast": 1})


def test_noise_is_answered_and_harms_nobody(guarded: Bench, champion: ScriptedRuntime) -> None:
    rng = SeededRng(11)
    for path, message_of in SHAPES.items():
        for _ in range(40):
            body = bytes(rng.integer(256) for _ in range(rng.integer(60)))
            answer = guarded.http.post(path, content=body)
            assert answer.status_code == 400, (path, body, answer.text)
            assert message_of(answer.json())
    assert not champion.asked


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", IMAGES, 405),
        ("POST", "/v1/models", 405),
        ("POST", "/v1/chat/completions", 404),
        ("GET", "/v1/models/nope", 404),
        ("POST", "/v2/models/nope/infer", 404),
        ("POST", "/services/nope/invocations", 404),
        ("GET", "/v2/models/tags/config", 404),
        ("DELETE", "/v2/models/tags", 405),
        ("POST", "/invocations?service=nope", 404),
    ],
)
def test_wrong_places_and_methods_have_an_error_in_shape(guarded: Bench, method: str, path: str, status: int) -> None:
    answer = guarded.http.request(method, path, json={} if method == "POST" else None)
    assert answer.status_code == status
    assert answer.json()


def _send_quietly(connection: socket.socket, content: bytes) -> None:
    try:
        connection.sendall(content)
    except OSError:
        return
