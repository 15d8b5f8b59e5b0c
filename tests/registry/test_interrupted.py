"""Registrations that are cut off: a killed process, a full disk, a source that changes meanwhile."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from contracts.errors import IntegrityError, NotFound, Unavailable
from contracts.ids import VersionId, VersionRef
from registry.catalogue import Registration
from registry.mlflow_catalogue import MlflowCatalogue

KILLED_AT = """
import os, signal, sys
from pathlib import Path
from registry.catalogue import Registration
from registry.journal import Journal
from registry.mlflow_catalogue import MlflowCatalogue
home, directory, moment = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
catalogue = MlflowCatalogue(f"sqlite:///{home}/mlflow.db", artifacts=home / "artifacts", manifests=home / "manifests")
def die(*args, **options):
    os.kill(os.getpid(), signal.SIGKILL)
if moment == "while copying":
    import shutil
    shutil.copyfile = die
elif moment == "before the version":
    catalogue._store.client.create_model_version = die
elif moment == "before the pin":
    Journal.pin = die
catalogue.register("killed", Registration(directory))
"""


@pytest.mark.parametrize(
    ("moment", "registered"), [("while copying", False), ("before the version", False), ("before the pin", True)]
)
def test_a_killed_registration_is_whole_or_nothing(
    catalogue: MlflowCatalogue, home: Path, model: Path, moment: str, registered: bool
) -> None:
    before = catalogue.register("killed", Registration(model, description="before"))
    # The content differs, so that nothing can be found by the digest of the one before.
    (model / "moment.txt").write_text(moment)
    command = [sys.executable, "-c", KILLED_AT, str(home), str(model), moment]
    ended = subprocess.run(command, capture_output=True, cwd=Path(__file__).parents[2], check=False, timeout=100)
    assert ended.returncode == -signal.SIGKILL
    versions = [record.id.number for record in catalogue.list_versions("killed")]
    assert versions[0] == before.id.number + registered
    assert all(catalogue.fetch(VersionId("killed", number)) for number in versions)
    assert catalogue.get(VersionRef("killed", number=before.id.number)) == before
    after = catalogue.register("killed", Registration(model))
    assert (catalogue.fetch(after.id) / "moment.txt").read_text() == moment


@pytest.mark.parametrize("where", ["files", "manifest", "database", "pin"])
def test_a_full_disk_is_said_and_leaves_nothing(
    catalogue: MlflowCatalogue, home: Path, model: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    client = catalogue._store.client
    target: tuple[object, str] = {
        "files": (client, "log_artifacts"),
        "manifest": (os, "fsync"),
        "database": (client, "create_model_version"),
        "pin": (catalogue.journal, "pin"),
    }[where]
    files = sorted(path for path in (home / "manifests").iterdir())
    runs = set((home / "artifacts").rglob("content"))
    name = f"full-{where}"
    with monkeypatch.context() as patch:
        patch.setattr(*target, refuse)
        with pytest.raises(Unavailable, match="the disk is full") as refusal:
            catalogue.register(name, Registration(model))
    assert "room" in refusal.value.hint
    with pytest.raises(NotFound):
        catalogue.list_versions(name)
    if where == "manifest":
        assert sorted((home / "manifests").iterdir()) == files
    if where == "files":
        assert set((home / "artifacts").rglob("content")) == runs
    assert catalogue.fetch(catalogue.register(name, Registration(model)).id).is_dir()


def test_a_source_that_changes_while_it_is_copied_is_not_registered(
    catalogue: MlflowCatalogue, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = catalogue._store.client
    real = client.log_artifacts

    def change_first(run: str, directory: str, path: str) -> None:
        (Path(directory) / "model_index.json").write_text('{"swapped": 1}')
        real(run, directory, path)

    monkeypatch.setattr(client, "log_artifacts", change_first)
    with pytest.raises(IntegrityError, match=r"changed: model_index.json"):
        catalogue.register("swapped", Registration(model))
    with pytest.raises(NotFound):
        catalogue.list_versions("swapped")
