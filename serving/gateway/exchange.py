"""One HTTP exchange: what is read within limits, and an eye on whether the client stays."""

import asyncio
import contextlib
from abc import ABC, abstractmethod

from starlette.types import Receive, Scope, Send

from contracts.errors import InvalidInput, RoostError
from serving.gateway.sweep import Sweep

WATCH_AFTER_S = 0.05
"""Answers that come sooner aren't worth a task that waits for the client's going."""
UNKNOWN_SERVICE = "unknown"
"""Refusals are counted by it when the service isn't known yet."""
DRAIN_BYTES = 256 << 20
DRAIN_S = 5.0


class TooLarge(RoostError):
    """The body is larger than may be."""

    code = "input.too-large"


class ClientGone(Exception):
    """The client closed the connection; nobody is there to be told anything."""


class Exchange(ABC):
    """A request, and the way back to its client; ``service`` is set once it is known, to count refusals by it.

    ``status`` is 0 until the answer begins. ``gone``: its task was cancelled because the client went away.
    """

    method: str
    path: str
    headers: dict[bytes, bytes]
    query = b""
    gone = False
    status = 0
    service = UNKNOWN_SERVICE

    @abstractmethod
    async def read_body(self, largest_bytes: int) -> bytes:
        """Return the whole body.

        Raises:
            TooLarge: as soon as it is known to be, often before a byte of it was read.
            InvalidInput: when it ends before what its head promised.
            ClientGone: when the client went away.
        """

    @abstractmethod
    def watch(self) -> None:
        """From now on cancel this task when the client goes away."""

    @abstractmethod
    def unwatch(self) -> None:
        """Stop watching: the answer is being written, or nobody is there any more."""

    @abstractmethod
    async def respond(self, status: int, body: bytes, content_type: bytes, lines: bytes = b"") -> None:
        """Write the whole answer; ``lines`` are further headers, each with its line's end."""

    @abstractmethod
    async def start_stream(self, content_type: bytes, lines: bytes) -> None:
        """Begin an answer of unknown length."""

    @abstractmethod
    async def send_chunk(self, chunk: bytes, *, last: bool = False) -> None:
        """Write a part of a streamed answer."""


class AsgiExchange(Exchange):
    """Over ASGI: for requests that come in parts, or with something unusual in their heads."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, sweep: Sweep) -> None:
        self.method, self.path, self.query = scope["method"], scope["path"], scope["query_string"]
        self.headers = dict(scope["headers"])
        self._receive, self._send, self._sweep = receive, send, sweep
        self._is_read = False
        self._main: asyncio.Task[object] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.due_s = 0.0

    async def read_body(self, largest_bytes: int) -> bytes:
        """Return the whole body; raises as ``Exchange.read_body`` says."""
        promised = self._promised_bytes()
        if promised is not None and promised > largest_bytes:
            raise TooLarge(f"the body has {promised} bytes", hint=f"at most {largest_bytes} bytes")
        message = await self._receive()
        body: bytes = message.get("body", b"")
        if message.get("more_body"):
            body = await self._read_rest(body, largest_bytes)
        elif message["type"] == "http.disconnect":
            raise ClientGone
        self._is_read = True
        if promised is not None and len(body) != promised:
            raise InvalidInput("the body is cut short", hint=f"its head promised {promised} bytes")
        return body

    async def _read_rest(self, first: bytes, largest_bytes: int) -> bytes:
        chunks, size_bytes, more = [first], len(first), True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            chunks.append(message.get("body", b""))
            size_bytes += len(chunks[-1])
            if size_bytes > largest_bytes:
                raise TooLarge("the body is too large", hint=f"at most {largest_bytes} bytes")
            more = message.get("more_body", False)
        return b"".join(chunks)

    def watch(self) -> None:
        """Look for the client's going, of answers that take long."""
        self._main = asyncio.current_task()
        self.due_s = asyncio.get_running_loop().time() + WATCH_AFTER_S
        self._sweep.add(self)
        self._sweep.wake()

    def unwatch(self) -> None:
        """Look no more."""
        self._sweep.discard(self)
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None

    async def respond(self, status: int, body: bytes, content_type: bytes, lines: bytes = b"") -> None:
        """Write the whole answer; what is left of an unread body is then read and thrown away for a while."""
        self.unwatch()
        self.status = status
        pairs = [(b"content-type", content_type), (b"content-length", b"%d" % len(body)), *_pairs(lines)]
        if not self._is_read and self.method == "POST":
            pairs.append((b"connection", b"close"))
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})
        if self._is_read or self.method != "POST":
            await self._send({"type": "http.response.body", "body": body})
            return
        # A connection closed over unread bytes is reset, and the client would never see the answer.
        await self._send({"type": "http.response.body", "body": body, "more_body": True})
        await self._drain()
        await self._send({"type": "http.response.body", "body": b""})

    async def start_stream(self, content_type: bytes, lines: bytes) -> None:
        """Begin an answer of unknown length."""
        self.status = 200
        pairs = [(b"content-type", content_type), (b"cache-control", b"no-cache"), *_pairs(lines)]
        await self._send({"type": "http.response.start", "status": 200, "headers": pairs})

    async def send_chunk(self, chunk: bytes, *, last: bool = False) -> None:
        """Write a part of a streamed answer."""
        if last:
            self.unwatch()
        await self._send({"type": "http.response.body", "body": chunk, "more_body": not last})

    def _promised_bytes(self) -> int | None:
        text = self.headers.get(b"content-length", b"")
        return int(text) if text.isdigit() and len(text) < 16 else None

    def expire(self) -> None:
        """Begin to wait for the client's going; called by the sweep."""
        self._watcher = asyncio.create_task(self._cancel_when_gone())

    async def _cancel_when_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._main is not None and self._watcher is not None:
            self.gone = True
            self._main.cancel()

    async def _drain(self) -> None:
        left_bytes = DRAIN_BYTES
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while left_bytes > 0:
                    message = await self._receive()
                    left_bytes -= len(message.get("body", b""))
                    if message["type"] == "http.disconnect" or not message.get("more_body"):
                        return


def _pairs(lines: bytes) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, _, value in (line.partition(b": ") for line in lines.splitlines())]
