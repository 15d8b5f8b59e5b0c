"""Registrations that are cut off: a killed process, a full disk, a source that changes meanwhile."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import IntegrityError, NotFound, Unavailable
from contracts.ids import VersionRef
from contracts.manifest import make_manifest
from registry.catalogue import Proof, Registration
from registry.mlflow_catalogue import MlflowCatalogue
from tests.registry.conftest import open_catalogue

KILLED_AT = """
import os, signal, sys
from pathlib import Path
from contracts.manifest import make_manifest
from registry.catalogue import Proof, Registration
from registry.journal import Journal
from registry.mlflow_catalogue import MlflowCatalogue
from registry.pending import PendingFolder
from registry.recipes.shelf import RecipeShelf
home, directory, moment = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
catalogue = MlflowCatalogue(f"sqlite:///{home}/mlflow.db", artifacts=home / "artifacts", manifests=home / "manifests")
client = catalogue._store.client
def die(*args, **options):
    os.kill(os.getpid(), signal.SIGKILL)
def die_after(step):
    return lambda *args, **options: (step(*args, **options), die())
match moment:
    case "while copying":
        import shutil
        shutil.copyfile = die
    case "before the proof":
        RecipeShelf.write = die
    case "within the proof":
        client.log_metric = die
    case "before the version":
        client.create_model_version = die
    case "after the version":
        client.create_model_version = die_after(client.create_model_version)
    case "before the pin":
        Journal.pin = die
    case "after the pin":
        Journal.pin = die_after(Journal.pin)
proof = Proof(make_manifest(directory).digest, {"moment": moment}, {"optimise.size_ratio": 1.0}, "attested")
catalogue.register("killed", Registration(directory, proof=proof))
"""


@pytest.mark.parametrize(
    ("moment", "registered"),
    [
        ("while copying", False),
        ("before the proof", False),
        ("within the proof", False),
        ("before the version", False),
        ("after the version", True),
        ("before the pin", True),
        ("after the pin", True),
    ],
)
def test_a_killed_registration_is_whole_or_nothing(
    catalogue: MlflowCatalogue, home: Path, model: Path, moment: str, registered: bool
) -> None:
    before = catalogue.register("killed", Registration(model, description="before"))
    folders = set((home / "artifacts").rglob("content"))
    # The content differs, so that nothing can be found by the digest of the one before.
    (model / "moment.txt").write_text(moment)
    command = [sys.executable, "-c", KILLED_AT, str(home), str(model), moment]
    ended = subprocess.run(command, capture_output=True, cwd=Path(__file__).parents[2], check=False, timeout=100)
    assert ended.returncode == -signal.SIGKILL
    versions = [record.id for record in catalogue.list_versions("killed")]
    assert versions[0].number == before.id.number + registered
    assert all(catalogue.fetch(version) for version in versions)
    # Whoever reads a version next finds it as a registration that went well leaves it.
    assert all(catalogue.journal.find_pin(version) for version in versions)
    if registered:
        report = {"moment": moment, "version": str(versions[0])}
        assert catalogue.optimisations.read(versions[0]) == (report, "attested")
    assert catalogue.get(VersionRef("killed", number=before.id.number)) == before
    catalogue.settle()
    assert len(set((home / "artifacts").rglob("content")) - folders) == registered
    assert list((home / "pending").iterdir()) == []
    after = catalogue.register("killed", Registration(model))
    assert (catalogue.fetch(after.id) / "moment.txt").read_text() == moment


def test_a_registration_under_way_is_let_alone(catalogue: MlflowCatalogue, home: Path, model: Path) -> None:
    client, other = catalogue._store.client, open_catalogue(home)
    real = client.create_model_version

    def settle_first(**options: Any) -> Any:
        other.settle()
        return real(**options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "create_model_version", settle_first)
        record = catalogue.register("under-way", Registration(model))
    assert catalogue.fetch(record.id).is_dir()


def test_what_is_not_as_it_was_proved_is_not_registered(catalogue: MlflowCatalogue, model: Path) -> None:
    proof = Proof(make_manifest(model).digest, {}, {}, "attested")
    (model / "added.txt").write_text("after the proof")
    with pytest.raises(IntegrityError, match="is not what was proved"):
        catalogue.register("unproved", Registration(model, proof=proof))
    with pytest.raises(NotFound):
        catalogue.list_versions("unproved")


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
    folders = set((home / "artifacts").rglob("content"))
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
    assert set((home / "artifacts").rglob("content")) == folders
    assert list((home / "pending").iterdir()) == []
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
