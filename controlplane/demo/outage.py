"""An outage, for real: every worker of the machine stands still for a while, whatever version it serves."""

import signal
from pathlib import Path

from serving.fleet.reports import read_report


class StandStill:
    """Stops and wakes the workers that report to a folder; as with a host that swaps, none of them answers."""

    def __init__(self, reports: Path) -> None:
        self._reports = reports

    def begin(self) -> None:
        """Stop all workers."""
        self._signal(signal.SIGSTOP)

    def end(self) -> None:
        """Let them go on; does nothing to those that run."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for file in self._reports.glob("*.json"):
            report = read_report(file)
            if report is not None:
                report.signal(number)
