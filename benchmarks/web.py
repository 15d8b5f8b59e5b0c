"""The rollout page beside the same charts made with plotly.js, and what live pages cost, in one run.

Run from the repository root::

    python -m benchmarks.web            # two minutes

Needs Chromium, playwright and the plotly package, which brings plotly.min.js. Both pages come from a server on this
machine, compressed, into a browser without a cache, in turns. The first chart is timed from the navigation on until the
first frame after a chart's line stands in the document: the same watcher looks at both.
"""

import argparse
import gzip
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from tests.web.recorder import TICK_S, record_rollout, record_spec
from tests.web.writer import Writer, next_rollout

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROUNDS = 9
OPEN_PAGES = 20
COST_OVER_S = 20
DECISIONS = 20
LARGEST_BYTES, LONGEST_CHART_S, LONGEST_DELAY_S, LARGEST_CORE_SHARE = 40_000, 0.5, 1.0, 0.10
LARGEST_RATIO = 0.25
"""Of the time to the first chart, to plotly's in the same run: what a busy machine disturbs least."""
STATIC = ("roost.css", "icon.svg", "main.js", "ask.js", "live.js", "charts.js", "keys.js", "scatter.js")
WATCHER = """(() => {
  const look = () => {
    if (!document.querySelector('figure.chart svg path.line, .scatterlayer path.js-line')) requestAnimationFrame(look);
    else requestAnimationFrame(() => { window.firstChart = performance.now(); });
  };
  requestAnimationFrame(look);
})()"""
"""A browser draws no frame before the style sheets are there, and calls back after each one that it drew."""


def main() -> int:
    """Measure, print, write; exit status 1 if a figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/bench-web"))
    out = parser.parse_args().out
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        home = Path(folder) / "home"
        writer = Writer(home, score=0.93)
        for _ in range(300):
            writer.tick()
        record_spec(home, writer.at_s - 600)
        record_rollout(home, writer.number, writer.at_s - 600, writer.at_s, "a price tag")
        with served(home) as (url, process):
            figures = measure_page(browser, f"{url}/rollouts/{writer.rollout_id}", Path(folder))
            figures |= measure_delay(browser, url, writer)
            figures |= measure_cost(url, process, writer)
        browser.close()
    rows = report(figures)
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(json.dumps(figures, indent=1) + "\n")
    return 0 if all(rows) else 1


def measure_page(browser: "Browser", address: str, folder: Path) -> dict[str, float]:
    """Return sizes and times to the first chart of our page and of plotly's, alternating."""
    text = httpx.get(address, trust_env=False).text
    base = address.split("/rollouts/", maxsplit=1)[0]
    files = [text.encode(), *(httpx.get(f"{base}/static/{name}", trust_env=False).content for name in STATIC)]
    series = json.loads(text.split('id="series">', maxsplit=1)[1].split("</script>", maxsplit=1)[0])
    peer = write_peer(folder / "peer", series)
    ours, theirs = list[float](), list[float]()
    with static_server(folder / "peer") as peer_url:
        for _ in range(ROUNDS):
            ours.append(first_chart_s(browser, address))
            theirs.append(first_chart_s(browser, f"{peer_url}/index.html"))
    return {
        "size_bytes": sum(len(gzip.compress(file)) for file in files),
        "plotly_size_bytes": sum(len(gzip.compress(file)) for file in peer),
        "first_chart_s": statistics.median(ours),
        "plotly_first_chart_s": statistics.median(theirs),
    }


def write_peer(folder: Path, series: dict[str, Any]) -> list[bytes]:
    """Write a page that draws the same columns with plotly.js, as one would; return its files."""
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

    folder.mkdir()
    drawing = """
    for (const [name, columns] of Object.entries(SERIES)) {
      const place = document.createElement('div'); place.style.height = '190px'; document.body.append(place);
      const lines = Object.keys(columns).filter(key => key !== 's' && key !== 't');
      Plotly.newPlot(place, lines.map(key => ({x: columns.t, y: columns[key], name: key})), {title: name});
    }"""
    page = (
        "<!doctype html><html><body><script src=plotly.min.js></script>"
        f"<script>const SERIES = {json.dumps(series)};{drawing}</script></body></html>"
    )
    files = {"index.html": page.encode(), "plotly.min.js": get_plotlyjs().encode()}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return list(files.values())


