"""Two versions side by side: what differs in content, defaults and origin."""

from dataclasses import asdict, dataclass
from typing import Any, Protocol

from contracts.errors import NotFound
from contracts.ids import VersionId, VersionRef
from contracts.manifest import Manifest
from registry.catalogue import VersionRecord

LONGEST_LINE = 1000


class VersionSource(Protocol):
    """Where records and manifests come from."""

    def get(self, reference: VersionRef) -> VersionRecord:
        """Return a version's record."""
        ...

    def manifest(self, version: VersionId) -> Manifest:
        """Return what a version's files were when it was registered."""
        ...


@dataclass(frozen=True)
class Comparison:
    """What changes from ``one`` to ``other``.

    ``common_ancestor`` is the latest version that both descend from, or are; ``settings`` holds the generation
    defaults and lineage that differ, each with both values.
    """

    one: VersionRecord
    other: VersionRecord
    common_ancestor: VersionId | None
    changed: tuple[str, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    settings: dict[str, tuple[Any, Any]]

    @property
    def same_content(self) -> bool:
        """Whether both have the same bytes."""
        return self.one.digest == self.other.digest

    @property
    def growth_bytes(self) -> int:
        """How many bytes ``other`` is larger."""
        return self.other.size_bytes - self.one.size_bytes


def compare_versions(source: VersionSource, one: VersionRef, other: VersionRef) -> Comparison:
    """Compare two versions, of one model or of two.

    Raises:
        NotFound: when either is not registered.
    """
    records = source.get(one), source.get(other)
    before, after = (source.manifest(record.id).files for record in records)
    return Comparison(
        one=records[0],
        other=records[1],
        common_ancestor=_common_ancestor(source, *records),
        changed=tuple(sorted(path for path in before.keys() & after.keys() if before[path] != after[path])),
        added=tuple(sorted(after.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - after.keys())),
        settings=_differing(*map(_settings, records)),
    )


def trace_line(source: VersionSource, record: VersionRecord) -> list[VersionId]:
    """Return a version and its ancestors, the nearest first; the line ends where one is no longer registered."""
    line = [record.id]
    while record.parent is not None and record.parent not in line and len(line) < LONGEST_LINE:
        line.append(record.parent)
        try:
            record = source.get(VersionRef(record.parent.model, number=record.parent.number))
        except NotFound:
            break
    return line


def _common_ancestor(source: VersionSource, one: VersionRecord, other: VersionRecord) -> VersionId | None:
    theirs = set(trace_line(source, other))
    return next((version for version in trace_line(source, one) if version in theirs), None)


def _settings(record: VersionRecord) -> dict[str, Any]:
    return {**record.defaults.model_dump(), **asdict(record.lineage)}


def _differing(before: dict[str, Any], after: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}
