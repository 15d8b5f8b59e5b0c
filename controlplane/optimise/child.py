"""Child processes of a job: told what to do on standard input, they tell their steps and their result, a line each.

A child has no credentials and one thread, and ends with its parent.
"""

import errno
import json
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from contracts.errors import IntegrityError, InvalidInput, NotFound, NotPermitted, RoostError, Unavailable
from serving.process import KEPT_ENVIRONMENT, QUIET_LIBRARIES

Tell = Callable[[str], None]
KILLED: Final = -9
DISK_FULL: Final = ("no space left", "file too large", "disk quota exceeded")
FULL_ERRNOS: Final = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
ERRORS: Final[dict[str, type[RoostError]]] = {
    kind.code: kind for kind in (InvalidInput, NotFound, NotPermitted, Unavailable, IntegrityError)
}


def run_child(module: str, spec_json: str, *, log: Path, threads: int = 1, tell: Tell = lambda step: None) -> Any:
    """Run ``python -m module``, hand it its spec, pass its steps on, and return its result.

    Raises:
        RoostError: what the child raised; ``Unavailable``, with the place of its log, when it died.
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
    with process:
        try:
            answer = _listen(process, spec_json, tell)
        except BaseException:
            process.kill()
            raise
    if answer is None:
        raise _died(process.returncode, module, log)
    if "error" in answer:
        told = answer["error"]
        raise ERRORS.get(told["code"], RoostError)(told["message"], hint=told["hint"] or f"read {log}")
    return answer["result"]


def serve_parent(work: Callable[[str, Tell], Any]) -> None:
    """Do the work that the parent asks for, as a child: its steps, its result or its error go to the parent.

    Standard output is the parent's alone; what libraries print goes to the log.
    """
    spec = sys.stdin.readline()
    with os.fdopen(os.dup(1), "w") as parent:
        os.dup2(2, 1)
        threading.Thread(target=_end_with_parent, daemon=True).start()

        def tell(document: dict[str, Any]) -> None:
            parent.write(json.dumps(document) + "\n")
            parent.flush()

        try:
            tell({"result": work(spec, lambda step: tell({"step": step}))})
        except Exception as error:  # noqa: BLE001 - the parent is told of whatever goes wrong
            traceback.print_exc()
            tell({"error": _explain(error).to_dict()})


def _listen(process: "subprocess.Popen[str]", spec_json: str, tell: Tell) -> dict[str, Any] | None:
    if process.stdin is None or process.stdout is None:
        return None
    try:
        process.stdin.write(spec_json + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        return None
    for line in process.stdout:
        document: dict[str, Any] = json.loads(line)
        if "step" not in document:
            return document
        tell(document["step"])
    return None


def _died(status: int, module: str, log: Path) -> Unavailable:
    if status == KILLED:
        return Unavailable(
            f"{module} was killed: the machine ran out of memory, or somebody ended it; nothing was registered",
            hint="free memory, or choose a smaller recipe",
        )
    return Unavailable(f"{module} ended with status {status}; nothing was registered", hint=f"read {log}")


def _explain(error: Exception) -> RoostError:
    text = str(error)
    cause: BaseException | None = error
    while cause is not None:
        full = isinstance(cause, OSError) and cause.errno in FULL_ERRNOS
        if full or any(sign in str(cause).lower() for sign in DISK_FULL):
            return Unavailable("the disk is full; nothing was registered", hint="make room and start again")
        if isinstance(cause, MemoryError):
            return Unavailable("memory ran out; nothing was registered", hint="free memory and start again")
        cause = cause.__cause__ or cause.__context__
    return error if isinstance(error, RoostError) else RoostError(f"{type(error).__name__}: {text[:500]}")


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)
