"""The gateway process: ``python -m serving.gateway.main``, told its ``GatewaySpec`` on standard input."""

import gc
import os
import sys
import threading
import time

import uvicorn

from contracts.clock import SystemClock
from contracts.rng import SystemRng
from contracts.wire.gateway import GatewaySpec
from serving.gateway.app import Gateway
from serving.gateway.server import GuardedProtocol
from serving.process import listen, read_spec

GRACE_S = 2


def main() -> None:
    """Serve until the parent ends, or SIGTERM; what is under way is finished and what was counted is kept."""
    spec = GatewaySpec.model_validate_json(read_spec())
    app = Gateway(spec, SystemClock(), SystemRng()).app()
    listener = listen(spec.host, spec.port)
    config = uvicorn.Config(
        app,
        http=GuardedProtocol,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    server = uvicorn.Server(config)
    threading.Thread(target=_stop_with_parent, args=(server,), daemon=True).start()
    # What is loaded now stays; the collector needn't look at it again, nor so often at what comes and goes.
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
    print(listener.getsockname()[1], flush=True)  # noqa: T201 - the protocol with the parent
    server.run(sockets=[listener])


def _stop_with_parent(server: uvicorn.Server) -> None:
    sys.stdin.read()
    server.should_exit = True
    time.sleep(2 * GRACE_S)
    os._exit(0)


if __name__ == "__main__":
    main()
