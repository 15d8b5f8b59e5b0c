"""The ledger: what was decided can be read back, and not be changed unseen."""

import json
from pathlib import Path

import pytest

from contracts.errors import IntegrityError
from controlplane.store.ledger import FileLedger


def filled(path: Path, count: int = 3) -> FileLedger:
    ledger = FileLedger(path, code_version="1")
    for index in range(count):
        ledger.append(
            at_s=float(index),
            rollout_id=f"r{index % 2}",
            policy_digest="p",
            observation={"bad": index, "total": 10},
            decision={"weight": 0.1 * index},
        )
    return ledger


def test_decisions_are_read_back_as_written_also_after_a_restart(tmp_path: Path) -> None:
    filled(tmp_path / "ledger.jsonl")
    again = FileLedger(tmp_path / "ledger.jsonl", code_version="2")
    again.append(at_s=9.0, rollout_id="r0", policy_digest="p", observation={}, decision={})
    assert [entry.sequence for entry in again.entries()] == [0, 1, 2, 3]
    assert [entry.observation["bad"] for entry in again.entries("r0") if entry.observation] == [0, 2]
    assert again.verify() == 4


@pytest.mark.parametrize("change", ["edit", "delete", "swap"])
def test_a_changed_ledger_is_noticed(tmp_path: Path, change: str) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = filled(path)
    lines = path.read_text().splitlines()
    if change == "edit":
        row = json.loads(lines[1])
        row["decision"]["weight"] = 0.9
        lines[1] = json.dumps(row)
    elif change == "delete":
        del lines[1]
    else:
        lines[0], lines[1] = lines[1], lines[0]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(IntegrityError, match="decision"):
        ledger.verify()


def test_a_torn_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    filled(path)
    path.write_text(path.read_text()[:-20])
    with pytest.raises(IntegrityError, match="line 3"):
        FileLedger(path, code_version="1")
