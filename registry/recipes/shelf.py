"""How a version was made: the report and the attestation in its own run of MLflow, there before the version is."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from contracts.errors import NotFound, RoostError, Unavailable
from contracts.ids import VersionId, VersionRef
from registry.catalogue import Proof
from registry.mlflow_records import PROOF_TAG

if TYPE_CHECKING:
    from registry.mlflow_store import MlflowStore

REPORT: Final = "optimise.json"
ATTESTATION: Final = "attestation.json"


class RecipeShelf:
    """Proofs of optimised versions, in the MLflow store of a catalogue."""

    def __init__(self, store: "MlflowStore") -> None:
        self._store = store

    def write(self, run_id: str, proof: Proof) -> None:
        """Put a proof into the run of the version that is about to be."""
        client = self._store.client
        client.log_text(run_id, json.dumps(dict(proof.report), indent=2), REPORT)
        client.log_text(run_id, proof.attestation, ATTESTATION)
        for name, number in proof.metrics.items():
            client.log_metric(run_id, name, number)

    def read(self, version: VersionId) -> tuple[dict[str, Any], str]:
        """Return a version's report and its signed attestation.

        Raises:
            NotFound: when it was not made by a recipe here.
            Unavailable: when they can't be read.
        """
        run_id = self._store.find(VersionRef(version.model, number=version.number)).tags.get(PROOF_TAG, "")
        if not run_id:
            raise NotFound(f"{version} was not made by a recipe here", hint="roost model optimize makes one")
        try:
            folder = Path(self._store.bring(self._store.run_location(run_id, "")))
            report: Mapping[str, Any] = json.loads((folder / REPORT).read_text())
            return {**report, "version": str(version)}, (folder / ATTESTATION).read_text()
        except (OSError, ValueError, RoostError) as error:
            raise Unavailable(f"run {run_id} can't be read: {error}", hint="is the MLflow store there?") from None
