"""The child process that a job runs in; it speaks with its worker over one socket, in lines of JSON."""

import importlib
import json
import os
import queue
import socket
import sys
import threading
import traceback
from typing import IO, Any

from contracts.errors import InvalidInput, NotFound, NotPermitted, RoostError
from controlplane.jobs.context import JobContext, Wait

FOR_GOOD = (InvalidInput, NotFound, NotPermitted)
"""Errors that another attempt would meet again."""


class WorkerChannel:
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
    channel = WorkerChannel(socket.socket(fileno=int(sys.argv[1])))
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
    # Whoever hears of the end may end this process at once; what was printed has to lie in the log by then.
    sys.stdout.flush()
    sys.stderr.flush()
    channel.tell(ending)


if __name__ == "__main__":
    main()
