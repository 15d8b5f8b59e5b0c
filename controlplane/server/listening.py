"""The address that a control plane listens on."""

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager

from contracts.errors import Conflict


@contextmanager
def listen(host: str, port: int) -> Iterator[socket.socket]:
    """Yield a socket bound to an address; 0 is any port that is free.

    Raises:
        Conflict: when the address can't be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise Conflict(
                f"port: {port} on {host} can't be had: {error.strerror}", hint="name another with --port, or 0 for any"
            ) from None
        yield listener
