"""A home as a run leaves it, pages served by a real process, and a real Chromium; skipped plainly where there is none."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from controlplane.demo.scenario import DEFAULT_SCENARIO
from controlplane.loop.evidence import sliced_lanes
from controlplane.loop.reconcile import decision_document
from controlplane.settings import Settings
from controlplane.store.ledger import FileLedger
from rollout.evidence.counts import Tally
from rollout.evidence.two_arm import ArmsTick
from rollout.machine import decide, start
from rollout.observation import Exposure, Observation, ScoresTick
from rollout.phases import ENDED, ManualAction, ManualKind, Phase
from rollout.policy import compile_policy

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOST = Path(sys.executable).with_name("roost")
CHROMIUM = shutil.which("chromium")
AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
XSS = "<img src=x onerror=alert(1)><script>alert(2)</script>\"'>{{7*7}}"
BEGAN_S = 1_795_000_000.0


@dataclass
class Writer:
    """Writes rollouts into a home's ledger with the real machine, a tick per call, in any time."""

    home: Path
    number: int = 2
    rate: int = 12
    bad: float = 0.0
    score: float = 1.0
    at_s: float = BEGAN_S
    rng: Random = field(default_factory=lambda: Random(4))

    def __post_init__(self) -> None:
        spec = DEFAULT_SCENARIO.load_spec()
        self.policy = compile_policy(spec.rollout, spec.objectives(), slices=sliced_lanes(spec))
        self.ledger = FileLedger(Settings(self.home).ledger, code_version="0.1.0")
        self.rollout_id = f"tags-{self.number}-abc{self.number}"
        self.state = start(
            self.policy,
            at_s=self.at_s,
            rollout_id=self.rollout_id,
            champion="price-tags@1",
            challenger=f"price-tags@{self.number}",
        )
        self.ticks = 0

    def tick(self, seconds: float = 1.0, manual: tuple[ManualAction, ...] = ()) -> int:
        """Observe, decide and write once; return the decision's number."""
        self.at_s += seconds
        self.ticks += 1
        phase, weight = self.state.phase, self.state.weight
        mine = round(self.rate * weight)
        theirs = self.rate - mine
        counts = ArmsTick(Tally(sum(self.rng.random() < self.bad for _ in range(mine)), mine), Tally(0, theirs))
        scores = ScoresTick(
            challenger=tuple(float(self.rng.random() < self.score) for _ in range(mine)), champion=(1.0,) * theirs
        )
        seen = Observation(
            at_s=self.at_s,
            counts={"availability": counts},
            scores={"text": scores},
            exposures=(Exposure(weight, mine, theirs),) if phase is Phase.PROGRESSING else (),
            newest_telemetry_s=self.at_s,
            request_rate=float(self.rate),
            ready=self.ticks > 2,
            weight_applied=weight,
            mirror_applied=0.0,
            alias_moved=phase in {Phase.BAKING, Phase.PROMOTED} or (phase is Phase.PROMOTING and weight == 1.0),
            retired=phase is Phase.BAKING or phase is Phase.ROLLING_BACK,
            manual=manual,
        )
        decision = decide(self.policy, self.state, seen)
        self.state = decision.state
        entry = self.ledger.append(
            at_s=self.at_s,
            rollout_id=self.rollout_id,
            policy_digest=self.policy.digest,
            observation=json.loads(seen.to_json()),
            decision=decision_document(decision),
        )
        return entry.sequence

    def finish(self, most: int = 400) -> Phase:
        """Tick until the rollout has ended."""
        while self.state.phase not in ENDED and self.ticks < most:
            self.tick()
        return self.state.phase

    def pause(self, reason: str) -> int:
        """Let a person pause it."""
        return self.tick(manual=(ManualAction(ManualKind.PAUSE, "alice", reason),))


def next_rollout(writer: Writer, **changes: Any) -> Writer:
    """Return a writer of the next rollout in the same ledger."""
    return replace(writer, at_s=writer.at_s + 5, **changes)


@dataclass
class Served:
    """The pages of one home, served by a process of its own."""

    home: Path
    url: str
    process: subprocess.Popen[str]

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Ask for a page."""
        return httpx.get(self.url + path, headers=headers, timeout=20, trust_env=False)

    def end(self) -> None:
        """End it as a person does."""
        self.process.terminate()
        self.process.wait(timeout=10)
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
    deadline_s = time.monotonic() + 20
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
    """A home with a promoted, a rolled-back and a paused rollout, two versions in MLflow, texts that attack a page."""
    from contracts.ids import CHAMPION
    from registry.catalogue import Registration
    from registry.mlflow_catalogue import MlflowCatalogue

    home = tmp_path_factory.mktemp("kept")
    good = Writer(home)
    assert good.finish() is Phase.PROMOTED
    bad = next_rollout(good, number=3, score=0.5)
    assert bad.finish() is Phase.ROLLED_BACK
    held = next_rollout(bad, number=4)
    for _ in range(6):
        held.tick()
    held.pause(XSS)
    settings = Settings(home)
    catalogue = MlflowCatalogue(settings.mlflow_uri, artifacts=settings.artifacts, manifests=settings.manifests)
    for number in (1, 2):
        folder = tmp_path_factory.mktemp(f"version{number}")
        (folder / "config.json").write_text(json.dumps({"number": number}))
        record = catalogue.register("price-tags", Registration(folder, description=XSS))
        catalogue.move_alias(record.id, CHAMPION, actor=f"rollout/tags-{number}-abc{number}", reason=XSS)
    return home


@pytest.fixture(scope="session")
def kept(kept_home: Path) -> Iterator[Served]:
    """The kept home, served."""
    served = serve(kept_home)
    yield served
    served.end()


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """Chromium of the system."""
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
    page.on("dialog", lambda dialog: (said.append(f"dialog {dialog.message}"), dialog.dismiss()))
    yield page
    page.close()
    assert [words for words in said if "net::ERR_" not in words] == []
