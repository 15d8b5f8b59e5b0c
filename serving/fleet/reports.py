"""Reports: what a process of the data plane writes about itself, for supervisors that did not start it to find it."""

import contextlib
import os
import signal
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from contracts.model import Frozen
from contracts.wire.worker import WorkerSpec
from serving.beginnings import read_began_ticks


class ProcessReport(Frozen):
    """A process, told from a later one of the same number by when it began, and the port that it listens on."""

    pid: Annotated[int, Field(gt=0)]
    began_ticks: Annotated[int, Field(ge=0)]
    port: Annotated[int, Field(gt=0)]

    @property
    def is_alive(self) -> bool:
        """Tell whether this very process still runs."""
        return read_began_ticks(self.pid) == self.began_ticks

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        if self.is_alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Report(ProcessReport):
    """A worker: its process and its spec."""

    spec: WorkerSpec


def write_report(path: Path, spec: WorkerSpec, port: int) -> None:
    """Write the report of this process, whole or not at all."""
    write_process_report(
        path, Report(pid=os.getpid(), began_ticks=read_began_ticks(os.getpid()) or 0, port=port, spec=spec)
    )


def write_process_report(path: Path, report: ProcessReport) -> None:
    """Write a report, whole or not at all, for its owner alone: a spec may hold a secret."""
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(report.model_dump_json())
    draft.replace(path)


def read_report(path: Path) -> Report | None:
    """Return a report, None when there is none that can be read."""
    try:
        return Report.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