def first_chart_s(browser: "Browser", address: str) -> float:
    """Return the seconds from the navigation to the first chart, in a context without a cache."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.add_init_script(WATCHER)
    page = context.new_page()
    page.goto(address)
    page.wait_for_function("() => window.firstChart")
    found = float(page.evaluate("window.firstChart"))
    context.close()
    return found / 1000


def measure_delay(browser: "Browser", url: str, writer: Writer) -> dict[str, float]:
    """Return how long after its writing a decision stands on an open page, in the worst case."""
    live = next_rollout(writer, number=7, at_s=time.time())
    live.tick()
    page = browser.new_page()
    time.sleep(1)
    page.goto(f"{url}/rollouts/{live.rollout_id}")
    page.wait_for_selector("#badge[data-state=live]")
    page.evaluate(
        """() => { window.seen = {}; new MutationObserver(() => { seen[document.body.dataset.after] = Date.now() })
        .observe(document.body, {attributes: true, attributeFilter: ['data-after']}) }"""
    )
    delays = []
    for _ in range(DECISIONS):
        number = live.tick(0.5)
        written_s = time.time()
        page.wait_for_function(f"() => window.seen[{number}]")
        delays.append(page.evaluate(f"window.seen[{number}]") / 1000 - written_s)
        time.sleep(0.37)
    page.close()
    return {"delay_median_s": statistics.median(delays), "delay_worst_s": max(delays)}


def measure_cost(url: str, process: subprocess.Popen[str], writer: Writer) -> dict[str, float]:
    """Return the share of a core that the server takes for twenty open pages while a decision comes every second."""
    live = next_rollout(writer, number=8, at_s=time.time())
    live.tick()
    time.sleep(1)
    finished = f"/rollouts/{writer.rollout_id}"
    pages = ["/", "/rollouts", "/decisions", "/slos", "/quality", f"/rollouts/{live.rollout_id}", finished]
    received: list[int] = []
    for position in range(OPEN_PAGES):
        path = pages[position % len(pages)]
        threading.Thread(target=listen, args=(f"{url}/live?page={path}&after=-1", received), daemon=True).start()
    time.sleep(2)
    start_s, cpu_s, events = time.monotonic(), cpu_seconds(process.pid), len(received)
    while time.monotonic() - start_s < COST_OVER_S:
        number = live.tick()
        record_rollout(writer.home, live.number, live.at_s - TICK_S, live.at_s, "a price tag", boot=f"tick-{number}")
        time.sleep(1)
    share = (cpu_seconds(process.pid) - cpu_s) / (time.monotonic() - start_s)
    return {"core_share_of_20_pages": share, "events_of_20_pages": len(received) - events}


def listen(address: str, received: list[int]) -> None:
    """Keep one stream open, as a page does."""
    with httpx.stream("GET", address, timeout=None, trust_env=False) as answer:
        received.extend(1 for line in answer.iter_lines() if line.startswith("data: "))


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def report(figures: dict[str, float]) -> list[bool]:
    """Print each figure beside its limit, and tell which are met."""
    rows = [
        ("rollout page, gzipped", figures["size_bytes"] / 1000, "kB", LARGEST_BYTES / 1000, "plotly_size_bytes", 1000),
        ("first chart", figures["first_chart_s"], "s", LONGEST_CHART_S, "plotly_first_chart_s", 1),
        ("decision on the page, worst", figures["delay_worst_s"], "s", LONGEST_DELAY_S, "", 1),
        (
            "20 open pages, share of a core",
            100 * figures["core_share_of_20_pages"],
            "%",
            100 * LARGEST_CORE_SHARE,
            "",
            1,
        ),
    ]
    ratio = figures["first_chart_s"] / figures["plotly_first_chart_s"]
    rows.append(("first chart, of plotly.js'", ratio, "", LARGEST_RATIO, "", 1))
    met = []
    for name, value, unit, limit, peer, scale in rows:
        beside = f"   plotly.js {figures[peer] / scale:.3g} {unit}" if peer else ""
        met.append(value <= limit)
        print(f"{'✔' if met[-1] else '✖'} {name:<32} {value:6.3g} {unit:<2}  limit {limit:g} {unit}{beside}")
    return met


@contextmanager
def served(home: Path) -> "Iterator[tuple[str, subprocess.Popen[str]]]":
    """Run `roost ui` on a home."""
    command = [str(Path(sys.executable).with_name("roost")), "ui", "--home", str(home), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    url = process.stdout.readline().split()[1].rstrip("/")
    while True:
        try:
            httpx.get(url, timeout=5, trust_env=False)
            break
        except httpx.HTTPError:
            time.sleep(0.1)
    time.sleep(8)  # MLflow is imported meanwhile
    try:
        yield url, process
    finally:
        process.terminate()
        process.wait()


@contextmanager
def static_server(folder: Path) -> Iterator[str]:
    """Serve a folder, compressed, as our pages are."""

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            file = folder / self.path.lstrip("/")
            if not file.is_file():
                self.send_error(404)
                return
            content = gzip.compress(file.read_bytes(), 6)
            self.send_response(200)
            self.send_header("content-type", "text/html" if self.path.endswith("html") else "text/javascript")
            self.send_header("content-encoding", "gzip")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


if __name__ == "__main__":
    sys.exit(main())
