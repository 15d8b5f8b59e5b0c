"""The keeper of one gateway process: adopts the one that runs, or starts it, and starts it again when it ends."""

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from contracts.errors import Unavailable
from contracts.wire.gateway import GatewaySpec
from serving.beginnings import read_began_ticks
from serving.fleet.lease import renew
from serving.fleet.reports import ProcessReport, write_process_report
from serving.process import Popen, close_pipes, hand_over, spawn

POLL_S = 0.05
WATCH_S = 0.5
START_TIMEOUT_S = 60.0
GRACE_S = 6.0


class GatewayReport(ProcessReport):
    """A gateway: its process and its spec, with the token that its control plane shows."""

    spec: GatewaySpec


class GatewayKeeper:
    """One gateway that outlives its control plane: a new keeper on the same folder adopts it, users notice nothing.

    A gateway that ends is started again at the same port. Nobody renews the lease of one that no keeper adopts, and
    it ends by itself.
    """

    def __init__(self, spec: GatewaySpec, folder: Path, logs: Path) -> None:
        """Adopt or start; ``spec`` names the token and the port that a new one gets, 0 for that of the one before.

        Raises:
            Unavailable: with the place of its log, when it ends before it listens.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._file, self._lease, self._log = report_file(folder), folder / "lease", logs / "gateway.log"
        self._process: Popen | None = None
        renew(self._lease)
        self._report = self._adopt(spec) or self._start_anew(spec)
        self._closing = threading.Event()
        self._watch = threading.Thread(target=self._keep, name="gateway-keeper", daemon=True)
        self._watch.start()

    @property
    def url(self) -> str:
        """Where clients knock."""
        return f"http://{self._report.spec.host}:{self._report.port}"

    @property
    def control_token(self) -> str:
        """What the control plane shows to it."""
        return self._report.spec.control_token

    def close(self, *, leave: bool) -> None:
        """Stop watching; ``leave`` the gateway to the next keeper, or end it: what is under way is finished."""
        self._closing.set()
        self._watch.join()
        if not leave:
            end_process(self._report, GRACE_S)
        if self._process is not None:
            # Left alone it runs on, and the object would complain of that when it is collected.
            self._process.returncode = self._process.poll() or 0

    def _adopt(self, spec: GatewaySpec) -> GatewayReport | None:
        """Return the gateway that runs in the folder; one that runs otherwise than asked for is ended."""
        found = read_gateway_report(self._file)
        if found is None or not found.is_alive:
            return None
        asked = spec.model_copy(update={"control_token": found.spec.control_token, "port": found.spec.port})
        if found.spec == asked and spec.port in {0, found.port}:
            return found
        end_process(found, GRACE_S)
        return None

    def _start_anew(self, spec: GatewaySpec) -> GatewayReport:
        """Start a gateway; where any port will do, at the one of the gateway before if it is free: clients know it."""
        before = read_gateway_report(self._file)
        if spec.port == 0 and before is not None:
            with suppress(Unavailable):
                return self._start(spec.model_copy(update={"port": before.port}))
        return self._start(spec)

    def _start(self, spec: GatewaySpec) -> GatewayReport:
        self._file.unlink(missing_ok=True)
        arguments = ["--report", str(self._file), "--lease", str(self._lease)]
        process = spawn("serving.gateway.main", arguments, self._log, threads=1, own_session=True)
        hand_over(process, spec.model_dump_json())
        close_pipes(process)
        self._process = process
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while (report := read_gateway_report(self._file)) is None:
            if process.poll() is not None or time.monotonic() > deadline_s:
                process.kill()
                process.wait()
                raise Unavailable(
                    f"the gateway ended with status {process.returncode} before it listened", hint=f"read {self._log}"
                )
            time.sleep(POLL_S)
        return report

    def _keep(self) -> None:
        while not self._closing.wait(WATCH_S):
            renew(self._lease)
            if self._process is not None:
                self._process.poll()
            if not self._report.is_alive:
                spec = self._report.spec.model_copy(update={"port": self._report.port})
                try:
                    self._report = self._start(spec)
                except Unavailable:
                    continue  # its log says why; the next look tries again


def report_file(folder: Path) -> Path:
    """Return where a gateway reports in its folder."""
    return folder / "process.json"


def write_gateway_report(path: Path, spec: GatewaySpec, port: int) -> None:
    """Write the report of this process, whole or not at all."""
    began_ticks = read_began_ticks(os.getpid()) or 0
    write_process_report(path, GatewayReport(pid=os.getpid(), began_ticks=began_ticks, port=port, spec=spec))


def read_gateway_report(path: Path) -> GatewayReport | None:
    """Return a gateway's report, None when there is none that can be read."""
    try:
        return GatewayReport.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def end_process(report: ProcessReport, grace_s: float) -> None:
    """Ask a process to end, and make it end after ``grace_s``."""
    for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 10.0)):
        report.signal(number)
        deadline_s = time.monotonic() + wait_s
        while report.is_alive and time.monotonic() < deadline_s:
            time.sleep(POLL_S)
