"""The server's side of HTTP: the usual request at little cost; slow and vanished clients don't hold anything up."""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from serving.gateway.app import GatewayApp
from serving.gateway.exchange import Exchange
from serving.gateway.frontdoor import Handler
from serving.gateway.protocols.shapes import slow_request
from serving.gateway.whole import WholeExchange, WholeReader

READ_TIMEOUT_S = 15.0
"""From a connection's or a request's first byte to its last, and between a connection's requests."""
WHOLE_METHODS = {"GET", "POST"}
TIMEOUT_HEAD = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
)


class GatewayProtocol(HttpToolsProtocol):
    """One connection: a request that comes in one piece is served here, all else goes through uvicorn and ASGI.

    The requests of a connection are served by one task, which ends with the connection. One timer per connection looks
    now and then whether the client is too slow, instead of one per request. A client that closes its side in the middle
    of a body gets an answer to what it sent; one that closes it after a whole request has gone, as far as HTTP goes.
    One that takes nothing of its answer from one look to the next has gone, too.
    """

    read_timeout_s = READ_TIMEOUT_S

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        app = cast("GatewayApp", self.config.app)
        self._door, self._express = app.door, app.door.express
        self._reader = WholeReader(app.heads)
        self._server: asyncio.Task[None] | None = None
        self._next: asyncio.Future[tuple[WholeExchange, Handler]] = self.loop.create_future()
        self._serving: WholeExchange | None = None
        self._running: RequestResponseCycle | None = None
        self._held = self._partial = b""
        self._arriving = False
        self._unsent_bytes = 0
        self._waiting_since: float | None = None
        self._guard: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to watch the connection."""
        super().connection_made(transport)
        self._waiting_since = self.loop.time()
        self._guard = self.loop.call_later(self.read_timeout_s, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """End what is under way: nobody is there to be answered."""
        if self._guard is not None:
            self._guard.cancel()
        if self._serving is not None and self._serving.under_way is not None:
            self._serving.under_way.cancel()
        if self._server is not None:
            # Not at once: a handler that is about to begin must have begun, to count that its client has gone.
            self.loop.call_soon(self._server.cancel)
        running = self._running
        if running is not None and not running.response_complete:
            # The base class tells only the newest of pipelined requests that its client has gone.
            running.disconnected = True
            running.message_event.set()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: bytes) -> None:
        """Serve a request that is whole; hand on what is not; hold what comes while one is served."""
        if self._serving is not None:
            self._held += data
            self.flow.pause_reading()
            return
        if self._partial:
            data = self._partial + data
        if self._arriving or (self.cycle is not None and not self.cycle.response_complete) or not self._begin(data):
            super().data_received(data)

    def _begin(self, piece: bytes) -> bool:
        """Begin to serve the request that a piece holds, if it is one of the front door's."""
        is_new, self._partial = not self._partial, b""
        read = self._reader.read(piece)
        if read is None:
            if self._reader.awaits_body:
                self._unset_keepalive_if_required()
                self._partial = piece
                self._waiting_since = self.loop.time() if is_new else self._waiting_since
            return self._reader.awaits_body
        head, body = read
        begin = self._express.get((head.method, head.path))
        handler = self._door.find(head.method, head.path) if begin is None else None
        if begin is None and (handler is None or head.method not in WHOLE_METHODS):
            return False
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        self._waiting_since = None
        exchange = self._serving = WholeExchange(head, body, self)
        if begin is not None:
            begin(exchange)
        elif handler is not None:
            self.run(exchange, handler)
        return True

    def _hand_on_partial(self) -> None:
        """Leave to uvicorn what came of a request whose rest doesn't come."""
        partial, self._partial = self._partial, b""
        if partial:
            super().data_received(partial)

    def run(self, exchange: WholeExchange, handler: Handler) -> None:
        """Serve an exchange, or the rest of it, in the connection's task."""
        if self._server is None:
            self._server = self.loop.create_task(self._serve())
        self._next.set_result((exchange, handler))

    def end_exchange(self, exchange: WholeExchange) -> None:
        """Turn to the next request; first wait in the task for a client that takes its answers slowly."""
        if self.flow.write_paused:
            self.run(exchange, _nothing_more)
        elif exchange.keeps_alive:
            self._turn_to_next()
        else:
            self.transport.close()

    def write(self, data: bytes) -> None:
        """Send bytes, unless the client has gone."""
        if not self.transport.is_closing():
            self.transport.write(data)

    async def _serve(self) -> None:
        try:
            while True:
                exchange, handler = await self._next
                self._next = self.loop.create_future()
                await self._door.serve(exchange, handler)
                if self.flow.write_paused:
                    await self.flow.drain()
                if not exchange.keeps_alive:
                    return
                self._turn_to_next()
        finally:
            self.transport.close()

    def _turn_to_next(self) -> None:
        self._serving = None
        self._waiting_since = self.loop.time()
        if self._held:
            held, self._held = self._held, b""
            self.flow.resume_reading()
            self.data_received(held)

    def shutdown(self) -> None:
        """Close the connection when what is under way is answered."""
        self._hand_on_partial()
        if self._serving is not None:
            self._serving.keeps_alive = False
        else:
            super().shutdown()

    def on_message_begin(self) -> None:
        """Start the clock of a request."""
        self._arriving, self._waiting_since = True, self.loop.time()
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """Stop the clock: the request has arrived."""
        self._arriving, self._waiting_since = False, None
        super().on_message_complete()

    def eof_received(self) -> None:
        """Let the application answer what was cut short: it sees the end of the body, and that it is too early."""
        self._hand_on_partial()
        cycle = self.cycle
        if cycle is None or cycle.response_complete or not cycle.more_body:
            return None
        cycle.more_body = False
        cycle.keep_alive = False
        cycle.message_event.set()
        return True  # type: ignore[return-value]  # keeps our side of the connection open

    def _look(self) -> None:
        since = self._waiting_since
        if since is not None and self.loop.time() - since >= self.read_timeout_s * 0.99:
            self._hand_on_partial()
            cycle = self.cycle
            unanswered = cycle is None or cycle.response_complete or (cycle.more_body and not cycle.response_started)
            if self._arriving and unanswered:
                body = slow_request(self.scope.get("path", "/"))
                self.transport.write(TIMEOUT_HEAD % len(body) + body)
            self.transport.close()
            return
        unsent_bytes = self.transport.get_write_buffer_size()
        if unsent_bytes and unsent_bytes == self._unsent_bytes:
            self.transport.abort()  # it takes nothing of its answer any more
            return
        self._unsent_bytes = unsent_bytes
        delay_s = self.read_timeout_s if since is None else self.read_timeout_s - (self.loop.time() - since)
        self._guard = self.loop.call_later(max(0.01, delay_s), self._look)


async def _nothing_more(exchange: Exchange) -> None:
    """Handle what is answered already."""
