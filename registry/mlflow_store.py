"""MLflow as a store of versions, runs and aliases: the calls that Roost makes, and none that grow with a model.

``get_registered_model`` and ``get_latest_versions`` load every version of a model and are never called.
"""

import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from contracts.errors import IntegrityError, InvalidInput, NotFound, Unavailable
from contracts.ids import VersionId, VersionRef
from registry.catalogue import VersionState
from registry.mlflow_records import STATE_TAG, VALIDATION, VALIDATION_TAG, is_ours, translate_refusal
from registry.mlflow_tables import MlflowTables

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "roost"
QUIET_CLIENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


class MlflowStore:
    """A store by its address; ``artifacts`` is where new versions' files go, ``downloads`` where remote ones come."""

    def __init__(self, tracking_uri: str, *, artifacts: Path, downloads: Path) -> None:
        self.client, self._uri = _connect(tracking_uri), tracking_uri
        self.artifacts, self._downloads = artifacts, downloads
        self._tables: MlflowTables | None = None

    @property
    def tells_aliases(self) -> bool:
        """Whether what a search finds comes with its aliases; MLflow's client leaves them out."""
        return self._open_tables() is not None

    def find(self, reference: VersionRef) -> Any:
        """Return MLflow's model version, ours or not.

        Raises:
            NotFound: when there is none.
            Unavailable: when MLflow does not answer.
        """
        from mlflow.exceptions import MlflowException

        try:
            if reference.alias is not None:
                return self.client.get_model_version_by_alias(reference.model, reference.alias)
            return self.client.get_model_version(reference.model, str(reference.number))
        except MlflowException as error:
            raise translate_refusal(reference, error) from None

    def search(
        self, model: str | None, tags: Mapping[str, str], *, page: str | None, size: int
    ) -> tuple[list[Any], str | None]:
        """Return one page of model versions, newest first, and the token of the next.

        Raises:
            InvalidInput: when a tag can't be searched for, or the page token is none.
        """
        from mlflow.exceptions import MlflowException

        parts = [f"name = '{_quotable(model, 'model')}'"] if model is not None else []
        parts += [f"tag.`{_quotable(key, 'tag')}` = '{_quotable(value, key)}'" for key, value in tags.items()]
        tables = self._open_tables()
        if tables is not None:
            return tables.search(model, tags, page=page, size=size)
        order = ["version_number DESC"] if model is not None else ["creation_timestamp DESC"]
        try:
            found = self.client.search_model_versions(
                " AND ".join(parts), max_results=size, order_by=order, page_token=page
            )
        except MlflowException as error:
            if error.error_code == "INVALID_PARAMETER_VALUE":
                raise InvalidInput(
                    f"tag or page: {error.message}", hint="search by tags: roost.state=champion"
                ) from None
            raise Unavailable("MLflow did not answer the search", hint="is the MLflow store there?") from None
        return list(found), found.token or None

    def find_by_run(self, model: str, run: str) -> VersionId | None:
        """Return the version of a model that was registered from a run, None when there is none."""
        found = self.client.search_model_versions(f"run_id = '{run}'", max_results=10)
        return next((VersionId(model, int(one.version)) for one in found if one.name == model), None)

    def alias_target(self, model: str, alias: str) -> VersionId | None:
        """Return where an alias points now, None for nowhere."""
        try:
            return VersionId(model, int(self.find(VersionRef(model, alias=alias)).version))
        except NotFound:
            return None

    def set_alias(self, version: VersionId, alias: str) -> None:
        """Point an alias at a version; MLflow's insert of a new alias can lose a race, so it is tried twice."""
        from mlflow.exceptions import MlflowException

        for last in (False, True):
            try:
                self.client.set_registered_model_alias(version.model, alias, str(version.number))
            except MlflowException as error:
                if last:
                    raise translate_refusal(VersionRef(version.model, number=version.number), error) from None
            else:
                return

    def delete_alias(self, model: str, alias: str) -> None:
        """Let an alias point nowhere."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.delete_registered_model_alias(model, alias)
        except MlflowException as error:
            raise translate_refusal(VersionRef(model, alias=alias), error) from None

    def aliases_of(self, version: VersionId) -> tuple[str, ...] | None:
        """Return the aliases of one of our versions; None when there is no such version, or it is foreign."""
        try:
            found = self.find(VersionRef(version.model, number=version.number))
        except NotFound:
            return None
        return tuple(found.aliases) if is_ours(found) else None

    def mark(self, version: VersionId, state: VersionState) -> None:
        """Write the lifecycle tags of a version, ours and MLflow's own ``validation_status``."""
        self.tag(version, {STATE_TAG: state.value, VALIDATION_TAG: VALIDATION[state]})

    def tag(self, version: VersionId, tags: Mapping[str, str]) -> None:
        """Set tags of a version, in order."""
        from mlflow.exceptions import MlflowException

        try:
            for key, value in tags.items():
                self.client.set_model_version_tag(version.model, str(version.number), key, value)
        except MlflowException as error:
            raise translate_refusal(VersionRef(version.model, number=version.number), error) from None

    def ensure_model(self, model: str) -> None:
        """Create a registered model unless there is one.

        MLflow's refusal to create what exists loads all its versions; so a version is looked for first.
        """
        from mlflow.exceptions import MlflowException

        if self.search(model, {}, page=None, size=1)[0]:
            return
        try:
            self.client.create_registered_model(model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def experiment(self) -> str:
        """Return the id of the experiment that holds our versions' runs."""
        found = self.client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        location = self.artifacts.resolve().as_uri()
        return str(self.client.create_experiment(EXPERIMENT, artifact_location=location))

    def locate(self, source: str) -> str:
        """Return the address of a version's files; ``models:/m-…`` is asked for, anything else is one already."""
        from mlflow.exceptions import MlflowException

        if not source.startswith("models:/m-"):
            return source
        try:
            return str(self.client.get_logged_model(source.removeprefix("models:/")).artifact_location)
        except MlflowException:
            raise NotFound(f"MLflow has no model at {source}", hint="was it deleted?") from None

    def bring(self, location: str) -> Path:
        """Return a local directory with the files at an address, downloaded if they are elsewhere."""
        local = local_path(location)
        if local is not None:
            return local
        from mlflow.artifacts import download_artifacts

        self._downloads.mkdir(parents=True, exist_ok=True)
        target = tempfile.mkdtemp(dir=self._downloads)
        return Path(download_artifacts(artifact_uri=location, dst_path=target, tracking_uri=self._uri))

    def run_location(self, run_id: str, path: str) -> str:
        """Return the address of a run's artefact.

        Raises:
            NotFound: when there is no such run.
            InvalidInput: when the path leaves the run.
        """
        from mlflow.exceptions import MlflowException

        if path.startswith("/") or ".." in Path(path).parts:
            raise InvalidInput(f"path: {path!r} leaves the run", hint="give a path below the run's artefacts")
        try:
            root = self.client.get_run(run_id).info.artifact_uri
        except MlflowException:
            raise NotFound(f"run {run_id!r} is not in MLflow", hint="copy its id from MLflow's page of runs") from None
        return f"{root}/{path}" if path else str(root)

    def _open_tables(self) -> MlflowTables | None:
        """Look for the tables until they are there: a new store has none before its first use."""
        if self._tables is None:
            self._tables = MlflowTables.open(self._uri)
        return self._tables


def local_path(location: str) -> Path | None:
    """Return the path of an address on this machine, links resolved; None for one elsewhere."""
    parsed = urlparse(location)
    if parsed.scheme not in {"", "file"}:
        return None
    if parsed.netloc not in {"", "localhost"}:
        raise IntegrityError(f"{location} names another machine", hint="register the version again")
    return Path(unquote(parsed.path)).resolve()


def _connect(tracking_uri: str) -> "MlflowClient":
    for name, value in QUIET_CLIENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


def _quotable(text: str, field: str) -> str:
    """MLflow's filters have no escape: a quote in one would end it."""
    if not text or any(sign in text for sign in "'\"`\\"):
        raise InvalidInput(f"{field}: {text!r} can't be searched for", hint="leave out quotes and backslashes")
    return text
