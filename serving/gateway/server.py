"""The server's side of HTTP: clients that send too slowly, or stop in the middle, don't hold anything up."""

import asyncio
from functools import partial
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from serving.gateway.exchange import WHOLE_ANSWER
from serving.gateway.protocols.shapes import slow_request

READ_TIMEOUT_S = 15.0
"""From a connection's or a request's first byte to its last."""
TIMEOUT_HEAD = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
)


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with a limit on how long a request may take to arrive.

    One timer per connection looks now and then, instead of one per request. A client that closes its side in the middle
    of a body gets an answer to what it sent; one that closes it after a whole request has gone, as far as HTTP goes.
    """

    read_timeout_s = READ_TIMEOUT_S

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._reading_since: float | None = None
        self._guard: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to watch the connection."""
        super().connection_made(transport)
        self._reading_since = self.loop.time()
        self._guard = self.loop.call_later(self.read_timeout_s, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching."""
        if self._guard is not None:
            self._guard.cancel()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        # An ASGI extension of our own: an answer that is whole is written without uvicorn's look at each header.
        cycle.scope["extensions"] = cast("Any", {WHOLE_ANSWER: partial(self.write_whole, cycle)})
        super()._start_asgi_task(cycle, app)

    def write_whole(self, cycle: RequestResponseCycle, head: bytes, body: bytes) -> None:
        """Write an answer in one go; ``head`` is its status line and headers, each with its line's end."""
        if cycle.disconnected:
            return
        cycle.response_started = cycle.response_complete = True
        end = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
        self.transport.write(b"".join((head, end, body)))
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()

    def on_message_begin(self) -> None:
        """Start the clock of a request."""
        self._reading_since = self.loop.time()
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """Stop the clock: the request has arrived."""
        self._reading_since = None
        super().on_message_complete()

    def eof_received(self) -> None:
        """Let the application answer what was cut short: it sees the end of the body, and that it is too early."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete or not cycle.more_body:
            return None
        cycle.more_body = False
        cycle.keep_alive = False
        cycle.message_event.set()
        return True  # type: ignore[return-value]  # keeps our side of the connection open

    def _look(self) -> None:
        since = self._reading_since
        if since is not None and self.loop.time() - since >= self.read_timeout_s * 0.99:
            cycle = self.cycle
            if cycle is None or cycle.response_complete or (cycle.more_body and not cycle.response_started):
                body = slow_request(self.scope.get("path", "/") if self.scope is not None else "/")
                self.transport.write(TIMEOUT_HEAD % len(body) + body)
            self.transport.close()
            return
        delay_s = self.read_timeout_s if since is None else self.read_timeout_s - (self.loop.time() - since)
        self._guard = self.loop.call_later(max(0.01, delay_s), self._look)
