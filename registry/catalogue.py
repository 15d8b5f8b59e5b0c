"""The catalogue port: versions, their content and their aliases, whatever engine keeps them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from contracts.ids import VersionId, VersionRef
from contracts.wire.worker import FaultDrill, GenerationDefaults


@dataclass(frozen=True)
class VersionRecord:
    """One registered version.

    ``digest`` identifies its content; ``defaults`` is how it draws when a request doesn't say; ``faults`` is empty
    but for versions made for drills; ``aliases`` are those that point at it now.
    """

    id: VersionId
    digest: str
    size_bytes: int
    created_s: float
    description: str = ""
    parent: VersionId | None = None
    defaults: GenerationDefaults = field(default_factory=GenerationDefaults)
    faults: FaultDrill = field(default_factory=FaultDrill)
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Registration:
    """What is told about a directory when it becomes a version."""

    directory: Path
    description: str = ""
    parent: VersionId | None = None
    defaults: GenerationDefaults = field(default_factory=GenerationDefaults)
    faults: FaultDrill = field(default_factory=FaultDrill)


class Catalogue(Protocol):
    """Registers versions, finds them, hands out their verified bytes, and moves aliases."""

    def register(self, model: str, registration: Registration) -> VersionRecord:
        """Copy a directory into the registry as the next version of ``model``; all or nothing."""
        ...

    def get(self, reference: VersionRef) -> VersionRecord:
        """Return the version that a number or an alias names; ``NotFound`` otherwise."""
        ...

    def list_versions(self, model: str) -> list[VersionRecord]:
        """Return the versions of a model, newest first; ``NotFound`` when there is no such model."""
        ...

    def fetch(self, version: VersionId) -> Path:
        """Return a local directory with the version's bytes, verified against its digest just now."""
        ...

    def move_alias(self, version: VersionId, alias: str) -> VersionId | None:
        """Point an alias at a version, check that it took, and return where it pointed before."""
        ...
