"""Child processes of ours: told what to do on standard input, ended when it closes: none outlives its parent."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import uvicorn
from starlette.applications import Starlette

from contracts.errors import Unavailable

KEPT_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
QUIET_LIBRARIES = {
    "HF_HUB_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    "DIFFUSERS_VERBOSITY": "error",
    "TRANSFORMERS_VERBOSITY": "error",
    "TQDM_DISABLE": "1",
}
END_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Child:
    """A running child and the loopback port that it listens on."""

    process: subprocess.Popen[str]
    port: int

    @property
    def is_alive(self) -> bool:
        """Tell whether the process still runs."""
        return self.process.poll() is None

    def end(self) -> None:
        """End the process, by force if it doesn't listen."""
        self.process.terminate()
        try:
            self.process.wait(timeout=END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        _close_pipes(self.process)


def start_child(module: str, spec_json: str, log: Path, *, threads: int = 1) -> Child:
    """Start ``python -m module``, hand it its spec, and return once it listens.

    The child sees no environment but what it needs: no secrets of ours, no hub, no telemetry of libraries.

    Raises:
        Unavailable: with the place of its log, when it ends before it listens.
    """
    kept = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sink,
            text=True,
            env=kept | QUIET_LIBRARIES | {"OMP_NUM_THREADS": str(threads)},
        )
    port = _tell(process, spec_json)
    if not port:
        process.wait()
        _close_pipes(process)
        raise Unavailable(f"{module} ended with status {process.returncode} before it listened", hint=f"read {log}")
    return Child(process, int(port))


def read_spec() -> str:
    """Return the spec that the parent wrote: one line of JSON."""
    return sys.stdin.readline()


def serve_until_parent_ends(app: Starlette, host: str = "127.0.0.1", port: int = 0) -> None:
    """Serve ``app``, print the port that it listens on, and end when standard input closes or on SIGTERM."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    # Listening before the port is told: who connects at once waits in the backlog instead of being refused.
    listener.listen(2048)
    print(listener.getsockname()[1], flush=True)  # noqa: T201 - the protocol with the parent
    threading.Thread(target=_end_with, args=(sys.stdin,), daemon=True).start()
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=2)
    uvicorn.Server(config).run(sockets=[listener])


def _tell(process: subprocess.Popen[str], spec_json: str) -> str:
    if process.stdin is None or process.stdout is None:
        return ""
    try:
        process.stdin.write(spec_json + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        return ""
    return process.stdout.readline().strip()


def _close_pipes(process: subprocess.Popen[str]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def _end_with(parent: IO[str]) -> None:
    parent.read()
    os._exit(0)
