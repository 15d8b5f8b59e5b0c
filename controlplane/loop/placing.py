"""Placing: which versions run in how many workers, and whether their warm-up prompts are drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from contracts.errors import RoostError, Unavailable
from contracts.ids import VersionId
from contracts.records import record
from contracts.wire.capacity import WorkerLimits
from contracts.wire.routing import Endpoint
from contracts.wire.worker import WorkerSpec, WorkerState
from controlplane.loop.chores import Chores
from controlplane.loop.effects import warm_replica, worker_spec
from registry.catalogue import Catalogue
from rollout.actions import ActionKind, FailedEffect
from serving.fleet.port import Fleet, FleetState, Placement


@dataclass(frozen=True, slots=True)
class Prepared:
    """How a worker of a version is started, its bytes verified."""

    worker: WorkerSpec


@record(frozen=True, slots=True)
class Size:
    """How many workers a version gets; ``limits`` are theirs while they draw smaller batches, None for its own."""

    replicas: int = 1
    limits: WorkerLimits | None = None


def size_of(version: VersionId, seen: FleetState) -> Size:
    """Return how many workers a version has now: one, where it has none yet."""
    placed = seen.placement(version)
    return Size() if placed is None else Size(placed.replicas, placed.spec.limits)


class Placer:
    """Brings the fleet to what should run; verifying bytes and drawing warm-up prompts go on beside the loop."""

    def __init__(self, catalogue: Catalogue, fleet: Fleet, chores: Chores) -> None:
        self._catalogue, self._fleet, self._chores = catalogue, fleet, chores

    def prepare(self, version: VersionId) -> Prepared | RoostError | None:
        """Return how a version is placed, why it can't be, or None while its bytes are being verified."""
        outcome = self._chores.ask(("prepare", version), lambda: self._prepare(version))
        if outcome is None or outcome.error is not None:
            return None if outcome is None else outcome.error
        prepared: Prepared = outcome.value
        return prepared

    def apply(self, wanted: Mapping[VersionId, Size]) -> dict[VersionId, RoostError]:
        """Make these versions and no others run; return those that can't be placed, and why.

        While nothing is placed yet, what can't be verified only because the catalogue is away holds all back: the
        workers of an earlier process would be ended for it.
        """
        seen, placements, waiting = self._fleet.observe(), [], False
        errors: dict[VersionId, RoostError] = {}
        for version, size in sorted(wanted.items()):
            placed = self._placement(version, size, seen.placement(version))
            if isinstance(placed, RoostError):
                errors[version] = placed
                waiting |= isinstance(placed, Unavailable)
            elif placed is None:
                waiting = True
            else:
                placements.append(placed)
        if tuple(placements) != seen.placements and not (waiting and not seen.placements):
            self._fleet.apply(tuple(placements))
        return errors

    def _placement(self, version: VersionId, size: Size, placed: Placement | None) -> Placement | RoostError | None:
        """Return how a version's workers are started; those that run are not changed for want of an answer."""
        prepared = self.prepare(version)
        if isinstance(prepared, Prepared):
            worker = prepared.worker
            if size.limits is not None:
                worker = worker.model_copy(update={"limits": size.limits})
        elif placed is not None:
            worker = placed.spec
        else:
            return prepared
        if placed is not None and placed.replicas == size.replicas and placed.spec == worker:
            return placed
        return Placement(spec=worker, replicas=size.replicas)

    def is_warm(
        self, version: VersionId, seen: FleetState, prompts: Sequence[str], *, may_be_blank: bool = True
    ) -> bool | RoostError:
        """Tell whether every ready replica has drawn the warm-up prompts; begin that where it hasn't.

        Blank pictures among them are told as an error, unless they may be.
        """
        endpoints = seen.endpoints(version)
        outcomes = [self._warm(version, endpoint, prompts, may_be_blank=may_be_blank) for endpoint in endpoints]
        error = next((outcome for outcome in outcomes if isinstance(outcome, RoostError)), None)
        return error if error is not None else bool(endpoints) and all(outcomes)

    def failure(self, version: VersionId, seen: FleetState) -> FailedEffect | None:
        """Return why a version's worker can't get ready, None while it may."""
        health = seen.health(version)
        if health is None or health.state is not WorkerState.FAILED:
            return None
        return FailedEffect(ActionKind.WARM, f"the worker of {version} can't load it: {health.message}", permanent=True)

    def _warm(
        self, version: VersionId, endpoint: Endpoint, prompts: Sequence[str], *, may_be_blank: bool
    ) -> bool | RoostError:
        if not prompts:
            return True
        key = ("warm", version, endpoint.replica, endpoint.url)
        outcome = self._chores.ask(key, lambda: (warm_replica(version, endpoint, tuple(prompts)), len(prompts)))
        blank, drawn = (outcome.value or (0, 0)) if outcome is not None else (0, 0)
        if blank and not may_be_blank:
            told = f"{blank} of {drawn} warm-up pictures of {version} are blank"
            return RoostError(told, hint="mend the version, or insist with force and a reason")
        return outcome is not None and (outcome.error or True)

    def _prepare(self, version: VersionId) -> Prepared:
        return Prepared(worker_spec(self._catalogue, version))
