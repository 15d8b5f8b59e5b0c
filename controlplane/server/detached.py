"""Starting a control plane in the background, and ending one, with what it left when it was killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from contracts.errors import Unavailable
from controlplane.cli.client import read_error
from controlplane.server.listening import listen
from controlplane.server.options import ServerOptions
from controlplane.server.presence import ending_line, read_first_token, read_presence, start_lines, token_line
from controlplane.settings import Settings, make_home
from serving.fleet.reports import ProcessReport, read_report
from serving.gateway.keeper import end_process, read_gateway_report, report_file

START_TIMEOUT_S = 120.0
END_TIMEOUT_S = 60.0
POLL_S = 0.1
GRACE_S = 10.0


def start_detached(options: ServerOptions, tell: Callable[[str], None]) -> None:
    """Start a control plane that goes on when this process ends, and return once it answers.

    Raises:
        RoostError: what kept it from starting.
    """
    settings = Settings(options.home)
    before = read_first_token(settings.cli_token)
    server = _start(options, settings)
    for line in start_lines(server):
        tell(line)
    token = read_first_token(settings.cli_token)
    if token != before:
        tell(token_line(settings, token))
    tell(ending_line(options.home))


def stop(home: Path, *, keep_serving: bool) -> Iterator[str]:
    """End the control plane of a home and, unless they are to serve on, its gateway and workers; yield what was done.

    Raises:
        Unavailable: when it doesn't end.
    """
    settings = Settings(home)
    server = read_presence(settings.server_file)
    if server:
        _end_server(settings, server, signal.SIGUSR1 if keep_serving else signal.SIGTERM)
        yield f"✔ the control plane of {home} has ended"
    left = [report for report in find_serving(settings) if report.is_alive]
    if keep_serving and left:
        yield f"✔ a gateway and {len(left) - 1} workers serve on; roost up --home {home} takes them over"
    elif left:
        for report in left:
            report.signal(signal.SIGTERM)
        for report in left:
            end_process(report, GRACE_S)
        yield f"✔ {len(left)} processes that a killed control plane left have ended"
    if not server and not left:
        yield f"nothing runs on {home}"


def find_serving(settings: Settings) -> list[ProcessReport]:
    """Return the reports of a home's gateway and workers, of those that have ended, too."""
    gateway = read_gateway_report(report_file(settings.gateway_state))
    workers = [read_report(file) for file in sorted((settings.fleet / "workers").glob("*.json"))]
    return [report for report in (gateway, *workers) if report is not None]


def _start(options: ServerOptions, settings: Settings) -> dict[str, Any]:
    """Start the process and return what it says of itself once it answers."""
    with listen(options.host, options.port):
        pass  # told here, before anything is made
    make_home(settings.home)
    settings.logs.mkdir(exist_ok=True)
    errors = settings.logs / "start.log"
    told = options.model_copy(update={"home": options.home.resolve(), "in_background": True})
    with errors.open("w", encoding="utf-8") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "controlplane.server", told.model_dump_json()],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while (server := read_presence(settings.server_file)).get("pid") != process.pid:
        if process.poll() is not None or time.monotonic() > deadline_s:
            process.kill()
            process.wait()
            said = errors.read_text(encoding="utf-8").strip().splitlines()[-1:] or ["it said nothing"]
            raise read_error(said[0]) or Unavailable(
                f"the control plane did not start: {said[0]}", hint=f"read {errors}"
            )
        time.sleep(POLL_S)
    # The object would complain, when it is collected, that its process lives on; that is what is wanted.
    process.returncode = 0
    return server


def _end_server(settings: Settings, server: dict[str, Any], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(int(server["pid"]), number)
    deadline_s = time.monotonic() + END_TIMEOUT_S
    while read_presence(settings.server_file).get("pid") == server["pid"]:
        if time.monotonic() > deadline_s:
            raise Unavailable(
                f"the control plane (process {server['pid']}) does not end", hint=f"kill -9 {server['pid']}, then again"
            )
        time.sleep(POLL_S)
