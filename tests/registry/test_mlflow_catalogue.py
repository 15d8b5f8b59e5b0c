"""The catalogue on a real MLflow store: versions, aliases, and bytes that can't change unseen."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from contracts.errors import IntegrityError, InvalidInput, NotFound
from contracts.ids import VersionId, VersionRef
from contracts.wire.worker import FaultDrill, GenerationDefaults
from registry.catalogue import Registration
from registry.mlflow_catalogue import MlflowCatalogue


def test_a_directory_becomes_a_version_with_its_defaults_and_lineage(catalogue: MlflowCatalogue, model: Path) -> None:
    first = catalogue.register("lineage", Registration(model, description="the first"))
    defaults = GenerationDefaults(num_inference_steps=4, guidance_scale=1.0, height=32, width=64)
    second = catalogue.register(
        "lineage",
        Registration(model, parent=first.id, defaults=defaults, faults=FaultDrill(stale_prompts_after=3)),
    )
    assert second.id == VersionId("lineage", 2)
    assert (second.parent, second.defaults) == (first.id, defaults)
    assert second.faults.stale_prompts_after == 3
    assert first.digest == second.digest
    assert [record.id.number for record in catalogue.list_versions("lineage")] == [2, 1]
    assert catalogue.get(VersionRef("lineage", number=1)).description == "the first"


def test_fetched_bytes_are_those_registered_even_when_the_source_changes(
    catalogue: MlflowCatalogue, model: Path
) -> None:
    record = catalogue.register("copied", Registration(model))
    (model / "model_index.json").write_text("changed later")
    assert (catalogue.fetch(record.id) / "model_index.json").read_text() == "{}"


@pytest.mark.parametrize("tamper", ["changed", "added", "missing"])
def test_tampered_bytes_are_refused_and_named(catalogue: MlflowCatalogue, model: Path, tamper: str) -> None:
    record = catalogue.register(f"tampered-{tamper}", Registration(model))
    directory = catalogue.fetch(record.id)
    if tamper == "changed":
        (directory / "model_index.json").write_text("{ }")
    elif tamper == "added":
        (directory / "extra.bin").write_text("x")
    else:
        (directory / "model_index.json").unlink()
    with pytest.raises(IntegrityError, match=tamper):
        catalogue.fetch(record.id)


def test_a_changed_manifest_is_noticed(catalogue: MlflowCatalogue, home: Path, model: Path) -> None:
    (model / "only-here.txt").write_text("a content of its own")
    record = catalogue.register("forged", Registration(model))
    manifest = home / "manifests" / f"{record.digest.removeprefix('sha256:')}.json"
    manifest.write_text(manifest.read_text().replace("only-here.txt", "elsewhere.txt"))
    with pytest.raises(IntegrityError, match="manifest"):
        catalogue.fetch(record.id)


def test_an_alias_moves_and_tells_where_it_pointed(catalogue: MlflowCatalogue, model: Path) -> None:
    first = catalogue.register("aliased", Registration(model)).id
    second = catalogue.register("aliased", Registration(model)).id
    assert catalogue.move_alias(first, "champion", actor="test", reason="a test") is None
    assert catalogue.move_alias(second, "Champion", actor="test", reason="a test") == first
    assert catalogue.get(VersionRef.parse("aliased@champion")).id == second
    with pytest.raises(NotFound):
        catalogue.move_alias(VersionId("aliased", 9), "champion", actor="test", reason="a test")
    assert catalogue.get(VersionRef.parse("aliased@champion")).id == second


@pytest.mark.parametrize("reference", ["absent@1", "lineage@99", "lineage@nobody"])
def test_what_is_not_registered_is_not_found(catalogue: MlflowCatalogue, reference: str) -> None:
    with pytest.raises(NotFound) as refusal:
        catalogue.get(VersionRef.parse(reference))
    assert refusal.value.hint


def test_a_foreign_version_is_left_alone_and_told_apart(catalogue: MlflowCatalogue, home: Path, model: Path) -> None:
    ours = catalogue.register("shared", Registration(model))
    client = MlflowClient(f"sqlite:///{home}/mlflow.db", f"sqlite:///{home}/mlflow.db")
    foreign = client.create_model_version("shared", source=(home / "artifacts").as_uri())
    assert [record.id for record in catalogue.list_versions("shared")] == [ours.id]
    with pytest.raises(NotFound, match="was not registered here"):
        catalogue.get(VersionRef("shared", number=int(foreign.version)))


@pytest.mark.parametrize("content", ["nothing", "file", "link", "empty"])
def test_what_is_no_plain_directory_leaves_no_version_behind(
    catalogue: MlflowCatalogue, tmp_path: Path, content: str
) -> None:
    directory = tmp_path / "model"
    if content == "file":
        directory.write_text("a file")
    elif content == "empty":
        directory.mkdir()
    elif content == "link":
        directory.mkdir()
        (directory / "passwords").symlink_to("/etc/passwd")
    with pytest.raises(InvalidInput):
        catalogue.register("refused", Registration(directory))
    with pytest.raises(NotFound):
        catalogue.list_versions("refused")
