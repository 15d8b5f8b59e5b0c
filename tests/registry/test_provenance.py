"""Signatures, attestations and cards: what they cover, and what they refuse."""

import base64
import hashlib
import json
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from contracts.errors import IntegrityError, InvalidInput, NotFound, NotPermitted, RoostError
from contracts.ids import VersionId
from contracts.manifest import make_manifest
from registry.catalogue import Lineage, Registration, VersionRecord
from registry.mlflow_catalogue import MlflowCatalogue
from registry.provenance.attestation import Job, attest, verify_attestation
from registry.provenance.card import CardNotes, card_json, card_markdown
from registry.provenance.dsse import sign_statement
from registry.provenance.keys import generate_key, key_id, load_private_key, load_public_key
from registry.provenance.signing import sign_manifest, verify_directory

KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())
RECORD = VersionRecord(
    VersionId("tags", 4), f"sha256:{'ab' * 32}", 4096, 1.7e9, "four | steps", lineage=Lineage(data="digits")
)
JOB = Job("j1", "int8", {"tags@3": f"sha256:{'cd' * 32}"}, "0.1.0", "2 cores", 1.7e9, 1.7e9 + 60, {"group": 128})


def change(directory: Path) -> None:
    (directory / "model_index.json").write_text("{ }")


def add(directory: Path) -> None:
    (directory / "extra.txt").write_text("x")


def add_folder(directory: Path) -> None:
    (directory / "empty").mkdir()


def add_git(directory: Path) -> None:
    (directory / ".git").mkdir()
    (directory / ".git" / "config").write_text("x")


def add_git_attributes(directory: Path) -> None:
    (directory / ".gitattributes").write_text("x")


def remove(directory: Path) -> None:
    (directory / "model_index.json").unlink()


def link(directory: Path) -> None:
    (directory / "model_index.json").rename(directory.parent / "kept.json")
    (directory / "model_index.json").symlink_to(directory.parent / "kept.json")


def rename(directory: Path) -> None:
    (directory / "model_index.json").rename(directory / "model_index2.json")


def test_a_signature_holds_for_the_files_that_were_signed(model: Path) -> None:
    bundle = sign_manifest(make_manifest(model), "pipeline", KEY)
    assert verify_directory(model, bundle, [OTHER.public_key(), KEY.public_key()]) == key_id(KEY.public_key())


@pytest.mark.parametrize("harm", [change, add, add_folder, add_git, add_git_attributes, remove, link, rename])
def test_a_signature_refuses_every_other_directory(model: Path, harm: Callable[[Path], None]) -> None:
    bundle = sign_manifest(make_manifest(model), "pipeline", KEY)
    harm(model)
    with pytest.raises(RoostError) as refusal:
        verify_directory(model, bundle, [KEY.public_key()])
    assert isinstance(refusal.value, IntegrityError | InvalidInput)
    assert refusal.value.hint


def test_a_signature_of_another_key_or_of_changed_text_is_refused(model: Path) -> None:
    bundle = sign_manifest(make_manifest(model), "pipeline", KEY)
    with pytest.raises(IntegrityError, match="none of the given keys"):
        verify_directory(model, bundle, [OTHER.public_key()])
    document = json.loads(bundle)
    payload = base64.b64decode(document["dsseEnvelope"]["payload"]).replace(b"model_index", b"model_other")
    document["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    with pytest.raises(IntegrityError, match="none of the given keys"):
        verify_directory(model, json.dumps(document), [KEY.public_key()])


@pytest.mark.parametrize("ignored", [[".git"], ["extra.txt"]])
def test_a_signature_that_leaves_files_out_is_refused_though_rightly_signed(model: Path, ignored: list[str]) -> None:
    payload = base64.b64decode(json.loads(sign_manifest(make_manifest(model), "p", KEY))["dsseEnvelope"]["payload"])
    statement = json.loads(payload)
    statement["predicate"]["serialization"]["ignore_paths"] = ignored
    with pytest.raises(IntegrityError, match="does not cover"):
        verify_directory(model, sign_statement(statement, KEY), [KEY.public_key()])


def test_the_subject_is_one_digest_over_all_files_in_order(model: Path) -> None:
    payload = base64.b64decode(json.loads(sign_manifest(make_manifest(model), "p", KEY))["dsseEnvelope"]["payload"])
    names = ["model_index.json", "unet/weights.safetensors"]
    digests = b"".join(hashlib.sha256((model / name).read_bytes()).digest() for name in names)
    assert json.loads(payload)["subject"] == [{"name": "p", "digest": {"sha256": hashlib.sha256(digests).hexdigest()}}]


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"dsseEnvelope": {"signatures": []}}', "[" * 100_000])
def test_what_is_no_bundle_is_refused(model: Path, text: str) -> None:
    with pytest.raises(IntegrityError, match="not a Sigstore bundle"):
        verify_directory(model, text, [KEY.public_key()])


