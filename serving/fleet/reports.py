"""Reports: what a worker writes about itself, by which a supervisor finds it, also one that didn't start it."""

import contextlib
import os
import signal
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from contracts.model import Frozen
from contracts.wire.worker import WorkerSpec


class Report(Frozen):
    """A worker: its process, told from a later one of the same number by when it began, its port and its spec."""

    pid: Annotated[int, Field(gt=0)]
    began_ticks: Annotated[int, Field(ge=0)]
    port: Annotated[int, Field(gt=0)]
    spec: WorkerSpec

    @property
    def is_alive(self) -> bool:
        """Tell whether this very process still runs."""
        return read_began_ticks(self.pid) == self.began_ticks

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        if self.is_alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def write_report(path: Path, spec: WorkerSpec, port: int) -> None:
    """Write the report of this process, whole or not at all."""
    report = Report(pid=os.getpid(), began_ticks=read_began_ticks(os.getpid()) or 0, port=port, spec=spec)
    draft = path.with_suffix(".draft")
    draft.write_text(report.model_dump_json(), encoding="utf-8")
    draft.replace(path)


def read_report(path: Path) -> Report | None:
    """Return a report, None when there is none that can be read."""
    try:
        return Report.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def read_began_ticks(pid: int) -> int | None:
    """Return when a process began, in clock ticks since the machine's start; None when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in {"Z", "X"} else int(fields[19])
