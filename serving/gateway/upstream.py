"""HTTP to one replica: keep-alive connections and httptools; a quarter of a general client's cost per request.

Only what our workers speak: HTTP/1.1 without TLS, redirects or trailers; answers whole or chunked.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, cast
from urllib.parse import urlsplit

import httptools

from serving.gateway.heads import HEAD_END, Heads
from serving.gateway.sweep import NEVER_S, Sweep

LARGEST_ANSWER_BYTES = 128 << 20
CONNECT_TIMEOUT_S = 2.0
MOST_IDLE = 64
POST = (
    b"POST %s HTTP/1.1\r\nhost: %s\r\ncontent-type: application/json\r\nx-roost-time-left-s: %.3f\r\ncontent-length: "
)

Chunks = Callable[[bytes], None]


@dataclass(slots=True)
class Reply:
    """A replica's answer; ``body`` is empty when its chunks were handed on as they came."""

    status: int
    body: bytes
    is_stream: bool = False


class LostConnection(ConnectionError):
    """The replica doesn't listen, closed the connection before the answer was complete, or answered no HTTP.

    ``unheard``: not one byte came back.
    """

    def __init__(self, message: str, *, unheard: bool) -> None:
        super().__init__(message)
        self.unheard = unheard


class Receiver(Protocol):
    """Who asked a replica: told once, either the answer or that there is none."""

    def take(self, reply: Reply) -> None:
        """Take the answer."""
        ...

    def lose(self, error: TimeoutError | LostConnection) -> None:
        """Take that no answer comes; the connection is closed."""
        ...


