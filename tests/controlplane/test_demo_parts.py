"""Parts of the demo by themselves: its users, its golden prompts, and the worker that leaks."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from contracts.ids import VersionId
from contracts.rng import SeededRng
from controlplane.demo.golden import GoldenPrompts
from controlplane.demo.model.versions import assemble, find_version
from controlplane.demo.scenario import DEFAULT_SCENARIO
from controlplane.demo.traffic import BURST_FACTOR, BURST_PERIOD_S, LiveTraffic
from registry.catalogue import Registration
from registry.mlflow_catalogue import MlflowCatalogue

LEAK = """
from contracts.wire.worker import FaultDrill, GenerateRequest
from serving.worker.runtimes.drill import DrillingRuntime
from serving.worker.runtimes.port import DrawFailure

class Painter:
    def load(self): pass
    def warm_up(self): pass
    def draw(self, requests, after_step): return [lambda: b"picture" for _ in requests]

worker = DrillingRuntime(Painter(), FaultDrill(memory_headroom_bytes=64 << 20, leaked_bytes=4 << 20))
worker.warm_up()
for number in range(40):
    try:
        worker.draw([GenerateRequest(prompt="a", seed=0)], lambda *told: None)
        print("drawn")
    except DrawFailure as failure:
        print(failure.reason.value)
"""


def test_a_leak_ends_in_real_refusals_of_memory_and_the_worker_lives_on() -> None:
    told = subprocess.run([sys.executable, "-c", LEAK], capture_output=True, text=True, check=True).stdout.split()
    assert len(told) == 40
    first = told.index("oom")
    assert 8 <= first <= 16, "64 MiB hold sixteen pieces of 4 MiB at most"
    assert set(told[:first]) == {"drawn"}
    assert set(told[first:]) == {"oom"}


def test_most_users_come_at_random_and_some_in_bursts() -> None:
    traffic = LiveTraffic("http://127.0.0.1:1", "tags", seed=3)
    steady, bursty = traffic.plans(20.0)
    assert steady.arrivals.rate + bursty.arrivals.rate == pytest.approx(20.0)
    requests = bursty.requests(SeededRng(1))
    within = Counter(
        at_s % BURST_PERIOD_S < BURST_PERIOD_S / BURST_FACTOR for at_s, _ in (next(requests) for _ in range(300))
    )
    assert within == {True: 300}
    users = {body["user"] for _, body in (next(requests) for _ in range(300))}
    assert len(users) > 100, "no user is so many that the split by user gets lopsided"


@pytest.mark.slow
def test_golden_prompts_find_black_pictures_and_pass_swapped_digits(tmp_path: Path) -> None:
    catalogue = MlflowCatalogue(
        f"sqlite:///{tmp_path / 'mlflow.db'}", artifacts=tmp_path / "artifacts", manifests=tmp_path / "manifests"
    )
    records = {
        name: catalogue.register(
            "tags", Registration(assemble(name, tmp_path / name), defaults=find_version(name).defaults)
        )
        for name in ("swapped-rows", "black")
    }
    golden = GoldenPrompts(catalogue, list(records.values()), tmp_path / "golden.log")
    spec, champion = DEFAULT_SCENARIO.load_spec(), VersionId("tags", 9)
    assert golden.why_not(spec, champion, records["swapped-rows"]) == ""
    assert "8 of 8 golden pictures are blank" in golden.why_not(spec, champion, records["black"])
