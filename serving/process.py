"""Child processes of ours: told what to do on standard input, ended when it closes: none outlives its parent."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import uvicorn
from starlette.applications import Starlette

from contracts.errors import Unavailable

KEPT_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
QUIET_LIBRARIES = {
    "HF_HUB_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    "DIFFUSERS_VERBOSITY": "error",
    "TRANSFORMERS_VERBOSITY": "error",
    "TQDM_DISABLE": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Threads of torch that wait would else spin: two workers on the same cores take many times as long.
    "OMP_WAIT_POLICY": "PASSIVE",
}
LEAN = {"MALLOC_ARENA_MAX": "2"}
"""The C library sets 64 MiB of address space aside for every thread, which would count against a memory limit."""
END_TIMEOUT_S = 5.0

Popen = subprocess.Popen[str]


@dataclass(frozen=True)
class Child:
    """A running child and the loopback port that it listens on."""

    process: Popen
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
        close_pipes(self.process)


def spawn(module: str, arguments: Sequence[str], log: Path, *, threads: int, own_session: bool) -> Popen:
    """Start ``python -m module`` with pipes to its standard input and output; its errors go to ``log``.

    It sees no environment but what it needs: no secrets of ours, no home with credentials in it, no hub, no telemetry
    of libraries. In its ``own_session`` a signal to our terminal doesn't reach it.
    """
    kept = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sink,
            text=True,
            start_new_session=own_session,
            env=kept | QUIET_LIBRARIES | LEAN | {"HOME": str(log.parent.resolve()), "OMP_NUM_THREADS": str(threads)},
        )


def start_child(module: str, spec_json: str, log: Path, *, threads: int = 1) -> Child:
    """Start ``python -m module``, hand it its spec, and return once it listens.

    Raises:
        Unavailable: with the place of its log, when it ends before it listens.
    """
    process = spawn(module, (), log, threads=threads, own_session=False)
    port = process.stdout.readline().strip() if hand_over(process, spec_json) and process.stdout else ""
    if not port:
        process.wait()
        close_pipes(process)
        raise Unavailable(f"{module} ended with status {process.returncode} before it listened", hint=f"read {log}")
    return Child(process, int(port))


def hand_over(process: Popen, spec_json: str) -> bool:
    """Write a child's spec to its standard input; False when it has ended already."""
    if process.stdin is None:
        return False
    try:
        process.stdin.write(spec_json + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        return False
    return True


def close_pipes(process: Popen) -> None:
    """Close our ends of a child's pipes."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def read_spec() -> str:
    """Return the spec that the parent wrote: one line of JSON."""
    return sys.stdin.readline()


def serve_until_parent_ends(app: Starlette, host: str = "127.0.0.1", port: int = 0) -> None:
    """Serve ``app``, print the port that it listens on, and end when standard input closes or on SIGTERM."""
    listener = listen(host, port)
    print(listener.getsockname()[1], flush=True)  # noqa: T201 - the protocol with the parent
    end_with_parent()
    run_server(app, listener, grace_s=2)


def listen(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """Return a listening socket: who connects before anybody serves waits in its backlog instead of being refused.

    Ends the process, with a plain sentence in its log, when the port is taken or the address is not ours.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        sys.exit(f"can't listen on {host} port {port}: {error.strerror}")
    listener.listen(2048)
    return listener


def end_with_parent() -> None:
    """End this process, wherever it is, when its standard input closes: its parent has ended."""
    threading.Thread(target=_end_with, args=(sys.stdin,), daemon=True).start()


def run_server(app: Starlette, listener: socket.socket, *, grace_s: int, stop: threading.Event | None = None) -> None:
    """Serve until SIGTERM or ``stop``, then finish what is under way within ``grace_s``."""
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=grace_s)
    server = uvicorn.Server(config)
    if stop is not None:
        threading.Thread(target=_stop_with, args=(server, stop), daemon=True).start()
    server.run(sockets=[listener])


def _stop_with(server: uvicorn.Server, stop: threading.Event) -> None:
    stop.wait()
    server.should_exit = True


def _end_with(parent: IO[str]) -> None:
    parent.read()
    os._exit(0)
