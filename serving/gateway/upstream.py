"""HTTP to one replica: keep-alive connections and httptools; a quarter of a general client's cost per request.

Only what our workers speak: HTTP/1.1 without TLS, redirects or trailers; answers whole or chunked.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

import httptools

from serving.gateway.sweep import NEVER_S, Sweep

LARGEST_ANSWER_BYTES = 128 << 20
CONNECT_TIMEOUT_S = 2.0
MOST_IDLE = 64
POST = (
    b"POST %s HTTP/1.1\r\nhost: %s\r\ncontent-type: application/json\r\n"
    b"x-roost-time-left-s: %.3f\r\ncontent-length: %d\r\n\r\n%s"
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


class Connection(asyncio.Protocol):
    """One connection: one request at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sweep: Sweep) -> None:
        self._loop, self._sweep = loop, sweep
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport
        self._answer: asyncio.Future[Reply] | None = None
        self._on_chunk: Chunks | None = None
        self._body: list[bytes] = []
        self._size_bytes = 0
        self._is_stream = self._unheard = False
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
        """Parse what came."""
        self._unheard = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(LostConnection(f"not HTTP: {error}", unheard=False))
            self.close()

    def ask(self, request: bytes, timeout_s: float, on_chunk: Chunks | None) -> asyncio.Future[Reply]:
        """Send a request; the future brings its answer, or ``TimeoutError``."""
        self._answer = self._loop.create_future()
        self.due_s = self._loop.time() + timeout_s
        self._sweep.wake()
        self._on_chunk, self._body, self._size_bytes = on_chunk, [], 0
        self._is_stream, self._unheard, self.reusable = False, True, False
        self._transport.write(request)
        return self._answer

    def expire(self) -> None:
        """Fail the request with ``TimeoutError``: nobody waits for it any more."""
        self._fail(TimeoutError())

    def close(self) -> None:
        """Close; a worker that draws for nobody sees it and stops."""
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
        """Hand over the answer."""
        self.due_s = NEVER_S
        self.reusable = self._parser.should_keep_alive()
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Reply(self._parser.get_status_code(), body, self._is_stream))

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


class Upstream:
    """The connections to one replica."""

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        self._host, self._port = place.hostname or "", place.port or 80
        self._netloc = place.netloc.encode()
        self._idle: list[Connection] = []
        self._sweep = Sweep()

    def post(
        self, path: str, body: bytes, *, timeout_s: float, on_chunk: Chunks | None = None
    ) -> Coroutine[Any, Any, Reply]:
        """Send ``body`` and return the answer; a stream's chunks go to ``on_chunk`` as they come.

        Raises:
            TimeoutError: when it takes longer than ``timeout_s``; the connection is closed.
            LostConnection: when the replica can't be reached or goes away.
        """
        request = POST % (path.encode(), self._netloc, timeout_s, len(body), body)
        return self._send(request, timeout_s, on_chunk)

    async def get(self, path: str, *, timeout_s: float) -> Reply:
        """Fetch a small document; raises as ``post`` does."""
        return await self._send(b"GET %s HTTP/1.1\r\nhost: %s\r\n\r\n" % (path.encode(), self._netloc), timeout_s, None)

    def close(self) -> None:
        """Close what is idle; what is in use is closed when its answer has come."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    async def _send(self, request: bytes, timeout_s: float, on_chunk: Chunks | None) -> Reply:
        while True:
            connection = self._idle.pop() if self._idle else None
            reused = connection is not None
            if connection is None:
                start_s = time.perf_counter()
                connection = await self._connect(timeout_s)
                timeout_s -= time.perf_counter() - start_s
            elif not connection.is_open:
                continue
            try:
                reply = await connection.ask(request, timeout_s, on_chunk)
            except LostConnection as lost:
                # The worker closed an idle connection while we wrote to it: nothing was asked yet.
                if reused and lost.unheard:
                    continue
                raise
            except BaseException:
                connection.close()
                raise
            if connection.reusable and len(self._idle) < MOST_IDLE:
                self._idle.append(connection)
            else:
                connection.close()
            return reply

    async def _connect(self, timeout_s: float) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(min(timeout_s, CONNECT_TIMEOUT_S)):
                _, connection = await loop.create_connection(
                    lambda: Connection(loop, self._sweep), self._host, self._port
                )
        except (OSError, TimeoutError) as error:
            raise LostConnection(f"can't connect: {error or 'no answer'}", unheard=True) from None
        return connection
