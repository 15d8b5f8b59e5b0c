"""The picture of a rollback, drawn from a ledger."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from contracts.errors import NotFound
from controlplane.demo.picture import draw_rollout
from controlplane.store.ledger import FileLedger

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def ledger(tmp_path: Path) -> FileLedger:
    return FileLedger(tmp_path / "ledger.jsonl", "1")


def decide(ledger: FileLedger, at_s: float, phase: str, reason: str, evidence: dict[str, float]) -> None:
    verdicts = [{"gate": gate, "evidence": seen, "needed": 300.0} for gate, seen in evidence.items()]
    weight = 0.5 if phase == "progressing" else 0.0
    decision = {
        "phase": phase,
        "weight": weight,
        "reason": reason,
        "sentence": "m@2 <b>; needed 300",
        "verdicts": verdicts,
    }
    ledger.append(at_s=at_s, rollout_id="r", policy_digest="p", observation={}, decision=decision)


def texts(svg: str) -> dict[str, float]:
    """Return what is written, and at which height."""
    return {str(one.text): float(one.attrib["y"]) for one in ET.fromstring(svg).iter(f"{SVG}text")}


def test_lines_that_end_alike_have_names_one_above_the_other(ledger: FileLedger) -> None:
    decide(ledger, 1.0, "progressing", "ramp.awaiting-proof", {"text": 2.0, "latency": 1.0, "availability": 1.0})
    decide(ledger, 2.0, "rolling-back", "gate.harm-proven", {"text": 900.0, "latency": 0.5, "availability": 0.49})
    decide(ledger, 3.0, "rolled-back", "rollout.rolled-back", {})
    heights = texts(draw_rollout(ledger))
    assert heights["text"] < heights["latency"]
    assert abs(heights["latency"] - heights["availability"]) >= 12
    assert "proven; is the champion as bad?" not in heights


def test_the_time_in_which_the_champion_is_compared_is_marked(ledger: FileLedger) -> None:
    decide(ledger, 0.0, "progressing", "ramp.awaiting-proof", {"text": 1.0})
    decide(ledger, 10.0, "progressing", "hold.unclear", {"text": 400.0})
    decide(ledger, 20.0, "progressing", "hold.unclear", {"text": 500.0})
    decide(ledger, 40.0, "rolled-back", "rollout.rolled-back", {})
    svg = draw_rollout(ledger)
    assert "proven; is the champion as bad?" in texts(svg)
    found = re.search(r'<rect class="held" x="(\d+)" y="\d+" width="(\d+)"', svg)
    assert found is not None
    start, _, end = (int(x) for x in re.findall(r'x="(\d+)" y="\d+" text-anchor="middle"', svg))
    left, width = float(found[1]), float(found[2])
    # From a quarter of the time to its half.
    assert left == pytest.approx(start + (end - start) / 4, abs=1)
    assert width == pytest.approx((end - start) / 4, abs=1)


def test_without_a_rollback_there_is_none_to_draw(ledger: FileLedger) -> None:
    decide(ledger, 1.0, "promoted", "rollout.promoted", {})
    with pytest.raises(NotFound, match="no rollout in the ledger is rolled-back"):
        draw_rollout(ledger)
