"""A request in one piece is served beside ASGI: the client sees no difference, however it cuts what it sends."""

import contextlib
import http.client
import io
import json
import socket
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.gateway.heads import LONGEST_HEAD_BYTES, MOST_HEADS, Heads
from serving.gateway.server import GatewayProtocol
from serving.gateway.whole import Head, WholeReader
from tests.serving.conftest import Bench, ScriptedRuntime

IMAGES = "/v1/images/generations"


def request(prompt: str, *lines: str, method: str = "POST", path: str = IMAGES, version: str = "1.1") -> bytes:
    body = json.dumps({"model": "tags", "prompt": prompt, "seed": 7}).encode()
    head = "".join(f"{line}\r\n" for line in ("host: x", f"content-length: {len(body)}", *lines))
    return f"{method} {path} HTTP/{version}\r\n{head}\r\n".encode() + body


def connect(bench: Bench) -> socket.socket:
    host, port = bench.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)))
    connection.settimeout(20)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def read_answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    return answer.status, dict(answer.getheaders()), answer.read()


def prompts(runtime: ScriptedRuntime) -> list[str]:
    return [asked.prompt for asked in runtime.asked]


@pytest.mark.parametrize("cuts", [(), (1,), (40,), (140,), (40, 60, 140, 160)])
def test_the_answer_is_the_same_however_the_request_is_cut(bench: Bench, cuts: tuple[int, ...]) -> None:
    bench.route()
    whole = request("a tag")
    with connect(bench) as connection:
        connection.sendall(whole)
        expected = read_answer(connection)
        for start, end in pairwise((0, *cuts, len(whole))):
            connection.sendall(whole[start:end])
            time.sleep(0.03)
        status, headers, body = read_answer(connection)
    changing = {"x-roost-request-id", "date", "server"}  # the process writes neither date nor server
    assert status == expected[0]
    assert {n: v for n, v in headers.items() if n not in changing} == {
        n: v for n, v in expected[1].items() if n not in changing
    }
    assert json.loads(body)["data"] == json.loads(expected[2])["data"]


@pytest.mark.parametrize("at_once", [True, False])
def test_requests_that_come_before_the_answer_are_answered_in_order(
    bench: Bench, champion: ScriptedRuntime, at_once: bool
) -> None:
    bench.route()
    champion.delay_s = 0.1
    sent = [request(f"tag {i}") for i in range(4)]
    with connect(bench) as connection:
        if at_once:
            connection.sendall(b"".join(sent))
        else:
            for one in sent:
                connection.sendall(one)
                time.sleep(0.02)
        file = connection.makefile("rb")
        pictures = [_read_one(file) for _ in sent]
    assert prompts(champion) == [f"tag {i}" for i in range(4)]
    assert len(set(pictures)) == 4


@pytest.mark.parametrize(
    ("lines", "version", "stays"),
    [((), "1.1", True), (("connection: close",), "1.1", False), ((), "1.0", False)],
)
def test_the_connection_stays_as_long_as_the_client_wants_it(
    bench: Bench, lines: tuple[str, ...], version: str, stays: bool
) -> None:
    bench.route()
    with connect(bench) as connection:
        connection.sendall(request("a tag", *lines, version=version))
        status, headers, _ = read_answer(connection)
        assert status == 200
        assert ("close" in headers.get("connection", "")) is not stays
        if stays:
            connection.sendall(request("another"))
            assert read_answer(connection)[0] == 200
        else:
            assert connection.recv(1) == b""


