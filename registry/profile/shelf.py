"""Where profiles are kept: a run of their own in MLflow with metrics, the document and its attestation; a tag names it.

A version has one profile per device; profiling again puts the tag on the new one, and MLflow keeps the runs before.
"""

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from contracts.errors import IntegrityError, RoostError, Unavailable
from contracts.ids import VersionId, VersionRef
from contracts.wire.capacity import ServingPlan
from registry.catalogue import VersionState
from registry.mlflow_records import SERVING_TAG, read_record
from registry.profile.document import Profile

if TYPE_CHECKING:
    from registry.mlflow_store import MlflowStore

DOCUMENT: Final = "profile.json"
ATTESTATION: Final = "attestation.json"
TAG: Final = "roost.profile."


class ProfileShelf:
    """Profiles of versions, in the MLflow store of a catalogue."""

    def __init__(self, store: "MlflowStore") -> None:
        self._store = store

    def keep(self, profile: Profile, attestation: str = "") -> str:
        """Store a profile and return the id of its run; a version that was only registered becomes ``profiled``.

        The tag comes last: a failure leaves the version as it was.

        Raises:
            NotFound: when the version is gone.
            IntegrityError: when its content is not what was measured.
            Unavailable: when MLflow does not take it.
        """
        from mlflow.exceptions import MlflowException

        record = read_record(self._store.find(VersionRef(profile.version.model, number=profile.version.number)))
        if record.digest != profile.digest:
            raise IntegrityError(f"{profile.version} is not what was measured", hint="profile it again")
        text = profile.model_dump_json(indent=2)
        try:
            run = self._store.client.create_run(self._store.experiment(), run_name=f"profile {profile.version}")
            try:
                self._write(run.info.run_id, profile, {DOCUMENT: text, ATTESTATION: attestation})
            except BaseException:
                with suppress(Exception):
                    self._store.client.set_terminated(run.info.run_id, status="FAILED")
                raise
        except (OSError, MlflowException) as error:
            raise Unavailable(
                f"the profile of {profile.version} was not stored: {error}", hint="is there room?"
            ) from None
        run_id = str(run.info.run_id)
        device = profile.environment.device.partition(":")[0]
        plan = ServingPlan(limits=profile.limits, capacity=profile.capacity, cold_start_s=profile.loading.cold_s)
        # The profile's own tag comes last: without it there is no profile.
        self._store.tag(
            profile.version,
            {SERVING_TAG + device: plan.model_dump_json(), _tag(device): f"{run_id} {_digest(text)}"},
        )
        if record.state is VersionState.REGISTERED:
            self._store.mark(profile.version, VersionState.PROFILED)
        return run_id

    def read(self, version: VersionId, device: str = "cpu") -> Profile | None:
        """Return a version's profile on a kind of device (``cpu``, ``cuda``), None when it has none.

        Raises:
            NotFound: when there is no such version.
            IntegrityError: when the stored document was changed, or is of other content.
        """
        found = self._store.find(VersionRef(version.model, number=version.number))
        run_id, _, digest = found.tags.get(_tag(device), "").partition(" ")
        if not run_id:
            return None
        text = self._fetch(run_id, DOCUMENT)
        try:
            profile = Profile.model_validate_json(text)
        except ValidationError:
            profile = None
        if profile is None or _digest(text) != digest or profile.digest != read_record(found).digest:
            raise IntegrityError(f"the profile of {version} was changed in MLflow", hint="profile it again")
        return profile

    def attestation(self, version: VersionId, device: str = "cpu") -> str:
        """Return the signed attestation of the job that made a version's profile, '' when there is none."""
        found = self._store.find(VersionRef(version.model, number=version.number))
        run_id = found.tags.get(_tag(device), "").partition(" ")[0]
        return self._fetch(run_id, ATTESTATION) if run_id else ""

    def _write(self, run_id: str, profile: Profile, texts: dict[str, str]) -> None:
        client = self._store.client
        tags = {"roost.version": str(profile.version), "roost.device": profile.environment.describe()}
        for key, value in tags.items():
            client.set_tag(run_id, key, value)
        for name, number in profile.metrics().items():
            client.log_metric(run_id, name, number)
        for name, text in texts.items():
            if text:
                client.log_text(run_id, text, name)
        client.set_terminated(run_id)

    def _fetch(self, run_id: str, name: str) -> str:
        try:
            folder = self._store.bring(self._store.run_location(run_id, ""))
            return (Path(folder) / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""
        except (OSError, RoostError) as error:
            raise Unavailable(
                f"{name} of run {run_id} can't be read: {error}", hint="is the MLflow store there?"
            ) from None


def _tag(device: str) -> str:
    return TAG + device.partition(":")[0]


def _digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
