"""A Prometheus server of the tests' own on free ports, and targets for it whose metrics a test writes."""

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None,
    reason="Prometheus is not installed (Debian: apt-get install prometheus)",
)
SCRAPE_S = 0.2


@dataclass
class Target:
    """A program that is scraped: one that counts, fails to answer, or comes back from zero."""

    server: ThreadingHTTPServer
    lines: dict[str, float] = field(default_factory=dict)
    is_down: bool = False

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.server_port}"

    def add(self, **amounts: float) -> None:
        """Add to counters of version ``m@1`` or, with ``_2`` at the end of a name, of ``m@2``."""
        for name, amount in amounts.items():
            series = f'{name.removesuffix("_2")}{{version="m@{2 if name.endswith("_2") else 1}"}}'
            self.lines[series] = self.lines.get(series, 0) + amount

    def observe(self, quick: float, slow: float, version: int = 1) -> None:
        """Add to a histogram with a bucket at half a second."""
        for bound, amount in (("0.5", quick), ("+Inf", quick + slow)):
            series = f'took_seconds_bucket{{version="m@{version}",le="{bound}"}}'
            self.lines[series] = self.lines.get(series, 0) + amount
        series = f'took_seconds_count{{version="m@{version}"}}'
        self.lines[series] = self.lines.get(series, 0) + quick + slow


@contextmanager
def scraped_target() -> Iterator[Target]:
    """A target that answers until the block ends."""
    targets: list[Target] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = "".join(f"{series} {value}\n" for series, value in dict(targets[0].lines).items()).encode()
            self.send_response(500 if targets[0].is_down else 200)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    targets.append(Target(server))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield targets[0]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Prometheus:
    """A real server that scrapes five times a second; what it scrapes can be changed while it runs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        found = [{"files": [str(folder / "targets.json")]}]
        scraping = {"scrape_interval": f"{SCRAPE_S * 1000:.0f}ms", "scrape_timeout": "150ms"}
        jobs = [{"job_name": 'the "app"', "file_sd_configs": found}]
        (folder / "prometheus.yml").write_text(json.dumps({"global": scraping, "scrape_configs": jobs}))
        self._process: subprocess.Popen[bytes] | None = None

    def scrape(self, *targets: Target) -> None:
        """Say what is to be scraped; a running server notices within five seconds."""
        staged = self._folder / "staged.json"
        staged.write_text(json.dumps([{"targets": [target.address for target in targets]}]))
        staged.replace(self._folder / "targets.json")

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={self._folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address={self.url.removeprefix('http://')}",
                ],
                stdout=log,
                stderr=log,
            )
        deadline_s = time.monotonic() + 30
        while time.monotonic() < deadline_s:
            try:
                if httpx.get(f"{self.url}/-/ready", trust_env=False).is_success:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.05)
        raise AssertionError((self._folder / "log").read_text())

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
