"""Launching workers, finding those that run already, and ending them."""

import asyncio
import secrets
import signal
from dataclasses import dataclass
from pathlib import Path

from contracts.wire.worker import WorkerSpec
from serving.fleet.reports import Report, read_report
from serving.process import Popen, close_pipes, hand_over, spawn

POLL_S = 0.05


@dataclass
class Running:
    """A worker process: the file that it reports to, its report once it has written one, and our end if we began it."""

    file: Path
    report: Report | None = None
    process: Popen | None = None

    @property
    def is_alive(self) -> bool:
        """Tell whether the process runs."""
        if self.process is not None:
            return self.process.poll() is None
        return self.report is not None and self.report.is_alive

    @property
    def ending(self) -> str:
        """What is known of how it ended, for people."""
        status = self.process.poll() if self.process is not None else None
        if status is None:
            return "its process ended"
        return (
            f"its process was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        )

    async def await_report(self) -> Report | None:
        """Wait until it listens and says where; None when it ends before."""
        while self.report is None:
            self.report = read_report(self.file)
            if self.report is None and not self.is_alive:
                return None
            await asyncio.sleep(POLL_S if self.report is None else 0)
        return self.report

    async def end(self, grace_s: float) -> None:
        """Ask the process to end, make it end after ``grace_s``, and remove what it left."""
        for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 10.0)):
            self._signal(number)
            for _ in range(round(wait_s / POLL_S) + 1):
                if not self.is_alive:
                    break
                await asyncio.sleep(POLL_S)
        self.forget()

    def let_go(self) -> None:
        """Leave the process to itself."""
        if self.process is not None and self.process.poll() is None:
            # The object would complain, when it is collected, that its process lives on; that is what is wanted.
            self.process.returncode = 0

    def forget(self) -> None:
        """Remove what an ended process left."""
        if self.process is not None:
            close_pipes(self.process)
        self.file.unlink(missing_ok=True)

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)
        elif self.report is not None:
            self.report.signal(number)


class Launcher:
    """Starts workers that report to a folder; with a lease they outlive this process, else they end with it."""

    def __init__(self, reports: Path, logs: Path, lease: Path | None) -> None:
        self._reports, self._logs, self._lease = reports, logs, lease
        reports.mkdir(parents=True, exist_ok=True)

    def log(self, spec: WorkerSpec) -> Path:
        """Return where a version's workers write what goes wrong."""
        return self._logs / f"{spec.version}.log"

    def launch(self, spec: WorkerSpec) -> Running:
        """Start a worker; it loads its version in its own time."""
        file = self._reports / f"{spec.version}-{secrets.token_hex(6)}.json"
        arguments = ["--report", str(file)]
        if self._lease is not None:
            arguments += ["--lease", str(self._lease)]
        process = spawn(
            "serving.worker.main",
            arguments,
            self.log(spec),
            threads=spec.threads,
            own_session=self._lease is not None,
        )
        hand_over(process, spec.model_dump_json())
        if self._lease is not None:
            close_pipes(process)
        return Running(file, process=process)

    def find(self, known: set[Path]) -> list[Running]:
        """Return the workers that report here and that nobody knows yet; reports of ended ones are removed."""
        found = []
        for file in sorted(self._reports.glob("*.json")):
            report = read_report(file) if file not in known else None
            if report is not None and report.is_alive:
                found.append(Running(file, report))
            elif report is not None:
                file.unlink(missing_ok=True)
        return found
