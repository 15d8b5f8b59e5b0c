"""The HTTP client to workers: connections are reused, lost ones are found, nobody waits too long."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.gateway.upstream import LostConnection, Reply, Upstream

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], "asyncio.Future[None]"]


@asynccontextmanager
async def server(script: object) -> AsyncIterator[Upstream]:
    listener = await asyncio.start_server(script, "127.0.0.1", 0)  # type: ignore[arg-type]
    port = listener.sockets[0].getsockname()[1]
    upstream = Upstream(f"http://127.0.0.1:{port}")
    try:
        yield upstream
    finally:
        upstream.close()
        listener.close()
        await asyncio.sleep(0.02)  # both sides see that it is over


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length"))
    return head + await reader.readexactly(length)


def ok(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


def test_a_connection_is_used_again_and_a_closed_one_is_replaced() -> None:
    connections = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        for _ in range(2):  # closes after two, as a worker does with idle connections
            request = await read_request(reader)
            writer.write(ok(request[-3:]))
        writer.close()

    async def scenario() -> list[bytes]:
        async with server(script) as upstream:
            answers = []
            for i in range(5):
                answers.append((await upstream.post("/generate", b"%03d" % i, timeout_s=5)).body)
                await asyncio.sleep(0.01)
            return answers

    assert asyncio.run(scenario()) == [b"000", b"001", b"002", b"003", b"004"]
    assert connections == 3


def test_a_timeout_closes_the_connection_so_that_the_worker_stops() -> None:
    seen: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        seen.append(await reader.read(1))
        writer.close()

    async def scenario() -> None:
        async with server(script) as upstream:
            with pytest.raises(TimeoutError):
                await upstream.post("/generate", b"", timeout_s=0.1)
            await asyncio.sleep(0.1)

    asyncio.run(scenario())
    assert seen == [b""]


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", b"nonsense\r\n\r\n", b"HTTP/1.1 2"]
)
def test_an_answer_that_breaks_off_is_a_lost_connection(answer: bytes) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer)
        writer.close()

    async def scenario() -> None:
        async with server(script) as upstream:
            with pytest.raises(LostConnection):
                await upstream.post("/generate", b"", timeout_s=5)

    asyncio.run(scenario())


def test_nobody_there_is_a_lost_connection() -> None:
    async def scenario() -> None:
        with pytest.raises(LostConnection, match="can't connect"):
            await Upstream("http://127.0.0.1:9").post("/generate", b"", timeout_s=5)

    asyncio.run(scenario())


@settings(deadline=None, max_examples=40)
@given(body=st.binary(max_size=300), cuts=st.lists(st.integers(1, 400), max_size=6), chunked=st.booleans())
def test_an_answer_arrives_whole_however_it_is_cut(body: bytes, cuts: list[int], chunked: bool) -> None:
    if chunked:
        parts = [body[i : i + 7] for i in range(0, len(body), 7)]
        framed = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        whole = b"HTTP/1.1 507 No\r\ntransfer-encoding: chunked\r\n\r\n" + framed
    else:
        whole = b"HTTP/1.1 507 No\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    edges = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        for start, end in pairwise(edges):
            writer.write(whole[start:end])
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    async def scenario() -> Reply:
        async with server(script) as upstream:
            return await upstream.post("/generate", b"x", timeout_s=5)

    reply = asyncio.run(scenario())
    assert (reply.status, reply.body) == (507, body)
