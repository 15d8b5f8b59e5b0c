"""Attestations: what made some content, from what, on what, as a signed in-toto provenance statement.

They are about content, by its digest: a version is attested before it has a number.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec

from contracts.errors import IntegrityError, InvalidInput
from contracts.manifest import DIGEST
from registry.catalogue import VersionRecord
from registry.provenance.dsse import make_statement, open_statement, sign_statement

PREDICATE_TYPE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE: Final = "https://roost.invalid/job/v1"
"""Names the kind of job; nothing is to be found at that address."""


@dataclass(frozen=True)
class Job:
    """What a job did: the recipe and its parameters, its inputs by digest (``sha256:…``), where and when it ran.

    ``device`` describes the machine in words; times are seconds since 1970.
    """

    id: str
    recipe: str
    inputs: dict[str, str]
    code_version: str
    device: str
    started_s: float
    ended_s: float
    parameters: dict[str, Any] = field(default_factory=dict)


def attest(job: Job, model: str, digest: str, key: ec.EllipticCurvePrivateKey) -> str:
    """Return the signed bundle (JSON) that says how content of a model, with this digest, was made or measured.

    Raises:
        InvalidInput: when an input has no digest, or the job ended before it began.
    """
    for name, known in (job.inputs | {model: digest}).items():
        if not DIGEST.fullmatch(known):
            raise InvalidInput(f"inputs.{name}: {known!r} is not a digest", hint="write sha256: and 64 hex digits")
    if job.ended_s < job.started_s:
        raise InvalidInput("ended_s: the job ended before it began", hint="give both in seconds since 1970")
    subject = (model, digest.removeprefix("sha256:"))
    return sign_statement(make_statement([subject], PREDICATE_TYPE, _predicate(job)), key)


def verify_attestation(bundle: str, made: VersionRecord, keys: Sequence[ec.EllipticCurvePublicKey]) -> Job:
    """Return the job that a signed attestation tells of, when it is about this version's content.

    Raises:
        IntegrityError: when none of ``keys`` signed it, or it is about something else.
    """
    statement, _ = open_statement(bundle, keys)
    subject = [{"name": made.id.model, "digest": {"sha256": made.digest.removeprefix("sha256:")}}]
    if statement.get("predicateType") != PREDICATE_TYPE or statement.get("subject") != subject:
        raise IntegrityError(f"the attestation is not about {made.id}", hint="is it that of another version?")
    try:
        return _read_job(statement["predicate"])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise IntegrityError("the attestation does not tell of a job of ours", hint="who made it?") from None


def _predicate(job: Job) -> dict[str, Any]:
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {"recipe": job.recipe, "parameters": job.parameters},
            "internalParameters": {"device": job.device},
            "resolvedDependencies": [
                {"name": name, "digest": {"sha256": digest.removeprefix("sha256:")}}
                for name, digest in sorted(job.inputs.items())
            ],
        },
        "runDetails": {
            "builder": {"id": "roost", "version": {"roost": job.code_version}},
            "metadata": {
                "invocationId": job.id,
                "startedOn": _to_text(job.started_s),
                "finishedOn": _to_text(job.ended_s),
            },
        },
    }


def _read_job(predicate: dict[str, Any]) -> Job:
    definition, details = predicate["buildDefinition"], predicate["runDetails"]
    if definition["buildType"] != BUILD_TYPE:
        raise ValueError("another kind of job")
    return Job(
        id=details["metadata"]["invocationId"],
        recipe=definition["externalParameters"]["recipe"],
        parameters=definition["externalParameters"]["parameters"],
        inputs={row["name"]: f"sha256:{row['digest']['sha256']}" for row in definition["resolvedDependencies"]},
        code_version=details["builder"]["version"]["roost"],
        device=definition["internalParameters"]["device"],
        started_s=_from_text(details["metadata"]["startedOn"]),
        ended_s=_from_text(details["metadata"]["finishedOn"]),
    )


def _to_text(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _from_text(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
