"""The catalogue on MLflow: a SQLite store and a folder by default, any MLflow server by its address.

Foreign versions of the same registered model are left alone: only versions with a ``roost.digest`` tag are ours.
"""

import logging
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from contracts.errors import IntegrityError, NotFound, Unavailable
from contracts.ids import VersionId, VersionRef, parse_alias, parse_name
from contracts.wire.worker import FaultDrill, GenerationDefaults
from registry.catalogue import Registration, VersionRecord
from registry.provenance.manifest import Manifest, make_manifest, verify_manifest

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "roost"
CONTENT = "content"
QUIET_CLIENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


class MlflowCatalogue:
    """A catalogue whose versions are MLflow model versions, each with a run that holds its files.

    ``manifests`` is our own folder: MLflow keeps bytes and tags, we keep what the bytes were when they came.
    """

    def __init__(self, tracking_uri: str, *, artifacts: Path, manifests: Path) -> None:
        self._client = _connect(tracking_uri)
        self._artifacts = artifacts
        self._manifests = manifests
        manifests.mkdir(parents=True, exist_ok=True)

    def register(self, model: str, registration: Registration) -> VersionRecord:
        """Copy a directory into MLflow as the next version of ``model``; a failure leaves no version behind."""
        parse_name(model, "model")
        manifest = make_manifest(registration.directory)
        _write_atomically(self._manifests / f"{_hex(manifest.digest)}.json", manifest.to_json())
        run = self._client.create_run(self._experiment(), run_name=f"register {model}")
        try:
            self._client.log_artifacts(run.info.run_id, str(registration.directory), CONTENT)
            self._ensure_model(model)
            version = self._client.create_model_version(
                name=model,
                source=f"{run.info.artifact_uri}/{CONTENT}",
                run_id=run.info.run_id,
                tags=_tags(registration, manifest),
                description=registration.description,
            )
        except BaseException:
            self._client.set_terminated(run.info.run_id, status="FAILED")
            raise
        self._client.set_terminated(run.info.run_id)
        return self.get(VersionRef(model, number=int(version.version)))

    def get(self, reference: VersionRef) -> VersionRecord:
        """Return the version that a number or an alias names.

        Raises:
            NotFound: when there is none, or it was not registered by Roost.
        """
        from mlflow.exceptions import MlflowException

        try:
            if reference.alias is not None:
                found = self._client.get_model_version_by_alias(reference.model, reference.alias)
            else:
                found = self._client.get_model_version(reference.model, str(reference.number))
        except MlflowException as error:
            raise _not_found(reference, error) from None
        if "roost.digest" not in found.tags:
            raise NotFound(
                f"{reference} is in MLflow but was not registered here", hint="register it: roost model register"
            )
        return _record(found)

    def list_versions(self, model: str) -> list[VersionRecord]:
        """Return our versions of a model, newest first.

        Raises:
            NotFound: when the model has none.
        """
        parse_name(model, "model")
        found = self._client.search_model_versions(f"name = '{model}'", max_results=1000)
        records = [_record(version) for version in found if "roost.digest" in version.tags]
        if not records:
            raise NotFound(f"no versions of {model!r} are registered", hint="roost model register MODEL DIRECTORY")
        return sorted(records, key=lambda record: -record.id.number)

    def fetch(self, version: VersionId) -> Path:
        """Return the version's directory, every byte compared with its manifest just now.

        Raises:
            IntegrityError: when the bytes, or the manifest itself, are not what was registered.
        """
        record = self.get(VersionRef(version.model, number=version.number))
        manifest = self._manifest(record.digest)
        source = self._client.get_model_version(version.model, str(version.number)).source
        directory = self._local_directory(source)
        verify_manifest(directory, manifest)
        return directory

    def move_alias(self, version: VersionId, alias: str) -> VersionId | None:
        """Point ``alias`` at ``version`` and read it back: MLflow's aliases are last-writer-wins.

        Raises:
            Unavailable: when the alias points elsewhere afterwards.
        """
        alias = parse_alias(alias)
        self.get(VersionRef(version.model, number=version.number))
        before = self._alias_target(version.model, alias)
        self._client.set_registered_model_alias(version.model, alias, str(version.number))
        if self._alias_target(version.model, alias) != version:
            raise Unavailable(f"alias {alias} of {version.model} was moved by somebody else", hint="try again")
        return before

    def _alias_target(self, model: str, alias: str) -> VersionId | None:
        from mlflow.exceptions import MlflowException

        try:
            found = self._client.get_model_version_by_alias(model, alias)
        except MlflowException:
            return None
        return VersionId(model, int(found.version))

    def _manifest(self, digest: str) -> Manifest:
        path = self._manifests / f"{_hex(digest)}.json"
        if not path.is_file():
            raise IntegrityError(f"there is no manifest for {digest}", hint="register the version again")
        manifest = Manifest.from_json(path.read_text())
        if manifest.digest != digest:
            raise IntegrityError(f"the manifest of {digest} was changed", hint="register the version again")
        return manifest

    def _local_directory(self, source: str) -> Path:
        """Resolve a version's source below our artefact folder; a remote store is downloaded by MLflow."""
        parsed = urlparse(source)
        if parsed.scheme in {"", "file"}:
            directory = Path(unquote(parsed.path)).resolve()
            if not directory.is_relative_to(self._artifacts.resolve()):
                raise IntegrityError(f"{source} lies outside the artefact folder", hint="register the version again")
            return directory
        from mlflow.artifacts import download_artifacts

        target = self._manifests.parent / "downloads"
        target.mkdir(exist_ok=True)
        return Path(download_artifacts(artifact_uri=source, dst_path=tempfile.mkdtemp(dir=target)))

    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        return str(self._client.create_experiment(EXPERIMENT, artifact_location=self._artifacts.resolve().as_uri()))

    def _ensure_model(self, model: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise


def _connect(tracking_uri: str) -> "MlflowClient":
    for name, value in QUIET_CLIENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


def _tags(registration: Registration, manifest: Manifest) -> dict[str, str]:
    tags = {
        "roost.digest": manifest.digest,
        "roost.size_bytes": str(manifest.size_bytes),
        "roost.defaults": registration.defaults.model_dump_json(),
        "roost.state": "registered",
    }
    if registration.parent is not None:
        tags["roost.parent"] = str(registration.parent)
    if registration.faults != FaultDrill():
        tags["roost.faults"] = registration.faults.model_dump_json()
    return tags


def _record(version: Any) -> VersionRecord:
    tags = version.tags
    return VersionRecord(
        id=VersionId(version.name, int(version.version)),
        digest=tags["roost.digest"],
        size_bytes=int(tags["roost.size_bytes"]),
        created_s=version.creation_timestamp / 1000,
        description=version.description or "",
        parent=VersionId.parse(tags["roost.parent"]) if "roost.parent" in tags else None,
        defaults=GenerationDefaults.model_validate_json(tags["roost.defaults"]),
        faults=FaultDrill.model_validate_json(tags.get("roost.faults", "{}")),
        aliases=tuple(sorted(version.aliases)),
    )


def _not_found(reference: VersionRef, error: Exception) -> NotFound | Unavailable:
    code = getattr(error, "error_code", "")
    if code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
        return NotFound(f"{reference} is not registered", hint=f"roost model list {reference.model}")
    return Unavailable(f"MLflow did not answer for {reference}: {code or error}", hint="is the MLflow store there?")


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")


def _write_atomically(path: Path, text: str) -> None:
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(path)
