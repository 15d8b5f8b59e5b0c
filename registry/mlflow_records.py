"""How a version's record is written into MLflow's tags, and read back."""

import json
from dataclasses import fields
from typing import Any

from pydantic import ValidationError

from contracts.errors import IntegrityError, InvalidInput, NotFound, Unavailable
from contracts.ids import VersionId, VersionRef
from contracts.manifest import Manifest
from contracts.wire.capacity import ServingPlan
from contracts.wire.worker import FaultDrill, GenerationDefaults
from registry.catalogue import ForeignVersion, Lineage, Registration, VersionRecord, VersionState

DIGEST_TAG = "roost.digest"
STATE_TAG = "roost.state"
SERVING_TAG = "roost.serving."
PROOF_TAG = "roost.optimised"
REGISTRAR_TAG = "roost.registered_by"
VALIDATION_TAG = "validation_status"
VALIDATION = {
    VersionState.REGISTERED: "pending",
    VersionState.PROFILED: "pending",
    VersionState.CANDIDATE: "passed",
    VersionState.CANARY: "passed",
    VersionState.CHAMPION: "passed",
    VersionState.RETIRED: "passed",
    VersionState.ROLLED_BACK: "failed",
}
"""MLflow's own convention beside our state, for people who look there."""


def make_tags(registration: Registration, manifest: Manifest, run: str = "") -> dict[str, str]:
    """Return the tags of a new version, whose proof lies in ``run``; the digest comes last, it makes a version ours."""
    tags = {
        "roost.size_bytes": str(manifest.size_bytes),
        "roost.defaults": registration.defaults.model_dump_json(),
        STATE_TAG: VersionState.REGISTERED.value,
        VALIDATION_TAG: VALIDATION[VersionState.REGISTERED],
    }
    if registration.parent is not None:
        tags["roost.parent"] = str(registration.parent)
    if registration.faults != FaultDrill():
        tags["roost.faults"] = registration.faults.model_dump_json()
    if registration.registered_by:
        tags[REGISTRAR_TAG] = json.dumps(registration.registered_by)
    if registration.proof is not None:
        tags[PROOF_TAG] = run
    for part in fields(Lineage):
        if text := getattr(registration.lineage, part.name):
            tags[f"roost.{part.name}"] = text
    return tags | {DIGEST_TAG: manifest.digest}


def is_ours(version: Any) -> bool:
    """Tell whether an MLflow model version was registered by Roost."""
    return DIGEST_TAG in version.tags


def read_record(version: Any) -> VersionRecord:
    """Read an MLflow model version that is ours.

    Raises:
        IntegrityError: when somebody edited its tags so that they can't be read.
    """
    tags = version.tags
    try:
        return VersionRecord(
            id=VersionId(version.name, int(version.version)),
            digest=tags[DIGEST_TAG],
            size_bytes=int(tags["roost.size_bytes"]),
            created_s=version.creation_timestamp / 1000,
            description=version.description or "",
            parent=VersionId.parse(tags["roost.parent"]) if "roost.parent" in tags else None,
            defaults=GenerationDefaults.model_validate_json(tags["roost.defaults"]),
            faults=FaultDrill.model_validate_json(tags.get("roost.faults", "{}")),
            aliases=tuple(sorted(version.aliases)),
            lineage=Lineage(**{part.name: tags.get(f"roost.{part.name}", "") for part in fields(Lineage)}),
            state=VersionState(tags[STATE_TAG]),
            serving={
                key.removeprefix(SERVING_TAG): ServingPlan.model_validate_json(text)
                for key, text in tags.items()
                if key.startswith(SERVING_TAG)
            },
            registered_by=tuple(map(str, json.loads(tags.get(REGISTRAR_TAG, "[]")))),
        )
    except (KeyError, TypeError, ValueError, ValidationError, InvalidInput):
        raise IntegrityError(
            f"the tags of {version.name}@{version.version} were edited and can't be read",
            hint="restore its roost.* tags in MLflow, or register the version again",
        ) from None


def read_foreign(version: Any) -> ForeignVersion:
    """Read an MLflow model version that is somebody else's."""
    return ForeignVersion(
        id=VersionId(version.name, int(version.version)),
        created_s=version.creation_timestamp / 1000,
        source=version.source or "",
        aliases=tuple(sorted(version.aliases)),
    )


def translate_refusal(reference: VersionRef, error: Exception) -> NotFound | Unavailable:
    """Return MLflow's error about a version as ours."""
    code = getattr(error, "error_code", "")
    if code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
        return NotFound(f"{reference} is not registered", hint=f"roost model list {reference.model}")
    return Unavailable(f"MLflow did not answer for {reference}: {code or error}", hint="is the MLflow store there?")