class Awaited:
    """A receiver for tasks: they await its ``reply``."""

    __slots__ = ("reply",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.reply: asyncio.Future[Reply] = loop.create_future()

    def take(self, reply: Reply) -> None:
        """Wake the task up with the answer."""
        if not self.reply.done():
            self.reply.set_result(reply)

    def lose(self, error: TimeoutError | LostConnection) -> None:
        """Wake the task up with the error."""
        if not self.reply.done():
            self.reply.set_exception(error)


class Connection(asyncio.Protocol):
    """One connection: one request at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sweep: Sweep, heads: Heads[int]) -> None:
        self._loop, self._sweep, self._heads = loop, sweep, heads
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport
        self._receiver: Receiver | None = None
        self._on_chunk: Chunks | None = None
        self._body: list[bytes] = []
        self._size_bytes = 0
        self._is_stream = self._unheard = False
        self._reply: Reply | None = None
        self.is_open = False
        self.reusable = False
        self.due_s = NEVER_S

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True
        self._sweep.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request under way, if there is one."""
        self.is_open = False
        self._sweep.discard(self)
        self._fail(LostConnection("the connection was closed before the answer", unheard=self._unheard))

    def data_received(self, data: bytes) -> None:
        """Read what came, and hand over the answer when it is whole."""
        receiver, end = self._receiver, 0
        if receiver is None:
            self.close()  # nobody asked
            return
        if self._unheard:
            self._unheard = False
            end = data.find(HEAD_END) + 4
            if self._heads.get(data[:end]) == len(data) - end:
                self._receiver, self.due_s, self.reusable = None, NEVER_S, True
                receiver.take(Reply(200, data[end:]))
                return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(LostConnection(f"not HTTP: {error}", unheard=False))
            self.close()
            return
        if self._reply is not None:
            self._deliver(self._reply, data, end)

    def ask(self, request: bytes, timeout_s: float, receiver: Receiver, on_chunk: Chunks | None = None) -> None:
        """Send a request; the receiver is told the answer, or ``TimeoutError``."""
        self.due_s = self._loop.time() + timeout_s
        if not self._sweep.running:
            self._sweep.wake()
        self._receiver, self._on_chunk, self._unheard, self._reply = receiver, on_chunk, True, None
        self._transport.write(request)

    def on_message_begin(self) -> None:
        """Begin to read an answer; a second one that nobody asked for spoils the connection."""
        if self._reply is not None:
            self.reusable = False
        self._body, self._size_bytes, self._is_stream = [], 0, False

    def expire(self) -> None:
        """Fail the request with ``TimeoutError``: nobody waits for it any more."""
        self._fail(TimeoutError())
        self.close()

    def close(self) -> None:
        """Close, whoever waited is told nothing; a worker that draws for nobody sees it and stops."""
        self._receiver = None
        self._transport.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note whether events are streamed."""
        if len(name) == 12 and name.lower() == b"content-type":
            self._is_stream = value.startswith(b"application/x-ndjson")

    def on_body(self, body: bytes) -> None:
        """Keep a part of the answer, or hand it on."""
        self._size_bytes += len(body)
        if self._size_bytes > LARGEST_ANSWER_BYTES:
            self._fail(LostConnection(f"the answer is larger than {LARGEST_ANSWER_BYTES} bytes", unheard=False))
            self.close()
        elif self._is_stream and self._on_chunk is not None:
            self._on_chunk(body)
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """Note the answer that is whole now."""
        if self._reply is None:
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            self._reply = Reply(self._parser.get_status_code(), body, self._is_stream)
            self.reusable = self._parser.should_keep_alive()

    def _deliver(self, reply: Reply, data: bytes, end: int) -> None:
        """Hand over a parsed answer; remember its head if it came in one piece with all of its body."""
        plain = reply.status == 200 and self.reusable and not reply.is_stream
        if end and plain and len(reply.body) == len(data) - end:
            self._heads.remember(data[:end], len(reply.body))
        receiver, self._receiver = self._receiver, None
        self.due_s = NEVER_S
        if receiver is not None:
            receiver.take(reply)

    def _fail(self, error: TimeoutError | LostConnection) -> None:
        receiver, self._receiver = self._receiver, None
        self.due_s = NEVER_S
        if receiver is not None:
            receiver.lose(error)


class Upstream:
    """The connections to one replica."""

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        self._host, self._port = place.hostname or "", place.port or 80
        self._netloc = place.netloc.encode()
        self._idle: list[Connection] = []
        self._sweep = Sweep()
        self._heads: Heads[int] = Heads()

    async def post(self, path: str, body: bytes, *, timeout_s: float, on_chunk: Chunks | None = None) -> Reply:
        """Send ``body`` and return the answer; a stream's chunks go to ``on_chunk`` as they come.

        Raises:
            TimeoutError: when it takes longer than ``timeout_s``; the connection is closed.
            LostConnection: when the replica can't be reached or goes away.
        """
        return await self._send(self.request(path, body, timeout_s), timeout_s, on_chunk)

    async def get(self, path: str, *, timeout_s: float) -> Reply:
        """Fetch a small document; raises as ``post`` does."""
        return await self._send(b"GET %s HTTP/1.1\r\nhost: %s\r\n\r\n" % (path.encode(), self._netloc), timeout_s, None)

    def request(self, path: str, body: bytes, timeout_s: float) -> bytes:
        """Return a request as it is written to a connection."""
        return b"%b%d\r\n\r\n%b" % (_post_head(path, self._netloc, timeout_s), len(body), body)

    def take_idle(self) -> Connection | None:
        """Return an open connection that nobody uses, None when there is none."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        return None

    def keep(self, connection: Connection) -> None:
        """Take back a connection whose answer has come, for the next request."""
        if connection.reusable and len(self._idle) < MOST_IDLE:
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Close what is idle; what is in use is closed when its answer has come."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    async def _send(self, request: bytes, timeout_s: float, on_chunk: Chunks | None) -> Reply:
        loop = asyncio.get_running_loop()
        due_s = loop.time() + timeout_s
        while True:
            connection = self.take_idle()
            reused = connection is not None
            if connection is None:
                connection = await self._connect(due_s - loop.time())
            awaited = Awaited(loop)
            connection.ask(request, due_s - loop.time(), awaited, on_chunk)
            try:
                reply = await awaited.reply
            except LostConnection as lost:
                # The worker closed an idle connection while we wrote to it: nothing was asked yet.
                if reused and lost.unheard:
                    continue
                raise
            except BaseException:
                connection.close()
                raise
            self.keep(connection)
            return reply

    async def _connect(self, timeout_s: float) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(min(timeout_s, CONNECT_TIMEOUT_S)):
                _, connection = await loop.create_connection(
                    lambda: Connection(loop, self._sweep, self._heads), self._host, self._port
                )
        except (OSError, TimeoutError) as error:
            raise LostConnection(f"can't connect: {error or 'no answer'}", unheard=True) from None
        return connection


@lru_cache(maxsize=256)
def _post_head(path: str, netloc: bytes, timeout_s: float) -> bytes:
    return POST % (path.encode(), netloc, timeout_s)
