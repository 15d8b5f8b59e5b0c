"""Requests that arrive in one piece, as nearly all do: read and answered without ASGI, for a tenth of its cost."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import NamedTuple, Protocol

import httptools
from uvicorn.protocols.http.flow_control import FlowControl

from serving.gateway.exchange import Exchange, TooLarge
from serving.gateway.heads import HEAD_END, Heads

STATUS_LINES = {status.value: b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}


SMALL_BODY_BYTES = 64 << 10
"""What may be put together from parts: a larger body is read as it comes."""
HUGE_BYTES = 1 << 30


class Head(NamedTuple):
    """A request's head: what is asked, whether the connection goes on after it, and how long its body is."""

    method: str
    path: str
    headers: dict[bytes, bytes]
    keeps_alive: bool
    body_bytes: int


class WholeReader:
    """Reads pieces that hold exactly one request, head and body; of all others it knows nothing.

    What is slow, cut into parts, pipelined, of another version or malformed is not its business: nothing was done with
    such a piece, so that it can be handed to a server that knows all of HTTP. ``awaits_body``: the piece is a request
    that lacks but the rest of a small body, as many clients send head and body one after the other.
    """

    def __init__(self, heads: Heads[Head]) -> None:
        self._heads = heads
        self._parser: httptools.HttpRequestParser
        self._begun = self._complete = 0
        self._path = ""
        self._headers: dict[bytes, bytes] = {}
        self._keeps_alive = False
        self._body = b""
        self.awaits_body = False

    def read(self, piece: bytes) -> tuple[Head, bytes] | None:
        """Return the head and the body of a piece that is exactly one request with nothing unusual in its head."""
        end = piece.find(HEAD_END) + 4
        head = self._heads.get(piece[:end])
        if head is not None and head.body_bytes == len(piece) - end:
            return head, piece[end:]
        self.awaits_body = False
        head = self._parse(piece, end)
        return (head, self._body) if self._complete and head is not None else None

    def _parse(self, piece: bytes, end: int) -> Head | None:
        """Return a piece's head if it is a usual one; what follows it is the body, or the first part of it."""
        self._begun = self._complete = 0
        self._path, self._body, self._headers = "", b"", {}
        parser = self._parser = httptools.HttpRequestParser(self)
        try:
            parser.feed_data(piece)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return None
        path, headers = self._path, self._headers
        if self._begun != 1 or end < len(HEAD_END) or parser.get_http_version() != "1.1":
            return None
        if b"expect" in headers or "%" in path or "?" in path:
            return None
        promised = headers.get(b"content-length", b"0")
        body_bytes = int(promised) if promised.isdigit() and len(promised) < 9 else HUGE_BYTES
        head = Head(parser.get_method().decode(), path, headers, self._keeps_alive, body_bytes)
        # All that follows the head is body: so the head ends where it seems to, and the body is not in chunks.
        is_plain = b"transfer-encoding" not in headers and len(self._body) == len(piece) - end
        if is_plain and body_bytes <= SMALL_BODY_BYTES:
            self._heads.remember(piece[:end], head)
            self.awaits_body = not self._complete
        return head

    def on_message_begin(self) -> None:
        """Count the requests that begin in the piece."""
        self._begun += 1

    def on_url(self, url: bytes) -> None:
        """Note the request's target."""
        self._path += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note a header."""
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Note whether the client wants to go on after this request."""
        self._keeps_alive = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        """Note the body, or a part of it."""
        self._body += body

    def on_message_complete(self) -> None:
        """Count the requests that end in the piece."""
        self._complete += 1


class ServedConnection(Protocol):
    """The server's side of a connection, as far as the exchange on it needs it."""

    flow: FlowControl

    def write(self, data: bytes) -> None:
        """Send bytes, unless the client has gone."""
        ...

    def run(self, exchange: "WholeExchange", handler: Callable[[Exchange], Awaitable[None]]) -> None:
        """Go on in a task: whatever comes of the handler, the exchange ends well."""
        ...

    def end_exchange(self, exchange: "WholeExchange") -> None:
        """Be ready for the next request: the exchange was answered without a task."""
        ...


class Cancellable(Protocol):
    """Something that is done for a client, and stops when it goes."""

    def cancel(self) -> None:
        """Stop: the client has gone."""
        ...


class WholeExchange(Exchange):
    """A request that was read whole, answered straight to the connection, whose end cancels what is done for it.

    ``under_way`` is that while no task does it.
    """

    under_way: Cancellable | None = None

    def __init__(self, head: Head, body: bytes, connection: ServedConnection) -> None:
        self.method, self.path, self.headers, self.keeps_alive, _ = head
        self._body, self.connection = body, connection

    def take_body(self, largest_bytes: int) -> bytes:
        """Return the body.

        Raises:
            TooLarge: when it is larger than may be.
        """
        if len(self._body) > largest_bytes:
            raise TooLarge(f"the body has {len(self._body)} bytes", hint=f"at most {largest_bytes} bytes")
        return self._body

    async def read_body(self, largest_bytes: int) -> bytes:
        """Return the body, if it isn't larger than may be."""
        return self.take_body(largest_bytes)

    def watch(self) -> None:
        """Do nothing: who goes closes the connection."""

    def unwatch(self) -> None:
        """Do nothing, as ``watch`` did."""

    def answer(self, status: int, body: bytes, content_type: bytes, lines: bytes = b"") -> None:
        """Write the answer in one go."""
        self.status = status
        head = (STATUS_LINES[status], content_type, lines, self._last_line(), len(body), body)
        self.connection.write(b"%scontent-type: %s\r\n%s%scontent-length: %d\r\n\r\n%s" % head)

    async def respond(self, status: int, body: bytes, content_type: bytes, lines: bytes = b"") -> None:
        """Write the answer in one go."""
        self.answer(status, body, content_type, lines)

    async def start_stream(self, content_type: bytes, lines: bytes) -> None:
        """Begin an answer in chunks."""
        self.status = 200
        framing = b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
        self.connection.write(
            b"%scontent-type: %s\r\n%s%s%s" % (STATUS_LINES[200], content_type, lines, self._last_line(), framing)
        )

    async def send_chunk(self, chunk: bytes, *, last: bool = False) -> None:
        """Write a part of a streamed answer, when the client has taken most of what came before."""
        if self.connection.flow.write_paused:
            await self.connection.flow.drain()
        framed = b"%x\r\n%s\r\n" % (len(chunk), chunk) if chunk else b""
        self.connection.write(framed + b"0\r\n\r\n" if last else framed)

    def _last_line(self) -> bytes:
        return b"" if self.keeps_alive else b"connection: close\r\n"