def test_who_asks_before_sending_the_body_is_told_to_go_on(bench: Bench) -> None:
    bench.route()
    head, _, body = request("a tag", "expect: 100-continue").partition(b"\r\n\r\n")
    with connect(bench) as connection:
        connection.sendall(head + b"\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
        connection.sendall(body)
        assert read_answer(connection)[0] == 200


def test_a_body_in_chunks_is_read_too(bench: Bench, champion: ScriptedRuntime) -> None:
    bench.route()
    body = request("in chunks").partition(b"\r\n\r\n")[2]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:9], body[9:])) + b"0\r\n\r\n"
    with connect(bench) as connection:
        connection.sendall(f"POST {IMAGES} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".encode() + chunks)
        assert read_answer(connection)[0] == 200
    assert prompts(champion) == ["in chunks"]


def test_requests_of_both_kinds_share_a_connection(bench: Bench) -> None:
    bench.route()
    with connect(bench) as connection:
        for path in ("/health", "/v1/models", "/metrics", "/v1/models?x=1", "/v2/health/live"):
            connection.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            assert read_answer(connection)[0] == 200, path
            connection.sendall(request("between"))
            assert read_answer(connection)[0] == 200


def test_a_client_that_leaves_pipelined_requests_is_noticed(
    bench: Bench, champion: ScriptedRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    bench.route()
    bench.client.pull()
    champion.delay_s = 0.3
    with connect(bench) as connection:
        connection.sendall(b"".join(request(f"tag {i}") for i in range(3)))
        time.sleep(0.1)
    deadline_s, cancelled = time.monotonic() + 10, 0
    while cancelled < 1 and time.monotonic() < deadline_s:
        rows = [row for batch in bench.client.pull().batches for row in batch.requests]
        cancelled += sum(row.cancelled for row in rows)
        assert sum(row.total for row in rows) == 0
        time.sleep(0.05)
    assert cancelled == 1
    assert prompts(champion) == ["tag 0"]
    assert not caplog.text


def test_a_client_that_leaves_stops_what_was_drawn_for_it(bench: Bench, champion: ScriptedRuntime) -> None:
    bench.route()
    bench.client.pull()
    champion.delay_s = 0.3
    for _ in range(3):
        with connect(bench) as connection:
            connection.sendall(request("never seen"))
            time.sleep(0.05)
    deadline_s, cancelled, total = time.monotonic() + 10, 0, 0
    while cancelled < 3 and time.monotonic() < deadline_s:
        rows = [row for batch in bench.client.pull().batches for row in batch.requests]
        cancelled += sum(row.cancelled for row in rows)
        total += sum(row.total for row in rows)
        time.sleep(0.05)
    assert (cancelled, total) == (3, 0)


def _read_one(file: "socket.SocketIO | io.BufferedReader") -> bytes:
    """Read one of several answers on a connection."""
    lines = iter(file.readline, b"\r\n")
    length = next(
        int(value) for name, _, value in (line.partition(b":") for line in lines) if name == b"content-length"
    )
    for _ in lines:
        pass
    return file.read(length) or b""


WHOLE = request("a tag", "x-roost-user: ann")


def prompt_of(piece: bytes, reader: WholeReader) -> str | None:
    """Return the prompt of a piece that was read as a whole request, None of any other."""
    read = reader.read(piece)
    if read is None:
        return None
    head, body = read
    assert (head.method, head.path, head.keeps_alive) == ("POST", IMAGES, True)
    assert head.headers[b"x-roost-user"] == b"ann"
    prompt: str = json.loads(body)["prompt"]
    return prompt


def test_a_piece_is_read_once_it_is_exactly_one_request() -> None:
    reader = WholeReader(Heads())
    for prompt in ("a tag", "a tag", "another", "A TAG"):
        assert prompt_of(request(prompt, "x-roost-user: ann"), reader) == prompt


def test_a_head_that_was_read_before_says_nothing_about_another_body() -> None:
    reader = WholeReader(Heads())
    assert prompt_of(WHOLE, reader) == "a tag"
    for piece in (WHOLE + b" ", WHOLE[:-1], WHOLE + WHOLE):
        assert reader.read(piece) is None
    assert prompt_of(WHOLE, reader) == "a tag"


def test_heads_that_are_all_different_or_long_are_not_hoarded() -> None:
    heads: Heads[Head] = Heads()
    reader = WholeReader(heads)
    for i in range(2 * MOST_HEADS):
        assert reader.read(request("a tag", f"x-request: {i}")) is not None
    assert reader.read(request("a tag", f"x-long: {'x' * LONGEST_HEAD_BYTES}")) is not None
    assert len(heads) <= MOST_HEADS
    assert max(map(len, heads)) <= LONGEST_HEAD_BYTES


def test_a_body_in_chunks_is_not_taken_for_one_of_known_length() -> None:
    reader = WholeReader(Heads())
    head = f"POST {IMAGES} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    for text in (b"first", b"other"):
        read = reader.read(head + b"5\r\n" + text + b"\r\n0\r\n\r\n")
        assert read is not None
        assert read[1] == text


@given(cut=st.integers(1, len(WHOLE) - 1))
def test_a_part_of_a_request_is_left_to_others_and_forgotten(cut: int) -> None:
    reader = WholeReader(Heads())
    assert reader.read(WHOLE[:cut]) is None
    assert reader.read(WHOLE[cut:]) is None
    assert prompt_of(WHOLE, reader) == "a tag"


@pytest.mark.parametrize(
    "piece",
    [
        WHOLE + WHOLE,
        WHOLE + b"POST",
        b"nonsense\r\n\r\n",
        request("a tag", "expect: 100-continue"),
        request("a tag", version="1.0"),
        request("a tag", path="/v1/models?x=1"),
        request("a tag", path="/v1/models/a%20b"),
        b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    ],
)
def test_what_is_unusual_is_left_to_others(piece: bytes) -> None:
    reader = WholeReader(Heads())
    for _ in range(2):
        assert reader.read(piece) is None
    assert prompt_of(WHOLE, reader) == "a tag"


def test_a_head_whose_body_comes_later_is_waited_for() -> None:
    reader = WholeReader(Heads())
    end = WHOLE.index(b"\r\n\r\n") + 4
    for cut in (end, end + 5, end):
        assert reader.read(WHOLE[:cut]) is None
        assert reader.awaits_body
    assert prompt_of(WHOLE, reader) == "a tag"
    assert reader.read(WHOLE[: end - 1]) is None
    assert not reader.awaits_body


def test_what_stands_before_a_head_is_not_taken_for_it() -> None:
    reader = WholeReader(Heads())
    for piece in (b"\r\n\r\n" + WHOLE, b"\r\n\r\n" + WHOLE[:60], b"\r\n\r\n" + WHOLE):
        read = reader.read(piece)
        assert read is None or json.loads(read[1])["prompt"] == "a tag"
    assert reader.read(b"\r\n\r\n" + WHOLE[: len(WHOLE) - 4]) is None
    assert not reader.awaits_body


@pytest.mark.parametrize("head_first", [True, False])
def test_who_sends_too_slowly_is_told_so_in_the_protocols_shape(
    bench: Bench, head_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GatewayProtocol, "read_timeout_s", 0.5)
    bench.route()
    whole = request("a tag")
    cut = whole.index(b"\r\n\r\n") + (4 if head_first else 0)
    with connect(bench) as connection:
        connection.sendall(whole[:cut])
        for byte in whole[cut : cut + 4]:
            time.sleep(0.2)
            with contextlib.suppress(OSError):
                connection.sendall(bytes([byte]))
        status, _, body = read_answer(connection)
        assert (status, json.loads(body)["error"]["code"]) == (408, "input.slow")


def test_a_body_that_ends_too_early_is_answered(bench: Bench) -> None:
    bench.route()
    with connect(bench) as connection:
        connection.sendall(request("a tag")[:-5])
        connection.shutdown(socket.SHUT_WR)
        status, _, body = read_answer(connection)
        assert (status, json.loads(body)["error"]["code"]) == (400, "input.invalid")
