"""The main job, live: real MLflow, control plane, gateway, workers, users, pictures and scores."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from contracts.errors import InvalidInput
from contracts.ids import VersionId
from contracts.wire.worker import WorkerSpec
from controlplane.demo.outage import StandStill
from controlplane.demo.run import run_demo
from controlplane.demo.scenario import DEFAULT_SCENARIO, FASTER, Case, Ending, Fate, Scenario
from serving.fleet.reports import read_report

ROOST = Path(sys.executable).with_name("roost")
PATIENCE_S = 60.0


def roost(*words: object) -> str:
    return subprocess.run([ROOST, *map(str, words)], capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_built_version_is_promoted_and_swapped_rows_are_rolled_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All eight cases are played in `test_demo_story`, in virtual time."""
    home = tmp_path / "home"
    cases = tuple(case for case in DEFAULT_SCENARIO.cases if case.version in {"swapped-rows", FASTER})
    assert len(cases) == 2
    assert run_demo(Scenario(DEFAULT_SCENARIO.champion, cases), home=home, plain=True)
    said = capsys.readouterr().out
    for words in ("✔ swapped-rows: .*rolled back by .*text", f"✔ {FASTER}: promoted"):
        assert re.search(words, said), said
    assert (home / "report.html").stat().st_size > 10_000
    assert not list((home / "fleet" / "workers").glob("*.json")), "no worker serves on"
    told = json.loads(roost("report", "weekly", "--home", home, "--json"))
    assert "2 rollouts: 1 promoted, 1 rolled back." in told["sentences"]
    assert "each bound to the one before" in roost("decision", "verify", "--home", home)
    built = json.loads(roost("model", "show", "price-tags@champion", "--home", home, "--json"))
    assert built["parent"] == "price-tags@1"
    assert built["serving"]["cpu"]["limits"]["max_batch_size"] >= 1, "it was profiled"
    picture = tmp_path / "rollback.svg"
    roost("demo", "picture", "--home", home, "--out", picture)
    assert re.search(r"price-tags@\d scores 0\.\d+ in text", picture.read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_demo_that_ends_otherwise_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused = Case("black", Ending(Fate.PROMOTED), "its golden prompts refuse it")
    assert not run_demo(Scenario(DEFAULT_SCENARIO.champion, (refused,)), home=tmp_path / "home", plain=True)
    assert "✖ black: refused" in capsys.readouterr().out


def test_a_demo_wants_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.txt").write_text("keep", encoding="utf-8")
    with pytest.raises(InvalidInput, match="not empty"):
        run_demo(DEFAULT_SCENARIO, home=tmp_path)
    monkeypatch.setenv("ROOST_DATABASE_URL", "postgresql://production")
    with pytest.raises(InvalidInput, match="ROOST_DATABASE_URL"):
        run_demo(DEFAULT_SCENARIO, home=tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_outage_stops_every_worker_and_lets_them_go_on(tmp_path: Path) -> None:
    spec = WorkerSpec(version=VersionId("m", 1), digest="sha256:" + "0" * 64, directory=str(tmp_path))
    child = (
        "import sys, time; from pathlib import Path; from contracts.wire.worker import WorkerSpec; "
        "from serving.fleet.reports import write_report; "
        "write_report(Path(sys.argv[1]), WorkerSpec.model_validate_json(sys.argv[2]), 1); time.sleep(60)"
    )
    file = tmp_path / "m@1.json"
    with subprocess.Popen([sys.executable, "-c", child, str(file), spec.model_dump_json()]) as process:
        try:
            _await(lambda: read_report(file) is not None)
            outage = StandStill(tmp_path)
            outage.begin()
            _await(lambda: _state(process.pid) == "T")
            outage.end()
            _await(lambda: _state(process.pid) == "S")
        finally:
            process.send_signal(signal.SIGKILL)


def _await(is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
