"""The catalogue port: versions, their content and their aliases, whatever engine keeps them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from contracts.ids import VersionId, VersionRef
from contracts.wire.capacity import ServingPlan
from contracts.wire.worker import FaultDrill, GenerationDefaults


class VersionState(StrEnum):
    """How far a version is in its life; kept in MLflow as the tag ``roost.state``."""

    REGISTERED = "registered"
    PROFILED = "profiled"
    CANDIDATE = "candidate"
    CANARY = "canary"
    CHAMPION = "champion"
    RETIRED = "retired"
    ROLLED_BACK = "rolled_back"


@dataclass(frozen=True)
class Lineage:
    """What a version was made from, beside its parent; empty where nobody told.

    ``recipe`` made it from its parent; ``base_model`` and ``data`` name what it was trained from; ``run`` is an
    MLflow run; ``code_revision`` the revision of the training code. ``limitations`` says what it is not good for.
    """

    recipe: str = ""
    base_model: str = ""
    data: str = ""
    run: str = ""
    code_revision: str = ""
    licence: str = ""
    limitations: str = ""


@dataclass(frozen=True)
class VersionRecord:
    """One registered version.

    ``digest`` identifies its content; ``defaults`` is how it draws when a request doesn't say; ``faults`` is empty
    but for versions made for drills; ``aliases`` are those that point at it now. ``serving`` is what its profiles
    found, by the kind of device (``cpu``, ``cuda``). ``registered_by`` are the names of whoever registered it.
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
    lineage: Lineage = field(default_factory=Lineage)
    state: VersionState = VersionState.REGISTERED
    serving: dict[str, ServingPlan] = field(default_factory=dict, hash=False)
    registered_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Proof:
    """What a job knows of the content that it made, by its ``digest``: report, numbers and its signed attestation."""

    digest: str
    report: Mapping[str, Any]
    metrics: Mapping[str, float]
    attestation: str


@dataclass(frozen=True)
class Registration:
    """What is told about a directory when it becomes a version; the version and its proof are there at once.

    ``registered_by`` are the names under which one person is known: of their token, and the one that they gave.
    """

    directory: Path
    description: str = ""
    parent: VersionId | None = None
    defaults: GenerationDefaults = field(default_factory=GenerationDefaults)
    faults: FaultDrill = field(default_factory=FaultDrill)
    lineage: Lineage = field(default_factory=Lineage)
    proof: Proof | None = None
    registered_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class ForeignVersion:
    """A version that somebody else registered in the same MLflow: listed, never changed."""

    id: VersionId
    created_s: float
    source: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class VersionPage:
    """One page of a search, newest first; ``next_page`` is what the next call is to be given, None at the end."""

    versions: tuple[VersionRecord, ...]
    foreign: tuple[ForeignVersion, ...]
    next_page: str | None


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

    def move_alias(self, version: VersionId, alias: str, *, actor: str, reason: str) -> VersionId | None:
        """Point an alias at a version, check that it took, record who and why, and return where it pointed before."""
        ...
