"""A catalogue without a store, for tests: versions by number, aliases in a dictionary."""

from dataclasses import replace
from pathlib import Path

from contracts.errors import NotFound
from contracts.ids import VersionId, VersionRef, parse_alias
from registry.catalogue import Registration, VersionRecord


class FakeCatalogue:
    """Registers anything; the digest is that of no bytes, and ``fetch`` returns the directory as registered."""

    def __init__(self) -> None:
        self.aliases: dict[tuple[str, str], VersionId] = {}
        self.moves: list[tuple[VersionId, str, str, str]] = []
        self._records: dict[VersionId, VersionRecord] = {}
        self._directories: dict[VersionId, Path] = {}

    def register(self, model: str, registration: Registration) -> VersionRecord:
        """Give the next version of ``model`` its number."""
        version = VersionId(model, 1 + sum(known.model == model for known in self._records))
        record = VersionRecord(
            id=version,
            digest=f"sha256:{version.number:064x}",
            size_bytes=0,
            created_s=0.0,
            description=registration.description,
            parent=registration.parent,
            defaults=registration.defaults,
            faults=registration.faults,
            registered_by=registration.registered_by,
        )
        self._records[version], self._directories[version] = record, registration.directory
        return record

    def get(self, reference: VersionRef) -> VersionRecord:
        """Return a version by number or alias."""
        version = (
            self.aliases.get((reference.model, reference.alias))
            if reference.alias is not None
            else VersionId(reference.model, reference.number or 0)
        )
        if version not in self._records:
            raise NotFound(f"{reference} is not registered", hint="register it first")
        pointing = tuple(sorted(alias for (_, alias), target in self.aliases.items() if target == version))
        return replace(self._records[version], aliases=pointing)

    def list_versions(self, model: str) -> list[VersionRecord]:
        """Return a model's versions, newest first."""
        found = [self.get(VersionRef(model, number=v.number)) for v in self._records if v.model == model]
        if not found:
            raise NotFound(f"no versions of {model!r} are registered", hint="register one first")
        return sorted(found, key=lambda record: -record.id.number)

    def fetch(self, version: VersionId) -> Path:
        """Return the directory that was registered."""
        self.get(VersionRef(version.model, number=version.number))
        return self._directories[version]

    def move_alias(self, version: VersionId, alias: str, *, actor: str, reason: str) -> VersionId | None:
        """Point an alias at a version; ``moves`` remembers who asked and why."""
        self.get(VersionRef(version.model, number=version.number))
        key = (version.model, parse_alias(alias))
        before = self.aliases.get(key)
        self.aliases[key] = version
        self.moves.append((version, key[1], actor, reason))
        return before
