"""The fleet port: say what should run, see what does."""

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Protocol, Self

from pydantic import Field, model_validator

from contracts.ids import VersionId
from contracts.model import Frozen
from contracts.units import Duration
from contracts.wire.routing import Endpoint
from contracts.wire.worker import WorkerHealth, WorkerSpec, WorkerState


class Tier(StrEnum):
    """How warm a placement is kept: always; until nobody has asked it for a while; or not at all, only announced."""

    ALWAYS = "always"
    TTL = "ttl"
    COLD = "cold"


class Placement(Frozen):
    """One version that should run: how it is started, in how many replicas, and how warm they are kept.

    ``ttl_s``, of the tier of that name, counts from when it was placed or last asked.
    """

    spec: WorkerSpec
    replicas: Annotated[int, Field(ge=1, le=256)] = 1
    tier: Tier = Tier.ALWAYS
    ttl_s: Annotated[Duration, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _ttl_belongs_to_its_tier(self) -> Self:
        if (self.ttl_s is None) == (self.tier is Tier.TTL):
            raise ValueError("ttl_s is given with the tier ttl, and only with it")
        return self


class ReplicaState(StrEnum):
    """How far a replica is; ``failed`` ones are started again, later each time."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Replica:
    """One worker process as its supervisor last saw it. ``restarts`` counts how often it had to be started again.

    ``process`` tells this very process from the next one of the same name; "" while there is none that is ready.
    """

    version: VersionId
    name: str
    state: ReplicaState
    endpoint: Endpoint | None = None
    health: WorkerHealth | None = None
    restarts: int = 0
    message: str = ""
    process: str = ""


@dataclass(frozen=True)
class FleetState:
    """What should run and what does. ``cold_start_s`` is how long the last start of each content took, by digest."""

    placements: tuple[Placement, ...] = ()
    replicas: tuple[Replica, ...] = ()
    cold_start_s: dict[str, float] = field(default_factory=dict)
    asleep: frozenset[VersionId] = frozenset()
    """Versions that are placed but not running: cold ones, and those nobody asked for so long."""

    def placement(self, version: VersionId) -> Placement | None:
        """Return how a version is placed, None when it isn't."""
        return self._placed.get(version)

    def endpoints(self, version: VersionId) -> tuple[Endpoint, ...]:
        """Return where a version's ready replicas listen; those being drained are not among them."""
        return self._listening.get(version, ())

    def health(self, version: VersionId) -> WorkerHealth | None:
        """Return the best that any of a version's replicas is; None when it is not placed, or asleep."""
        placed = self.placement(version)
        if placed is None or version in self.asleep:
            return None
        mine = [r for r in self._running.get(version, ()) if r.state is not ReplicaState.DRAINING]
        for replica in mine:
            if replica.state is ReplicaState.READY and replica.health is not None:
                return replica.health
        failed = next((replica for replica in mine if replica.state is ReplicaState.FAILED), None)
        state = WorkerState.LOADING if failed is None else WorkerState.FAILED
        message = failed.message if failed is not None else next((r.message for r in mine if r.message), "")
        return WorkerHealth(state=state, version=version, digest=placed.spec.digest, message=message)

    @cached_property
    def _placed(self) -> dict[VersionId, Placement]:
        return {placed.spec.version: placed for placed in reversed(self.placements)}

    @cached_property
    def _listening(self) -> dict[VersionId, tuple[Endpoint, ...]]:
        found: dict[VersionId, tuple[Endpoint, ...]] = {}
        for replica in self.replicas:
            if replica.state is ReplicaState.READY and replica.endpoint is not None:
                found[replica.version] = (*found.get(replica.version, ()), replica.endpoint)
        return found

    @cached_property
    def _running(self) -> dict[VersionId, list[Replica]]:
        found: dict[VersionId, list[Replica]] = {}
        for replica in self.replicas:
            found.setdefault(replica.version, []).append(replica)
        return found


class Fleet(Protocol):
    """All workers of all versions, wherever they run."""

    def apply(self, placements: tuple[Placement, ...]) -> None:
        """Make this and nothing else run: start what is missing, drain and stop what is not named. Returns at once."""
        ...

    def observe(self) -> FleetState:
        """Return what should run and what does, without asking anybody."""
        ...

    def drain(self, processes: frozenset[str]) -> None:
        """Replace these worker processes and no others: each takes no new request once another can, and then ends.

        One that nothing can take the place of serves on until something can. Returns at once.
        """
        ...

    def close(self) -> None:
        """Let go of the fleet."""
        ...


def place(fleet: Fleet, placement: Placement) -> None:
    """Add a version to what should run, or change how it is placed."""
    others = tuple(p for p in fleet.observe().placements if p.spec.version != placement.spec.version)
    fleet.apply((*others, placement))


def withdraw(fleet: Fleet, version: VersionId) -> None:
    """Take a version out of what should run."""
    fleet.apply(tuple(placed for placed in fleet.observe().placements if placed.spec.version != version))
