"""The worker process: reads its spec from standard input, tells its port on standard output, ends when input ends."""

import asyncio
import os
import socket
import sys
import threading

import uvicorn

from contracts.wire.worker import FaultDrill, WorkerSpec
from serving.worker.app import Worker
from serving.worker.runtimes.diffusers import DiffusersRuntime
from serving.worker.runtimes.drill import DrillingRuntime
from serving.worker.runtimes.port import Runtime


def make_runtime(spec: WorkerSpec) -> Runtime:
    """Return the runtime that a spec names, with its declared faults if there are any."""
    runtime: Runtime = DiffusersRuntime(spec)
    return runtime if spec.faults == FaultDrill() else DrillingRuntime(runtime, spec.faults)


def main() -> None:
    """Serve until the parent closes standard input, so that no worker outlives its fleet."""
    spec = WorkerSpec.model_validate_json(sys.stdin.readline())
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)  # noqa: T201 - the protocol with the parent
    threading.Thread(target=_end_with_parent, daemon=True).start()
    config = uvicorn.Config(
        Worker(spec, make_runtime(spec)).app(), log_level="warning", access_log=False, timeout_graceful_shutdown=2
    )
    asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
