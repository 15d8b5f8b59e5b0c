"""The catalogue on MLflow: a SQLite store and a folder by default, any MLflow server by its address.

Foreign versions of the same registered model are left alone: only versions with a ``roost.digest`` tag are ours.
"""

import errno
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.errors import IntegrityError, InvalidInput, NotFound, Unavailable
from contracts.ids import CHALLENGER, CHAMPION, PREVIOUS, VersionId, VersionRef, parse_name
from contracts.manifest import Manifest, ManifestFolder, make_manifest, verify_manifest
from registry.aliases import AliasDesk
from registry.catalogue import Registration, VersionPage, VersionRecord, VersionState
from registry.journal import Journal
from registry.mlflow_records import is_ours, make_tags, read_foreign, read_record
from registry.mlflow_store import MlflowStore, local_path
from registry.pending import Pending, PendingFolder
from registry.profile.shelf import ProfileShelf
from registry.provenance.signing import SignatureFolder
from registry.recipes.shelf import RecipeShelf
from registry.safety.findings import Finding
from registry.safety.inspection import inspect, require_safe

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

CONTENT = "content"
MANIFEST_BESIDE = "manifest.json"
PAGE = 1000
WELL_KNOWN_ALIASES = (CHAMPION, CHALLENGER, PREVIOUS, "candidate")


