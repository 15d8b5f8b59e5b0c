"""The outlook: the room that a rollout would get were it started now, for people who ask before they start one."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from contracts.errors import RoostError
from contracts.ids import VersionId, VersionRef
from contracts.specs.service import ServiceSpec
from contracts.wire.capacity import ServingPlan
from contracts.wire.worker import WorkerSpec
from controlplane.loop.agenda import Agenda, AgendaReader
from controlplane.loop.needs import memory_of
from controlplane.loop.placing import Prepared
from controlplane.loop.room import Question, Room, plan_room
from controlplane.loop.rooms import Rooms
from controlplane.loop.snapshot import Snapshot
from controlplane.loop.trial import Trial, open_trial
from controlplane.loop.world import World
from controlplane.stores import Stores
from registry.catalogue import Catalogue
from serving.fleet.budget import INTERPRETER_BYTES
from serving.fleet.port import FleetState


@dataclass(frozen=True, slots=True)
class Spare:
    """Memory that one more worker needs, what the fleet may use in all, and what of it is left; None: not known."""

    needed_bytes: int
    budget_bytes: int | None
    left_bytes: int | None

    @property
    def fits(self) -> bool:
        """Tell whether there is room for it."""
        return self.left_bytes is None or self.needed_bytes <= self.left_bytes


class Outlook:
    """Plans as the leader would, from the stores and the fleet as they are; ``snapshot`` tells how much traffic comes.

    The leader plans anew when it takes a rollout up: another may have been asked for meanwhile.
    """

    def __init__(self, stores: Stores, world: World, snapshot: Callable[[], Snapshot]) -> None:
        self._stores, self._world, self._snapshot = stores, world, snapshot

    def foresee(self, spec: ServiceSpec, champion: VersionId, challenger: VersionId) -> Room | None:
        """Return the plan, None where something that it needs can't be known now."""
        reader, seen = AgendaReader(self._stores), self._world.fleet.observe()
        agenda = reader.read()
        trials = _open_trials(reader, agenda)
        rooms = Rooms(
            agenda,
            trials,
            means=self._world.means,
            placer=_Shelved(self._world.catalogue, seen),
            seen=seen,
            kept=_kept(agenda, trials, seen),
        )
        view = self._snapshot().services.get(spec.service)
        asked = rooms.ask(champion, challenger, spec, view.busiest_rate if view is not None else None)
        return plan_room(asked) if isinstance(asked, Question) else None

    def fleet(self) -> FleetState:
        """Return what should run and what does."""
        return self._world.fleet.observe()

    def cold_start_s(self, version: VersionId) -> float | None:
        """Return how long a version takes until it can serve: as last seen here, else as its profile found."""
        try:
            record = self._world.catalogue.get(VersionRef(version.model, number=version.number))
        except RoostError:
            return None
        plan = record.serving.get("cpu", ServingPlan())
        return self.fleet().cold_start_s.get(record.digest, plan.cold_start_s)

    def spare(self, version: VersionId) -> Spare:
        """Return whether one more worker of a version fits beside all that run or are promised."""
        seen, budget_bytes = self.fleet(), self._world.means.memory_bytes
        shelf = _Shelved(self._world.catalogue, seen)
        warm = {wish.version for wish in self._stores.fleet_wishes.open() if wish.until_s is not None}
        counts = dict.fromkeys(warm, 1) | {placed.spec.version: placed.replicas for placed in seen.placements}
        taken = sum(count * _memory(shelf.prepare(one), seen) for one, count in counts.items())
        needed = _memory(shelf.prepare(version), seen)
        return Spare(needed, budget_bytes, None if budget_bytes is None else max(0, budget_bytes - taken))


def _memory(prepared: Prepared | RoostError, seen: FleetState) -> int:
    return memory_of(prepared.worker, seen) if isinstance(prepared, Prepared) else 0


class _Shelved:
    """Tells how workers would be started by what the catalogue says, without fetching any bytes."""

    def __init__(self, catalogue: Catalogue, seen: FleetState) -> None:
        self._catalogue, self._seen = catalogue, seen

    def prepare(self, version: VersionId) -> Prepared | RoostError:
        """Return what runs, else what the version's profile says."""
        placed = self._seen.placement(version)
        if placed is not None:
            return Prepared(placed.spec)
        try:
            record = self._catalogue.get(VersionRef(version.model, number=version.number))
        except RoostError as error:
            return error
        plan = record.serving.get("cpu", ServingPlan())
        limits = plan.limits
        if plan.capacity is None and limits.memory_limit_bytes is None:
            limits = limits.model_copy(update={"memory_limit_bytes": INTERPRETER_BYTES + record.size_bytes})
        return Prepared(
            WorkerSpec(
                version=version,
                digest=record.digest,
                directory="",
                defaults=record.defaults,
                limits=limits,
                capacity=plan.capacity,
            )
        )


def _open_trials(reader: AgendaReader, agenda: Agenda) -> dict[str, Trial]:
    trials = {}
    for name, row in agenda.rollouts.items():
        with suppress(RoostError, ValueError):  # one that can't be read is told of by the loop
            trials[name] = open_trial(row, reader.spec(name, row.service_revision))
    return trials


def _kept(agenda: Agenda, trials: dict[str, Trial], seen: FleetState) -> dict[str, set[VersionId]]:
    """Return what runs and nothing else explains: versions that the guard keeps warm."""
    known = {service.champion for service in agenda.services.values()} | {wish.version for wish in agenda.fleet_wishes}
    known |= {version for trial in trials.values() for version in (trial.champion, trial.challenger)}
    beside = {placed.spec.version for placed in seen.placements} - known
    return {
        name: {version for version in beside if version.model == service.spec.model}
        for name, service in agenda.services.items()
    }
