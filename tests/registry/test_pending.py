"""Records of registrations under way: held while somebody works, found when nobody does."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from registry.pending import Pending, PendingFolder

ONE = Pending("run-1", "tags", f"sha256:{'ab' * 32}", "file:///artifacts/run-1/content")
HOLDING = """
import sys, time
from pathlib import Path
from registry.pending import Pending, PendingFolder
with PendingFolder(Path(sys.argv[1])).hold(Pending(*sys.argv[2:])):
    print("held", flush=True)
    time.sleep(60)
"""


def settled(folder: PendingFolder) -> list[Pending]:
    found: list[Pending] = []
    folder.settle(found.append)
    return found


def refuse(pending: Pending) -> None:
    raise OSError("MLflow is away")


def test_what_ends_well_leaves_no_record(tmp_path: Path) -> None:
    folder = PendingFolder(tmp_path / "pending")
    assert settled(folder) == []
    with folder.hold(ONE):
        assert settled(folder) == []
    assert list((tmp_path / "pending").iterdir()) == []


def test_what_fails_is_left_until_it_is_settled(tmp_path: Path) -> None:
    folder = PendingFolder(tmp_path)
    with pytest.raises(KeyError), folder.hold(ONE):
        raise KeyError
    with pytest.raises(OSError, match="away"):
        folder.settle(refuse)
    assert settled(folder) == [ONE]
    assert settled(folder) == []


def test_a_killed_process_lets_go(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDING, str(tmp_path), ONE.run, ONE.model, ONE.digest, ONE.location]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert settled(PendingFolder(tmp_path)) == []
        process.send_signal(signal.SIGKILL)
    assert settled(PendingFolder(tmp_path)) == [ONE]


def test_a_record_that_can_not_be_written_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"), PendingFolder(tmp_path).hold(ONE):
        pytest.fail("it went on without a record")
    assert list(tmp_path.iterdir()) == []