class MlflowCatalogue:
    """A catalogue whose versions are MLflow model versions, each with a run that holds its files.

    ``manifests`` is our own folder: MLflow keeps bytes and tags, we keep what the bytes were when they came. The
    journal and the signatures lie beside it. With ``trusted_keys`` only versions signed by one of them are handed out.
    """

    def __init__(
        self,
        tracking_uri: str,
        *,
        artifacts: Path,
        manifests: Path,
        trusted_keys: "tuple[EllipticCurvePublicKey, ...]" = (),
    ) -> None:
        self._store = MlflowStore(tracking_uri, artifacts=artifacts, downloads=manifests.parent / "downloads")
        self._manifests = ManifestFolder(manifests)
        self._trusted_keys = trusted_keys
        self.signatures = SignatureFolder(manifests.parent / "signatures")
        self.journal = Journal(manifests.parent / "registry.db")
        self.aliases = AliasDesk(self._store, self.journal)
        self.profiles = ProfileShelf(self._store)
        self.optimisations = RecipeShelf(self._store)
        self._pending = PendingFolder(manifests.parent / "pending")

    def register(self, model: str, registration: Registration) -> VersionRecord:
        """Copy a directory into MLflow as the next version of ``model``; a failure leaves no version behind.

        A proof is written before the version exists: no version is ever there without it.

        Raises:
            InvalidInput: when the directory holds what can't be a model's files.
            IntegrityError: when they are not what the proof is about, or change while they are copied.
            NotPermitted: when it holds code, or formats that run code, and nobody waived that.
            Unavailable: when there is no room, or MLflow does not answer.
        """
        parse_name(model, "model")
        manifest = make_manifest(registration.directory)
        if registration.proof is not None and registration.proof.digest != manifest.digest:
            raise IntegrityError(
                f"{registration.directory.name} is not what was proved: {manifest.digest}", hint="make it again"
            )
        require_safe(registration.directory, manifest.digest, self.journal)
        with _told_plainly(model):
            self.settle()
            self._manifests.keep(manifest)
            run = self._store.client.create_run(self._store.experiment(), run_name=f"register {model}")
            pending = Pending(run.info.run_id, model, manifest.digest, f"{run.info.artifact_uri}/{CONTENT}")
            try:
                with self._pending.hold(pending):
                    self._copy(pending, registration, manifest)
                    version = self._create(pending, registration, manifest)
            except BaseException:
                # What can't be taken away now, on a full disk say, stays on record for the next.
                with suppress(Exception):
                    self.settle()
                raise
        return self.get(VersionRef(model, number=version.number))

    def settle(self) -> None:
        """End the registrations that were cut off: a version that exists is pinned, files without one are removed.

        Raises:
            Unavailable: when there is no room, or MLflow does not answer.
        """
        with _told_plainly("a registration that was cut off"):
            self._pending.settle(self._end)

    def adopt(self, version: VersionId, *, registered_by: tuple[str, ...] = ()) -> VersionRecord:
        """Make a version that somebody registered in MLflow ours, where it is, if it passes the same inspection.

        Raises:
            NotFound: when there is no such version.
            NotPermitted, InvalidInput: as ``register``.
        """
        found = self._store.find(VersionRef(version.model, number=version.number))
        if not is_ours(found):
            location = self._store.locate(found.source)
            directory = self._store.bring(location)
            manifest = make_manifest(directory)
            require_safe(directory, manifest.digest, self.journal)
            with _told_plainly(version.model):
                self._manifests.keep(manifest)
                self.journal.pin(version, manifest.digest, location)
                self._store.tag(version, make_tags(Registration(directory, registered_by=registered_by), manifest))
        return self.get(VersionRef(version.model, number=version.number))

    def run_directory(self, run: str, path: str = "") -> Path:
        """Return a local directory with an artefact of an MLflow run, to be registered from there."""
        return self._store.bring(self._store.run_location(run, path))

    def get(self, reference: VersionRef) -> VersionRecord:
        """Return the version that a number or an alias names.

        Raises:
            NotFound: when there is none, or it was not registered by Roost.
        """
        found = self._store.find(reference)
        if not is_ours(found):
            raise NotFound(
                f"{reference} is in MLflow but was not registered here",
                hint=f"adopt it: roost model register {found.name} --adopt {found.version}",
            )
        return read_record(found)

    def list_versions(self, model: str) -> list[VersionRecord]:
        """Return all our versions of a model, newest first.

        Raises:
            NotFound: when the model has none.
        """
        parse_name(model, "model")
        records: list[VersionRecord] = []
        page: str | None = None
        while True:
            found = self.search(model, page=page, size=PAGE)
            records += found.versions
            page = found.next_page
            if page is None:
                break
        if not records:
            raise NotFound(f"no versions of {model!r} are registered", hint="roost model register MODEL DIRECTORY")
        return records

    def search(
        self,
        model: str | None = None,
        tags: Mapping[str, str] | None = None,
        *,
        page: str | None = None,
        size: int = 100,
    ) -> VersionPage:
        """Return one page of versions, of a model or of all, that carry the given tags; foreign ones apart.

        Raises:
            InvalidInput: when ``size`` is not from 1 to 1000, or a tag can't be searched for.
        """
        if not 1 <= size <= PAGE:
            raise InvalidInput(f"size: a page can't hold {size} versions", hint=f"give a number from 1 to {PAGE}")
        found, following = self._store.search(model, tags or {}, page=page, size=size)
        if not self._store.tells_aliases:
            aliases = {name: self._aliases_by_number(name) for name in {version.name for version in found}}
            for version in found:
                version.aliases = aliases[version.name].get(int(version.version), [])
        return VersionPage(
            versions=tuple(read_record(version) for version in found if is_ours(version)),
            foreign=tuple(read_foreign(version) for version in found if not is_ours(version)),
            next_page=following,
        )

    def manifest(self, version: VersionId) -> Manifest:
        """Return what a version's files were when it was registered.

        Raises:
            IntegrityError: when its manifest or its digest was changed.
        """
        record = self.get(VersionRef(version.model, number=version.number))
        pin = self.journal.find_pin(version)
        if pin is None:
            self.settle()
            pin = self.journal.find_pin(version)
        if pin is not None and pin.digest != record.digest:
            raise IntegrityError(
                f"the digest of {version} was changed in MLflow: {record.digest}, registered as {pin.digest}",
                hint=f"set its tag roost.digest back to {pin.digest}",
            )
        return self._manifests.read(record.digest)

    def fetch(self, version: VersionId) -> Path:
        """Return the version's directory, every byte compared with its manifest just now, then inspected.

        Raises:
            IntegrityError: when the bytes, or the manifest itself, are not what was registered, or when trusted keys
                were given and none of them signed it.
            NotPermitted: when it holds what the rules refuse and nobody waived.
        """
        manifest = self.manifest(version)
        if self._trusted_keys:
            self.signatures.require(manifest, self._trusted_keys)
        directory = self._directory(version)
        verify_manifest(directory, manifest)
        require_safe(directory, manifest.digest, self.journal)
        return directory

    def inspect(self, version: VersionId) -> list[Finding]:
        """Return all that the rules refuse in a version, waived or not, every byte compared with its manifest first.

        Raises:
            IntegrityError: when the bytes, or the manifest itself, are not what was registered.
        """
        manifest = self.manifest(version)
        directory = self._directory(version)
        verify_manifest(directory, manifest)
        return inspect(directory)

    def move_alias(self, version: VersionId, alias: str, *, actor: str, reason: str) -> VersionId | None:
        """Point ``alias`` at ``version`` and return where it pointed before; see ``AliasDesk.move``.

        Raises:
            NotFound, Conflict, Unavailable: as there.
        """
        return self.aliases.move(version, alias, actor=actor, reason=reason)

    def mark(self, version: VersionId, state: VersionState) -> None:
        """Write down how far a version is in its life, for people who look into MLflow."""
        self.get(VersionRef(version.model, number=version.number))
        self._store.mark(version, state)

    def _aliases_by_number(self, model: str) -> dict[int, list[str]]:
        """Ask for each alias by its name: MLflow's search leaves them out, and its model record loads all versions."""
        pointing: dict[int, list[str]] = {}
        for alias in {*WELL_KNOWN_ALIASES, *self.journal.aliases(model)}:
            target = self._store.alias_target(model, alias)
            if target is not None:
                pointing.setdefault(target.number, []).append(alias)
        return pointing

    def _directory(self, version: VersionId) -> Path:
        """Where we wrote that the bytes lie; MLflow's word counts only inside our own artefact folder."""
        pin = self.journal.find_pin(version)
        if pin is not None:
            return self._store.bring(pin.location)
        location = self._store.locate(self._store.find(VersionRef(version.model, number=version.number)).source)
        local = local_path(location)
        if local is not None and not local.is_relative_to(self._store.artifacts.resolve()):
            raise IntegrityError(f"{location} lies outside the artefact folder", hint="register the version again")
        return self._store.bring(location)

    def _end(self, pending: Pending) -> None:
        version = self._store.find_by_run(pending.model, pending.run)
        if version is not None:
            self.journal.pin(version, pending.digest, pending.location)
            return
        files = local_path(pending.location)
        if files is not None and files.is_relative_to(self._store.artifacts.resolve()):
            shutil.rmtree(files.parent, ignore_errors=True)
        self._store.client.set_terminated(pending.run, status="FAILED")

    def _copy(self, pending: Pending, registration: Registration, manifest: Manifest) -> None:
        """Copy the files, see that the copy is what was hashed, and put the proof beside them."""
        client = self._store.client
        client.log_artifacts(pending.run, str(registration.directory), CONTENT)
        client.log_text(pending.run, manifest.to_json(), MANIFEST_BESIDE)
        copy = local_path(pending.location)
        if copy is not None:
            verify_manifest(copy, manifest)
        if registration.proof is not None:
            self.optimisations.write(pending.run, registration.proof)
        client.set_terminated(pending.run)

    def _create(self, pending: Pending, registration: Registration, manifest: Manifest) -> VersionId:
        """Create the version with all its tags at once: this is the moment from which it exists."""
        self._store.ensure_model(pending.model)
        created = self._store.client.create_model_version(
            name=pending.model,
            source=pending.location,
            run_id=pending.run,
            tags=make_tags(registration, manifest, pending.run),
            description=registration.description,
        )
        version = VersionId(pending.model, int(created.version))
        try:
            self.journal.pin(version, manifest.digest, pending.location)
        except BaseException:
            self._store.client.delete_model_version(version.model, str(version.number))
            raise
        return version


@contextmanager
def _told_plainly(model: str) -> Iterator[None]:
    """Turn a full disk, and an MLflow that does not answer, into errors that say what was not done."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (OSError, MlflowException) as error:
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error) or "is full" in str(error)
        raise Unavailable(
            f"{model}: nothing was registered, " + ("the disk is full" if full else str(error)),
            hint="make room and register again" if full else "is the MLflow store there?",
        ) from error