def test_keys_are_private_and_never_overwritten(tmp_path: Path) -> None:
    public = generate_key(tmp_path / "keys" / "a")
    private = tmp_path / "keys" / "a"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert key_id(load_private_key(private).public_key()) == key_id(load_public_key(public))
    with pytest.raises(InvalidInput, match="exists"):
        generate_key(private)
    private.chmod(0o644)
    with pytest.raises(NotPermitted, match="others"):
        load_private_key(private)
    public.chmod(0o600)
    with pytest.raises(InvalidInput, match="private key"):
        load_private_key(public)
    with pytest.raises(InvalidInput, match="public key"):
        load_public_key(private)
    with pytest.raises(NotFound):
        load_public_key(tmp_path / "none")


def test_where_signatures_are_required_only_signed_versions_are_handed_out(
    catalogue: MlflowCatalogue, home: Path, model: Path
) -> None:
    (model / "signed.txt").write_text("content of its own")
    version = catalogue.register("signed", Registration(model)).id
    strict = MlflowCatalogue(
        f"sqlite:///{home}/mlflow.db",
        artifacts=home / "artifacts",
        manifests=home / "manifests",
        trusted_keys=(KEY.public_key(),),
    )
    with pytest.raises(NotPermitted, match="not signed by a trusted key"):
        strict.fetch(version)
    catalogue.signatures.sign(catalogue.manifest(version), str(version), OTHER)
    with pytest.raises(NotPermitted):
        strict.fetch(version)
    path = catalogue.signatures.sign(catalogue.manifest(version), str(version), KEY)
    assert strict.fetch(version).is_dir()
    path.write_text(sign_manifest(make_manifest(model), "x", OTHER))
    with pytest.raises(IntegrityError):
        strict.fetch(version)


def test_an_attestation_tells_the_job_that_made_a_version() -> None:
    bundle = attest(JOB, RECORD.id.model, RECORD.digest, KEY)
    assert verify_attestation(bundle, RECORD, [KEY.public_key()]) == JOB


def test_an_attestation_about_something_else_is_refused() -> None:
    bundle = attest(JOB, RECORD.id.model, RECORD.digest, KEY)
    with pytest.raises(IntegrityError, match="not about tags@4"):
        verify_attestation(bundle, replace(RECORD, digest=f"sha256:{'00' * 32}"), [KEY.public_key()])
    with pytest.raises(IntegrityError, match="none of the given keys"):
        verify_attestation(bundle, RECORD, [OTHER.public_key()])
    with pytest.raises(InvalidInput, match="inputs"):
        attest(replace(JOB, inputs={"data": "digits.zip"}), "tags", RECORD.digest, KEY)
    with pytest.raises(IntegrityError, match="not about tags@4"):
        verify_attestation(attest(JOB, "other", RECORD.digest, KEY), RECORD, [KEY.public_key()])


def test_a_card_tells_what_is_known_and_invents_nothing() -> None:
    notes = CardNotes(licence="Apache-2.0", metrics={"text": 0.5}, limitations=("digits only",))
    card = json.loads(card_json(RECORD, notes))
    assert (card["licence"], card["data"], card["metrics"]) == ("Apache-2.0", "digits", {"text": 0.5})
    text = card_markdown(RECORD, notes)
    assert "four \\| steps" in text
    assert "- digits only" in text
    assert text.count("not told") == 6  # parent, recipe, base model, run, code revision, profile
