"""Placing: which versions run, whether they fit, and whether their warm-up prompts are drawn."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from contracts.errors import RoostError, Unavailable
from contracts.ids import VersionId
from contracts.units import format_bytes
from contracts.wire.routing import Endpoint
from contracts.wire.worker import WorkerState
from controlplane.loop.chores import Chores
from controlplane.loop.effects import warm_replica, worker_spec
from registry.catalogue import Catalogue
from rollout.actions import ActionKind, FailedEffect
from serving.fleet.budget import expect_bytes
from serving.fleet.port import Fleet, FleetState, Placement


@dataclass(frozen=True, slots=True)
class Prepared:
    """How a version is placed, its bytes verified, and the memory that its worker will take."""

    placement: Placement
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Headroom:
    """Whether a challenger fits beside everything else; ``fits`` is None where nobody knows the budget."""

    fits: bool | None
    ever: bool
    sentence: str


class Placer:
    """Brings the fleet to what should run; verifying bytes and drawing warm-up prompts go on beside the loop."""

    def __init__(
        self, catalogue: Catalogue, fleet: Fleet, chores: Chores, *, memory_budget_bytes: int | None = None
    ) -> None:
        self._catalogue, self._fleet, self._chores = catalogue, fleet, chores
        self._budget_bytes = memory_budget_bytes

    def prepare(self, version: VersionId) -> Prepared | RoostError | None:
        """Return how a version is placed, why it can't be, or None while its bytes are being verified."""
        outcome = self._chores.ask(("prepare", version), lambda: self._prepare(version))
        if outcome is None or outcome.error is not None:
            return None if outcome is None else outcome.error
        prepared: Prepared = outcome.value
        return prepared

    def apply(self, wanted: Iterable[VersionId]) -> dict[VersionId, RoostError]:
        """Make these versions and no others run; return those that can't be placed, and why.

        While nothing is placed yet, what can't be verified only because the catalogue is away holds all back: the
        workers of an earlier process would be ended for it.
        """
        seen, placements, waiting = self._fleet.observe(), [], False
        errors: dict[VersionId, RoostError] = {}
        for version in sorted(wanted):
            placed = seen.placement(version)
            if placed is None:
                prepared = self.prepare(version)
                if isinstance(prepared, RoostError):
                    errors[version] = prepared
                    waiting |= isinstance(prepared, Unavailable)
                elif prepared is None:
                    waiting = True
                else:
                    placed = prepared.placement
            if placed is not None:
                placements.append(placed)
        if tuple(placements) != seen.placements and not (waiting and not seen.placements):
            self._fleet.apply(tuple(placements))
        return errors

    def headroom(self, mine: Prepared, champion: VersionId, others: Iterable[VersionId]) -> Headroom:
        """Tell whether a challenger's worker fits beside its champion's and the others'."""
        challenger = mine.placement.spec.version
        if self._budget_bytes is None:
            sentence = "the fleet's memory is not known: the challenger starts beside the champion"
            return Headroom(fits=None, ever=True, sentence=sentence)
        beside = self._needs(champion)
        taken = beside + sum(self._needs(version) for version in set(others) - {challenger, champion})
        needs, budget = format_bytes(mine.memory_bytes), format_bytes(self._budget_bytes)
        if mine.memory_bytes + beside > self._budget_bytes:
            sentence = (
                f"{challenger} needs {needs} beside {format_bytes(beside)} of {champion}, "
                f"and the fleet may use {budget} in all: they can't run side by side"
            )
            return Headroom(fits=False, ever=False, sentence=sentence)
        if mine.memory_bytes + taken > self._budget_bytes:
            left = format_bytes(max(0, self._budget_bytes - taken))
            sentence = f"{challenger} needs {needs} and {left} of {budget} are left: it waits until others have ended"
            return Headroom(fits=False, ever=True, sentence=sentence)
        return Headroom(fits=True, ever=True, sentence=f"{challenger} needs {needs}; {budget} are enough for all")

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
        outcome = self._chores.ask(key, lambda: warm_replica(version, endpoint, tuple(prompts)))
        if outcome is not None and outcome.value and not may_be_blank:
            told = f"{outcome.value} of {len(prompts)} warm-up pictures of {version} are blank"
            return RoostError(told, hint="mend the version, or insist with force and a reason")
        return outcome is not None and (outcome.error or True)

    def _prepare(self, version: VersionId) -> Prepared:
        spec = worker_spec(self._catalogue, version)
        return Prepared(Placement(spec=spec), expect_bytes(spec))

    def _needs(self, version: VersionId) -> int:
        prepared = self.prepare(version)
        return prepared.memory_bytes if isinstance(prepared, Prepared) else 0
