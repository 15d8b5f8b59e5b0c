"""The child process that a job runs in; it speaks with its worker over one socket, in lines of JSON."""

import importlib
import json
import os
import queue
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from typing import IO, Any

from contracts.errors import InvalidInput, NotFound, NotPermitted, RoostError

FOR_GOOD = (InvalidInput, NotFound, NotPermitted)
"""Errors that another attempt would meet again."""


class Wait(Exception):
    """Raised by a job that goes on later: at a time (seconds since 1970), at a signal, or at the first of both."""

    def __init__(self, *, until_s: float | None = None, signal: str = "") -> None:
        if until_s is None and not signal:
            raise ValueError("a job waits for a time or a signal")
        super().__init__(f"waits until {until_s}, for {signal!r}")
        self.until_s, self.signal = until_s, signal


class JobContext:
    """What a job's function may ask of its worker."""

    def __init__(self, channel: "Channel", spec: dict[str, Any]) -> None:
        self._channel = channel
        self.job_id: str = spec["job"]
        self.attempt: int = spec["attempt"]
        self.fence: int = spec["fence"]
        self.home: str = spec["home"]

    def report(self, progress: float, message: str = "") -> None:
        """Tell how far the job is, in [0, 1], and what it does."""
        self._channel.tell({"kind": "progress", "progress": min(max(progress, 0.0), 1.0), "message": message})

    def step(self, name: str, function: Callable[[], Any]) -> Any:
        """Return the result of ``function``, which is called only if no attempt recorded this step yet.

        It may be called again when a worker dies between its effect and its record: give the effect an idempotency key
        made of job and step.
        """
        found = self._channel.ask({"kind": "step", "name": name})
        if found["found"]:
            return found["result"]
        return self._channel.ask({"kind": "keep", "name": name, "result": function()})["result"]

    def signal(self, name: str) -> dict[str, Any] | None:
        """Return what the job was told under a name (an approval, say), None when it wasn't yet."""
        document: dict[str, Any] | None = self._channel.ask({"kind": "signal", "name": name})["document"]
        return document


class Channel:
    """The socket to the worker; when the worker is gone, so is this process."""

    def __init__(self, connection: socket.socket) -> None:
        self._writer: IO[str] = connection.makefile("w", encoding="utf-8")
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        reader = connection.makefile("r", encoding="utf-8")
        threading.Thread(target=self._listen, args=(reader,), daemon=True).start()

    def tell(self, message: dict[str, Any]) -> None:
        """Send a message that wants no answer."""
        self._writer.write(json.dumps(message) + "\n")
        self._writer.flush()

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a message and return its answer."""
        self.tell(message)
        return self.next()

    def next(self) -> dict[str, Any]:
        """Return the next message of the worker."""
        return self._answers.get()

    def _listen(self, reader: IO[str]) -> None:
        for line in reader:
            self._answers.put(json.loads(line))
        os._exit(1)


def main() -> None:
    """Run one job's function and tell how it ended."""
    channel = Channel(socket.socket(fileno=int(sys.argv[1])))
    spec = channel.next()
    try:
        module, _, name = spec["entry"].partition(":")
        result = getattr(importlib.import_module(module), name)(JobContext(channel, spec), spec["arguments"])
        ending = {"kind": "done", "result": result or {}}
        json.dumps(ending)
    except Wait as wait:
        ending = {"kind": "wait", "until_s": wait.until_s, "signal": wait.signal}
    except RoostError as error:
        ending = {"kind": "failed", "error": error.to_dict(), "again": not isinstance(error, FOR_GOOD)}
    except Exception as error:  # noqa: BLE001 - whatever it is, the job's row tells it
        traceback.print_exc()
        told = {"code": "internal", "message": f"{type(error).__name__}: {error}", "hint": "read the job's log"}
        ending = {"kind": "failed", "error": told, "again": True}
    channel.tell(ending)


if __name__ == "__main__":
    main()
