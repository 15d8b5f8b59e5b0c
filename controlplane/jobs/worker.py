"""A worker: claims a job, runs it in a child process, and writes down what the child tells."""

import contextlib
import json
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.errors import Conflict, Unavailable
from controlplane.jobs.claims import Claim
from controlplane.jobs.job import Job
from controlplane.jobs.kinds import JobKind
from controlplane.jobs.schedules import Schedules
from controlplane.jobs.store import Jobs
from controlplane.settings import REGISTRY
from serving.process import KEPT_ENVIRONMENT, QUIET_LIBRARIES

LEASE_S = 30.0
BEATS_PER_LEASE = 5
IDLE_S = 0.5
END_TIMEOUT_S = 5.0
LONGEST_LINE = 16 << 20
MARGIN = 0.1


@dataclass(slots=True)
class Attempt:
    """One attempt while it runs: how far it is, and how its child said that it ended."""

    progress: float = 0.0
    message: str = ""
    ending: dict[str, Any] | None = None


class Worker:
    """Works one job at a time; a queue's limit holds over all workers of a database."""

    def __init__(self, jobs: Jobs, home: Path, *, name: str = "", lease_s: float = LEASE_S) -> None:
        self._jobs, self._home, self._lease_s = jobs, home, lease_s
        self._name = name or f"{socket.gethostname()}-{os.getpid()}"

    def run(self, schedules: Schedules, *, goes_on: Callable[[], bool] = lambda: True) -> None:
        """Work what is due, and ask for what the schedules say, while ``goes_on()``; a database away is waited for."""
        while goes_on():
            try:
                schedules.submit_due()
                worked = self.work_one() is not None
            except Unavailable:
                worked = False
            if not worked:
                time.sleep(IDLE_S)

    def work_one(self, queues: Sequence[str] | None = None) -> Job | None:
        """Claim one job, see its attempt to the end and return it as it then stands; None when none is due."""
        job = self._jobs.claim(self._name, self._lease_s, queues)
        if job is None:
            return None
        # The job may have gone to another worker: what it did is written under its own number alone.
        with contextlib.suppress(Conflict):
            self._attempt(job)
        return self._jobs.get(job.id)

    def _attempt(self, job: Job) -> None:
        claim, attempt = Claim(self._jobs.database, job), Attempt()
        with self._child(job) as (process, line):
            cancelled = self._attend(claim, attempt, line)
            if attempt.ending is None and not cancelled:
                # Closed without a word: killed, out of memory, or crashed in native code.
                process.wait(END_TIMEOUT_S)
        if cancelled:
            self._insist(claim.cancelled)
        elif attempt.ending is None:
            message = f"its process ended with status {process.returncode}"
            told = {"code": "unavailable", "message": message, "hint": f"read {self._log(job)}"}
            self._insist(lambda: claim.fail(told, again=True))
        else:
            ending = attempt.ending
            self._insist(lambda: _record(claim, ending))

    def _attend(self, claim: Claim, attempt: Attempt, line: "Line") -> bool:
        """Answer the child and keep the lease until the child is done; tell whether it is to be cancelled."""
        every_s = self._lease_s / BEATS_PER_LEASE
        stop_s = time.monotonic() + self._lease_s * (1 - MARGIN)
        next_s = time.monotonic() + every_s
        while attempt.ending is None:
            message = line.read(max(0.0, next_s - time.monotonic()))
            if message is None:
                return False
            if message:
                self._answer(claim, attempt, line, message)
            if time.monotonic() >= next_s:
                begun_s = time.monotonic()
                try:
                    if claim.beat(self._lease_s, attempt.progress, attempt.message):
                        return True
                    stop_s = begun_s + self._lease_s * (1 - MARGIN)
                except Unavailable:
                    if time.monotonic() > stop_s:
                        raise Conflict("the lease ran out while the database was away") from None
                next_s = time.monotonic() + every_s
        return False

    def _answer(self, claim: Claim, attempt: Attempt, line: "Line", message: dict[str, Any]) -> None:
        kind = message["kind"]
        if kind == "progress":
            attempt.progress, attempt.message = message["progress"], message["message"]
        elif kind == "step":
            found, result = claim.step(message["name"])
            line.write({"found": found, "result": result})
        elif kind == "keep":
            line.write({"result": self._insist(lambda: claim.keep_step(message["name"], message["result"]))})
        elif kind == "signal":
            line.write({"document": claim.signal(message["name"])})
        else:
            attempt.ending = message

    def _insist(self, write: Callable[[], Any]) -> Any:
        """Write, and again when the answer was lost, while the lease lasts: every such write may be repeated."""
        stop_s = time.monotonic() + self._lease_s * (1 - MARGIN)
        while True:
            try:
                return write()
            except Unavailable:
                if time.monotonic() > stop_s:
                    raise
                time.sleep(IDLE_S)

    @contextmanager
    def _child(self, job: Job) -> Iterator[tuple[subprocess.Popen[bytes], "Line"]]:
        """Run the job's child process for the block; it is gone afterwards."""
        kind = self._jobs.kinds.get(job.kind)
        ours, theirs = socket.socketpair()
        log = self._log(job)
        log.parent.mkdir(parents=True, exist_ok=True)
        with ours, log.open("ab") as sink:
            process = subprocess.Popen(
                [sys.executable, "-m", "controlplane.jobs.child", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env=_environment(kind, log.parent),
            )
            theirs.close()
            line = Line(ours)
            try:
                told = {"job": job.id, "attempt": job.attempts, "fence": job.fence, "home": str(self._home)}
                told["actor"] = job.actor
                with contextlib.suppress(BrokenPipeError):
                    line.write({"entry": kind.entry, "arguments": job.arguments, **told})
                yield process, line
            finally:
                line.close()
                _end(process)

    def _log(self, job: Job) -> Path:
        return self._home / "logs" / "jobs" / f"{job.id}.log"


class Line:
    """The worker's end of the socket to a child."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket, self._buffer = connection, b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(connection, selectors.EVENT_READ)

    def read(self, timeout_s: float) -> dict[str, Any] | None:
        """Return the child's next message, an empty one when none came in time, None when it is gone."""
        if b"\n" not in self._buffer:
            if not self._selector.select(timeout_s):
                return {}
            received = self._socket.recv(1 << 16)
            self._buffer += received
            if not received or len(self._buffer) > LONGEST_LINE:
                return None
        text, separator, rest = self._buffer.partition(b"\n")
        if not separator:
            return {}
        self._buffer = rest
        message: dict[str, Any] = json.loads(text)
        return message

    def write(self, message: dict[str, Any]) -> None:
        """Send a message to the child."""
        self._socket.sendall(json.dumps(message).encode() + b"\n")

    def close(self) -> None:
        """Let go of the socket."""
        self._selector.close()
        self._socket.close()


def _environment(kind: JobKind, home: Path) -> dict[str, str]:
    """Return what a job's process sees: secrets of ours only when its kind is trusted with them."""
    if kind.is_trusted:
        return os.environ | QUIET_LIBRARIES
    kept = {name: os.environ[name] for name in (*KEPT_ENVIRONMENT, REGISTRY) if name in os.environ}
    return kept | QUIET_LIBRARIES | {"HOME": str(home.resolve())}


def _record(claim: Claim, ending: dict[str, Any]) -> None:
    if ending["kind"] == "done":
        claim.finish(ending["result"])
    elif ending["kind"] == "wait":
        claim.wait(until_s=ending["until_s"], signal=ending["signal"])
    else:
        claim.fail(ending["error"], again=ending["again"])


def _end(process: "subprocess.Popen[bytes]") -> None:
    """See a child out; its socket is closed, so it ends by itself unless native code keeps it."""
    try:
        process.wait(timeout=END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
