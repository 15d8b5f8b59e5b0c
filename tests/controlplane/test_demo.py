"""The main job, whole: real MLflow, gateway, workers, pictures and scores."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.demo.picture import draw_rollout
from controlplane.demo.run import run_demo
from controlplane.demo.scenario import DEFAULT_SCENARIO, Case, Scenario
from controlplane.store.ledger import FileLedger
from rollout.phases import Phase

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOST = Path(sys.executable).with_name("roost")


def test_the_good_version_is_promoted_and_the_one_with_swapped_rows_rolled_back(tmp_path: Path) -> None:
    answer = subprocess.run([ROOST, "demo", "run", "--home", tmp_path], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "price-tags@1 → price-tags@2" in answer.stdout
    ledger = FileLedger(tmp_path / "ledger.jsonl", code_version="")
    assert ledger.verify() > 10
    harm = next(e for e in ledger.entries() if e.decision["reason"] == "gate.harm-proven")
    text, availability = harm.decision["verdicts"][1], harm.decision["verdicts"][0]
    assert (text["gate"], text["outcome"]) == ("text", "harm")
    assert availability["value"] == 0, "its HTTP is healthy"
    told = subprocess.run(
        [ROOST, "report", "weekly", "--home", tmp_path, "--json"], capture_output=True, text=True, check=True
    )
    assert "2 rollouts: 1 promoted, 1 rolled back." in json.loads(told.stdout)["sentences"]
    svg = draw_rollout(ledger)
    assert svg.startswith("<svg")
    assert text["sentence"].split(";")[0] in re.sub(r"&#x27;", "'", svg)


def test_a_demo_that_ends_otherwise_says_so(tmp_path: Path) -> None:
    first, second = DEFAULT_SCENARIO.cases
    swapped = Scenario(
        champion=DEFAULT_SCENARIO.champion,
        cases=(Case(second.version, expected=first.expected), Case(first.version, expected=second.expected)),
    )
    assert swapped.cases[0] == Case("swapped-rows", Phase.PROMOTED)
    assert not run_demo(swapped, home=tmp_path, plain=True)
