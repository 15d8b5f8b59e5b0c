"""Requests that arrive in one piece, as nearly all do: read and answered without ASGI, for a tenth of its cost."""

from collections.abc import Callable
from http import HTTPStatus

import httptools
from uvicorn.protocols.http.flow_control import FlowControl

from serving.gateway.exchange import Exchange, TooLarge

STATUS_LINES = {status.value: b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}


class WholeReader:
    """Reads pieces that hold exactly one request, head and body; of all others it knows nothing.

    What is slow, cut into parts, pipelined, of another version or malformed is not its business: nothing was done with
    such a piece, so that it can be handed to a server that knows all of HTTP.
    """

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._begun = self._complete = 0
        self.method = self.path = ""
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.keeps_alive = True

    def read(self, piece: bytes) -> bool:
        """Read a piece; tell whether it is exactly one request, and nothing unusual is asked in its head."""
        self._begun = self._complete = 0
        self.path, self.body, self.headers = "", b"", {}
        parser = self._parser
        try:
            parser.feed_data(piece)
            if self._begun == self._complete == 1 and parser.get_http_version() == "1.1":
                self.method = parser.get_method().decode()
                return b"expect" not in self.headers and "%" not in self.path and "?" not in self.path
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            pass
        self._parser = httptools.HttpRequestParser(self)  # the other one is in the middle of something
        return False

    def on_message_begin(self) -> None:
        """Count the requests that begin in the piece."""
        self._begun += 1

    def on_url(self, url: bytes) -> None:
        """Note the request's target."""
        self.path += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note a header."""
        self.headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        """Note the body, or a part of it."""
        self.body += body

    def on_message_complete(self) -> None:
        """Count the requests that end in the piece, and note whether the client wants to go on after it."""
        self._complete += 1
        self.keeps_alive = self._parser.should_keep_alive()


class WholeExchange(Exchange):
    """A request that was read whole, answered straight to the connection, whose end cancels the task that serves it."""

    __slots__ = ("_body", "_flow", "_write", "keeps_alive")

    def __init__(self, reader: WholeReader, write: Callable[[bytes], None], flow: FlowControl) -> None:
        super().__init__(reader.method, reader.path, b"", reader.headers)
        self._body, self._write, self._flow = reader.body, write, flow
        self.keeps_alive = reader.keeps_alive

    async def read_body(self, largest_bytes: int) -> bytes:
        """Return the body, if it isn't larger than may be."""
        if len(self._body) > largest_bytes:
            raise TooLarge(f"the body has {len(self._body)} bytes", hint=f"at most {largest_bytes} bytes")
        return self._body

    def watch(self) -> None:
        """Do nothing: who goes closes the connection."""

    def unwatch(self) -> None:
        """Do nothing, as ``watch`` did."""

    async def respond(self, status: int, body: bytes, content_type: bytes, lines: bytes = b"") -> None:
        """Write the answer in one go."""
        self.status = status
        head = (STATUS_LINES[status], content_type, lines, self._last_line(), len(body), body)
        self._write(b"%scontent-type: %s\r\n%s%scontent-length: %d\r\n\r\n%s" % head)

    async def start_stream(self, content_type: bytes, lines: bytes) -> None:
        """Begin an answer in chunks."""
        self.status = 200
        framing = b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
        self._write(
            b"%scontent-type: %s\r\n%s%s%s" % (STATUS_LINES[200], content_type, lines, self._last_line(), framing)
        )

    async def send_chunk(self, chunk: bytes, *, last: bool = False) -> None:
        """Write a part of a streamed answer, when the client has taken most of what came before."""
        if self._flow.write_paused:
            await self._flow.drain()
        framed = b"%x\r\n%s\r\n" % (len(chunk), chunk) if chunk else b""
        self._write(framed + b"0\r\n\r\n" if last else framed)

    def _last_line(self) -> bytes:
        return b"" if self.keeps_alive else b"connection: close\r\n"
