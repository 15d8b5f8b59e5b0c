"""The process: system, controller, jobs and server, started in order and ended in the opposite one."""

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import NoReturn

import uvicorn
from starlette.applications import Starlette

from controlplane.server.collector import collect_seldom
from controlplane.server.composition import Plane, compose
from controlplane.server.first_token import ensure_first_token
from controlplane.server.listening import listen
from controlplane.server.logs import set_up_logs
from controlplane.server.options import ServerOptions
from controlplane.server.presence import ending_line, remove_presence, start_lines, token_line, write_presence
from controlplane.settings import Settings

LOG = logging.getLogger("roost.server")
GOODBYE_S = 2
KEEP_SERVING = signal.SIGUSR1
"""Ends the control plane alone: gateway and workers serve on, for the next one to take over."""


def run_server(options: ServerOptions, tell: Callable[[str], None]) -> None:
    """Run a control plane until SIGTERM, SIGINT or ``KEEP_SERVING``.

    Raises:
        InvalidInput: when the home can't be used, or the address is not to be listened on.
        Conflict: when the port is taken, or another process runs on the home.
        Unavailable: when a part doesn't start.
    """
    settings = Settings(options.home)
    options.check_exposure()
    with ExitStack() as stack:
        listener = stack.enter_context(listen(options.host, options.port))
        stack.enter_context(_ended_by_signals())
        # Removed last: who waits for the end sees everything ended.
        stack.callback(remove_presence, settings)
        leaving = threading.Event()
        plane = stack.enter_context(compose(settings, gateway_port=options.gateway_port, leave=leaving.is_set))
        set_up_logs(settings.logs)
        token = ensure_first_token(settings, plane.stores.tokens)
        url = f"http://{_named(options.host)}:{listener.getsockname()[1]}"

        def announce() -> None:
            server = write_presence(settings, {"url": url, "gateway_url": plane.gateway_url})
            LOG.info("started", extra={"data": server})
            for line in start_lines(server):
                tell(line)
            if token is not None and not options.in_background:
                tell(token_line(settings, token))
            tell(ending_line(options.home))

        server = PlaneServer(plane, plane.app, announce, leaving)
        stack.callback(plane.crew.dismiss)
        plane.start()
        collect_seldom()
        server.run(sockets=[listener])
        LOG.info("ending", extra={"data": {"keeps_serving": leaving.is_set()}})


def leave(status: int) -> NoReturn:
    """End the process now: a warm-up prompt that a slow worker still draws keeps nobody waiting."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class PlaneServer(uvicorn.Server):
    """A server whose open streams end when it is asked to stop, and that leaves the rest of the ending to others."""

    def __init__(self, plane: Plane, app: Starlette, announce: Callable[[], None], leaving: threading.Event) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=GOODBYE_S,
            server_header=False,
            proxy_headers=False,  # whoever asks from this machine doesn't choose whom we take them for
        )
        super().__init__(config)
        self._plane, self._announce, self._leaving = plane, announce, leaving

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer, then say so."""
        await super().startup(sockets)
        if self.started:
            self._announce()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take the signals while it serves; they are not raised again afterwards."""
        before = {number: signal.signal(number, self.handle_exit) for number in _ENDINGS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take the signal to stop."""
        if sig == KEEP_SERVING:
            self._leaving.set()
        self._plane.home.feed.close()
        self.should_exit = True


_ENDINGS = (signal.SIGTERM, signal.SIGINT, KEEP_SERVING)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let a signal unwind the process in order also before and after it serves; one more has no effect."""

    def end(number: int, frame: FrameType | None) -> None:
        for ending in _ENDINGS:
            signal.signal(ending, signal.SIG_IGN)
        sys.exit(0)

    before = {number: signal.signal(number, end) for number in _ENDINGS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _named(host: str) -> str:
    """Return how commands on this machine reach an address."""
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
