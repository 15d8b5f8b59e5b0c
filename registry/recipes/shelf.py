"""Where it is kept how a version was made: a run of its own in MLflow with metrics, the report and its attestation."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from contracts.errors import NotFound, RoostError, Unavailable
from contracts.ids import VersionId, VersionRef
from registry.catalogue import VersionRecord

if TYPE_CHECKING:
    from registry.mlflow_store import MlflowStore

REPORT: Final = "optimise.json"
ATTESTATION: Final = "attestation.json"
TAG: Final = "roost.optimised"


class RecipeShelf:
    """Reports of optimised versions, in the MLflow store of a catalogue."""

    def __init__(self, store: "MlflowStore") -> None:
        self._store = store

    def keep(
        self, version: VersionRecord, report: Mapping[str, Any], metrics: Mapping[str, float], attestation: str
    ) -> str:
        """Store how a version was made and return the id of the run; the tag that names it comes last.

        Raises:
            Unavailable: when MLflow does not take it.
        """
        from mlflow.exceptions import MlflowException

        client = self._store.client
        try:
            run_id = str(client.create_run(self._store.experiment(), run_name=f"optimise {version.id}").info.run_id)
            try:
                client.set_tag(run_id, "roost.version", str(version.id))
                for name, number in metrics.items():
                    client.log_metric(run_id, name, number)
                client.log_text(run_id, json.dumps(report, indent=2), REPORT)
                client.log_text(run_id, attestation, ATTESTATION)
                client.set_terminated(run_id)
            except BaseException:
                with suppress(Exception):
                    client.set_terminated(run_id, status="FAILED")
                raise
        except (OSError, MlflowException) as error:
            raise Unavailable(f"how {version.id} was made was not stored: {error}", hint="is there room?") from None
        self._store.tag(version.id, {TAG: run_id})
        return run_id

    def read(self, version: VersionId) -> tuple[dict[str, Any], str]:
        """Return a version's report and its signed attestation.

        Raises:
            NotFound: when it was not made by a recipe here.
            Unavailable: when they can't be read.
        """
        run_id = self._store.find(VersionRef(version.model, number=version.number)).tags.get(TAG, "")
        if not run_id:
            raise NotFound(f"{version} was not made by a recipe here", hint="roost model optimize makes one")
        try:
            folder = Path(self._store.bring(self._store.run_location(run_id, "")))
            return json.loads((folder / REPORT).read_text()), (folder / ATTESTATION).read_text()
        except (OSError, ValueError, RoostError) as error:
            raise Unavailable(f"run {run_id} can't be read: {error}", hint="is the MLflow store there?") from None
