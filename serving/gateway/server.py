"""The server's side of HTTP: clients that send too slowly, or stop in the middle, don't hold anything up."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

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
