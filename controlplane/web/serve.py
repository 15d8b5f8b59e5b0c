"""Serves the pages of one home on loopback, until it is interrupted."""

import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from contracts.errors import Conflict
from controlplane.web.app import make_app
from controlplane.web.sources.home import Home

GOODBYE_S = 2


class PageServer(uvicorn.Server):
    """A server whose open streams end when it is asked to stop, instead of keeping it."""

    def __init__(self, config: uvicorn.Config, home: Home) -> None:
        super().__init__(config)
        self._home = home

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take the signal to stop."""
        self._home.feed.close()
        super().handle_exit(sig, frame)


def serve(home: Home, port: int, tell: Callable[[str], None]) -> None:
    """Answer on 127.0.0.1; ``tell`` is given the address once the port is ours.

    Raises:
        Conflict: when somebody else has the port.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            raise Conflict(f"port: {port} is taken", hint="name another with --port, or 0 for any") from None
        tell(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        config = uvicorn.Config(
            make_app(home),
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=GOODBYE_S,
            server_header=False,
        )
        PageServer(config, home).run(sockets=[listener])
