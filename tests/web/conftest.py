"""A home as a run leaves it, pages served by a real process, and a real Chromium; skipped where there is none."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from rollout.phases import Phase
from tests.prepared import prepare_catalogue
from tests.web.recorder import record_rollout, record_spec, write_routes
from tests.web.writer import BEGAN_S, Writer, next_rollout

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page

ROOST = Path(sys.executable).with_name("roost")
CHROMIUM = shutil.which("chromium")
AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
XSS = "<img src=x onerror=alert(1)><script>alert(2)</script>\"'>{{7*7}}"


@dataclass
class Served:
    """The pages of one home, served by a process of its own."""

    home: Path
    url: str
    process: subprocess.Popen[str]

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Ask for a page."""
        return httpx.get(self.url + path, headers=headers, timeout=60, trust_env=False)

    def end(self) -> None:
        """End it as a person does."""
        self.process.terminate()
        self.process.wait(timeout=60)
        if self.process.stdout is not None:
            self.process.stdout.close()


def serve(home: Path, port: int = 0) -> Served:
    """Start `roost ui` and wait for its address."""
    process = subprocess.Popen(
        [ROOST, "ui", "--home", str(home), "--port", str(port)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    url = line.split()[1].rstrip("/")
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        try:
            httpx.get(url + "/static/icon.svg", timeout=5, trust_env=False)
        except httpx.HTTPError:
            time.sleep(0.05)
        else:
            break
    return Served(home, url, process)


@pytest.fixture(scope="session")
def kept_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a promoted, a rolled-back and a paused rollout, their telemetry, two versions in MLflow.

    Texts that attack a page stand wherever people or models write.
    """
    from contracts.ids import CHAMPION
    from registry.catalogue import Registration
    from registry.profile.document import QualityFigure
    from tests.registry.fake_bench import FakeBench
    from tests.registry.test_profile import make_profile

    home = tmp_path_factory.mktemp("kept")
    good = Writer(home)
    assert good.finish() is Phase.PROMOTED
    bad = next_rollout(good, number=3, score=0.5)
    assert bad.finish() is Phase.ROLLED_BACK
    held = next_rollout(bad, number=4)
    for _ in range(6):
        held.tick()
    held.pause(XSS)
    record_spec(home, BEGAN_S - 60)
    record_rollout(home, 3, good.at_s + 5, bad.at_s, XSS)
    write_routes(home, 4, held.state.weight)
    catalogue = prepare_catalogue(home)
    for number in (1, 2):
        folder = tmp_path_factory.mktemp(f"version{number}")
        (folder / "config.json").write_text(json.dumps({"number": number}))
        record = catalogue.register("price-tags", Registration(folder, description=XSS))
        profile = make_profile(FakeBench())
        quality = QualityFigure(
            scorer="text-accuracy", scorer_digest="d", value=0.9, low=0.85, high=0.95, n=64, prompts_digest="p", seed=1
        )
        same = {"version": record.id, "digest": record.digest, "quality": quality}
        catalogue.profiles.keep(profile.model_copy(update=same))
        catalogue.move_alias(record.id, CHAMPION, actor=f"rollout/tags-{number}-abc{number}", reason=XSS)
    return home


@pytest.fixture(scope="session")
def kept(kept_home: Path) -> Iterator[Served]:
    """The kept home, served."""
    served = serve(kept_home)
    yield served
    served.end()


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Chromium of the system; its driver keeps an event loop in this thread, and so it ends with the module."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make install")
    if CHROMIUM is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: "Browser") -> "Iterator[Page]":
    """A page whose console must stay quiet and in which no dialog may open."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))

    def refuse(dialog: "Dialog") -> None:
        said.append(f"dialog {dialog.message}")
        dialog.dismiss()

    page.on("dialog", refuse)
    yield page
    page.close()
    assert [words for words in said if "net::ERR_" not in words] == []


def violations(page: "Page", rules: str) -> list[str]:
    """Return what axe-core finds wrong on a page; skipped where it is not installed."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed: npm ci in tests/web (make install does it)")
    found = page.evaluate(
        f"{AXE.read_text()};axe.run({rules}).then(r"
        " => r.violations.map(v => v.id + ' ' + v.nodes.map(n => n.html).join(' | ')))"
    )
    return list(found)
