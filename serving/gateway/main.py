"""The gateway process: ``python -m serving.gateway.main``, told its ``GatewaySpec`` on standard input.

By itself it prints its port and ends with its parent. With ``--report FILE --lease FILE`` it writes who and where it is
to the one, outlives its parent, and ends when nobody has renewed the other for a while.
"""

import argparse
import gc
import os
import sys
import threading
import time
from pathlib import Path

import uvicorn

from contracts.clock import SystemClock
from contracts.rng import SystemRng
from contracts.wire.gateway import GatewaySpec
from serving.fleet.lease import await_lapse
from serving.gateway.app import Gateway
from serving.gateway.keeper import write_gateway_report
from serving.gateway.server import GatewayProtocol
from serving.process import listen, read_spec

GRACE_S = 2


def main() -> None:
    """Serve until the parent ends or the lease lapses, or SIGTERM; what is under way is finished, counts are kept."""
    parser = argparse.ArgumentParser(prog="serving.gateway.main")
    parser.add_argument("--report", type=Path)
    parser.add_argument("--lease", type=Path)
    options = parser.parse_args()
    spec = GatewaySpec.model_validate_json(read_spec())
    app = Gateway(spec, SystemClock(), SystemRng()).app()
    listener = listen(spec.host, spec.port)
    config = uvicorn.Config(
        app,
        http=GatewayProtocol,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    server = uvicorn.Server(config)
    if options.lease is None:
        end = threading.Thread(target=_stop_with_parent, args=(server,), daemon=True)
    else:
        end = threading.Thread(target=_stop_with_lease, args=(server, options.lease), daemon=True)
    end.start()
    # What is loaded now stays; the collector needn't look at it again, nor so often at what comes and goes.
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
    port = listener.getsockname()[1]
    if options.report is not None:
        write_gateway_report(options.report, spec, port)
    else:
        print(port, flush=True)  # noqa: T201 - the protocol with the parent
    server.run(sockets=[listener])


def _stop_with_parent(server: uvicorn.Server) -> None:
    sys.stdin.read()
    _stop(server)


def _stop_with_lease(server: uvicorn.Server, lease: Path) -> None:
    await_lapse(lease, threading.Event())
    _stop(server)


def _stop(server: uvicorn.Server) -> None:
    server.should_exit = True
    time.sleep(2 * GRACE_S)
    os._exit(0)


if __name__ == "__main__":
    main()
