"""Profiles kept in a real MLflow: found again, told from forgeries, and never half stored."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from contracts.errors import IntegrityError, NotFound, Unavailable
from contracts.ids import CHAMPION, VersionId, VersionRef
from contracts.wire.capacity import ServingPlan
from controlplane.loop.effects import worker_spec
from registry.catalogue import Registration, VersionRecord, VersionState
from registry.mlflow_catalogue import MlflowCatalogue
from registry.profile.document import Profile
from registry.provenance.attestation import Job, attest, verify_attestation
from registry.provenance.job_key import job_key
from tests.registry.fake_bench import FakeBench
from tests.registry.test_profile import make_profile

MADE: dict[str, Profile] = {}


def profile_of(record: VersionRecord) -> Profile:
    made = MADE.setdefault("profile", make_profile(FakeBench()))
    return made.model_copy(update={"version": record.id, "digest": record.digest, "defaults": record.defaults})


def register(catalogue: MlflowCatalogue, model: Path, name: str) -> VersionRecord:
    return catalogue.register(name, Registration(model))


def test_a_profile_is_kept_and_found_again(catalogue: MlflowCatalogue, client: MlflowClient, model: Path) -> None:
    record = register(catalogue, model, "kept")
    assert catalogue.profiles.read(record.id) is None
    profile = profile_of(record)
    run_id = catalogue.profiles.keep(profile)
    assert catalogue.profiles.read(record.id) == profile
    assert catalogue.profiles.read(record.id, "cuda") is None
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["profile.load_cold_s"] == 3.0
    assert catalogue.get(VersionRef("kept", number=1)).state is VersionState.PROFILED


def test_workers_are_started_as_the_profile_found(catalogue: MlflowCatalogue, model: Path) -> None:
    record = register(catalogue, model, "served")
    assert worker_spec(catalogue, record.id).capacity is None
    profile = profile_of(record)
    catalogue.profiles.keep(profile)
    spec = worker_spec(catalogue, record.id)
    assert (spec.limits, spec.capacity) == (profile.limits, profile.capacity)
    found = catalogue.get(VersionRef("served", number=1)).serving
    assert found == {"cpu": ServingPlan(limits=profile.limits, capacity=profile.capacity, cold_start_s=3.0)}


def test_profiling_again_replaces_the_profile_and_keeps_the_run(
    catalogue: MlflowCatalogue, client: MlflowClient, model: Path
) -> None:
    record = register(catalogue, model, "twice")
    first = catalogue.profiles.keep(profile_of(record))
    later = profile_of(record).model_copy(update={"measured_at_s": 5.0})
    second = catalogue.profiles.keep(later)
    assert catalogue.profiles.read(record.id) == later
    assert first != second
    assert client.get_run(first).data.tags["roost.version"] == "twice@1"


def test_a_champion_stays_one(catalogue: MlflowCatalogue, model: Path) -> None:
    record = register(catalogue, model, "crowned")
    catalogue.aliases.crown(record.id, CHAMPION, actor="ada", reason="first")
    before = catalogue.get(VersionRef("crowned", number=1)).state
    catalogue.profiles.keep(profile_of(record))
    assert catalogue.get(VersionRef("crowned", number=1)).state is before is VersionState.CHAMPION


def test_a_profile_that_was_changed_in_mlflow_is_refused(
    catalogue: MlflowCatalogue, client: MlflowClient, home: Path, model: Path
) -> None:
    record = register(catalogue, model, "changed")
    run_id = catalogue.profiles.keep(profile_of(record))
    stored = next(home.glob(f"artifacts/**/{run_id}/**/profile.json"))
    stored.write_text(stored.read_text().replace('"rounds"', '"rounds" '))
    with pytest.raises(IntegrityError, match="changed"):
        catalogue.profiles.read(record.id)
    client.set_model_version_tag("changed", "1", "roost.serving.cpu", "{broken")
    with pytest.raises(IntegrityError, match="tags"):
        catalogue.get(VersionRef("changed", number=1))


def test_a_profile_of_other_content_or_of_no_version_is_not_kept(catalogue: MlflowCatalogue, model: Path) -> None:
    record = register(catalogue, model, "other")
    with pytest.raises(IntegrityError):
        catalogue.profiles.keep(profile_of(record).model_copy(update={"digest": "sha256:" + "0" * 64}))
    with pytest.raises(NotFound):
        catalogue.profiles.keep(profile_of(record).model_copy(update={"version": VersionId("other", 9)}))
    assert catalogue.profiles.read(record.id) is None


def test_a_store_that_fails_in_the_middle_leaves_the_version_as_it_was(
    catalogue: MlflowCatalogue, home: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = register(catalogue, model, "failing")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mlflow.MlflowClient.log_text", full)
    with pytest.raises(Unavailable, match="not stored"):
        catalogue.profiles.keep(profile_of(record))
    monkeypatch.undo()
    found = catalogue.get(VersionRef("failing", number=1))
    assert (found.state, found.serving) == (VersionState.REGISTERED, {})
    assert catalogue.profiles.read(record.id) is None


def test_the_job_is_attested_by_a_key_of_the_home(catalogue: MlflowCatalogue, model: Path, tmp_path: Path) -> None:
    record = register(catalogue, model, "attested")
    key = job_key(tmp_path / "keys")
    assert job_key(tmp_path / "keys").private_numbers() == key.private_numbers()
    job = Job("profile-1", "profile", {"attested@1": record.digest}, "0.1", "a CPU", 1.0, 2.0)
    catalogue.profiles.keep(profile_of(record), attest(job, "attested", record.digest, key))
    bundle = catalogue.profiles.attestation(record.id)
    assert verify_attestation(bundle, record, [key.public_key()]) == job
