"""Rooms: who holds the fleet's memory, and what of it a rollout that wants to begin may have."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from contracts.errors import RoostError
from contracts.ids import VersionId
from contracts.specs.service import ServiceSpec
from contracts.wire.worker import WorkerSpec
from controlplane.loop.agenda import Agenda
from controlplane.loop.needs import need_of
from controlplane.loop.placing import Prepared, Size
from controlplane.loop.room import Holding, Means, Need, Question, Room, is_still_proven, plan_room
from controlplane.loop.trial import LOST, Trial
from controlplane.store.fleet_wishes import FleetWish
from rollout.phases import BEFORE_TRAFFIC, Phase
from serving.fleet.port import FleetState


@dataclass(frozen=True, slots=True)
class Claim:
    """Workers that somebody has, or was promised; ``passes`` when they are given back by themselves."""

    who: str
    size: Size
    spec: ServiceSpec
    passes: bool


class Preparer(Protocol):
    """Knows how a worker of a version is started."""

    def prepare(self, version: VersionId) -> Prepared | RoostError | None:
        """Return it, why a version can't be placed, or None while its bytes are being verified."""
        ...


class Rooms:
    """The fleet's memory in one tick; what is promised to one rollout is not there for the next."""

    def __init__(
        self,
        agenda: Agenda,
        trials: Mapping[str, Trial],
        *,
        means: Means,
        placer: Preparer,
        seen: FleetState,
        kept: Mapping[str, Iterable[VersionId]],
    ) -> None:
        self._agenda, self._trials, self._kept = agenda, trials, kept
        self._means, self._placer, self._seen = means, placer, seen
        self._claims: dict[VersionId, Claim] | None = None
        self._held: dict[VersionId, Holding] = {}

    def plan(self, trial: Trial, busiest_rate: float | None) -> Room | RoostError | None:
        """Return a rollout's plan: the one it has while that holds, and none is changed once there is traffic.

        ``busiest_rate`` is that of late in requests per second. The result is an error when the challenger can't be
        placed at all, and None while bytes are being verified.
        """
        if not is_open(trial):
            return trial.room
        asked = self.ask(trial.champion, trial.challenger, trial.spec, busiest_rate)
        if not isinstance(asked, Question):
            return asked
        room = trial.room
        foreseen = trial.row.fence == 0  # by whoever asked for the rollout, without knowing what others ask for
        if room is None or foreseen or not room.starts or not is_still_proven(room, asked):
            room = plan_room(asked)
        if room.starts:
            self._promise(trial, room)
        return room

    def ask(
        self, champion_id: VersionId, challenger_id: VersionId, spec: ServiceSpec, busiest_rate: float | None
    ) -> Question | RoostError | None:
        """Return what a plan is made from, with what everybody else holds; an error or None as `plan` does."""
        champion, challenger = self._need(champion_id, spec), self._need(challenger_id, spec)
        if isinstance(challenger, RoostError):
            return challenger
        if champion is None or challenger is None or isinstance(champion, RoostError):
            return None
        others = self._others({champion_id, challenger_id})
        if others is None:
            return None
        return Question(
            champion,
            challenger,
            spec.workers,
            self._means.memory_bytes,
            rate=busiest_rate,
            others=others,
            cores=self._means.cores,
        )

    def outgrown(self, trial: Trial, busiest_rate: float | None) -> str:
        """Tell that a champion with fewer workers than ever no longer carries all traffic alone, "" while it does."""
        room, whole = trial.room, trial.spec.workers.replicas
        if room is None or room.champion >= whole or is_open(trial) or trial.size(trial.champion).replicas >= whole:
            return ""
        asked = self.ask(trial.champion, trial.challenger, trial.spec, busiest_rate)
        if not isinstance(asked, Question) or asked.rate is None or asked.champion.rate is None:
            return ""
        carries = asked.carries(asked.champion, asked.champion.rate, room.champion)
        if carries >= asked.rate:
            return ""
        return (
            f"traffic has grown to {asked.rate:.3g} requests/s, and the {room.champion} of {whole} workers that "
            f"{trial.champion} has beside its challenger carry {carries:.3g}: it gets all of them back when the "
            "rollout ends"
        )

    def _others(self, pair: set[VersionId]) -> tuple[Holding, ...] | None:
        """Return what all others hold, None while the bytes of one are being verified.

        Asked by every rollout that waits to begin, a thousand perhaps, so each claim is weighed once a tick.
        """
        if self._means.memory_bytes is None:
            return ()
        for version, claim in self._known_claims().items():
            if version not in self._held and version not in pair:
                held = self._held_bytes(version, claim)
                if held is None:
                    return None
                self._held[version] = Holding(claim.who, held, claim.passes)
        return tuple(holding for version, holding in self._held.items() if version not in pair)

    def _need(self, version: VersionId, spec: ServiceSpec) -> Need | RoostError | None:
        worker = self._worker(version)
        return need_of(worker, spec, self._seen) if isinstance(worker, WorkerSpec) else worker

    def _worker(self, version: VersionId) -> WorkerSpec | RoostError | None:
        prepared = self._placer.prepare(version)
        if prepared is not None and not isinstance(prepared, RoostError):
            return prepared.worker
        placed = self._seen.placement(version)
        return placed.spec if placed is not None else prepared

    def _held_bytes(self, version: VersionId, claim: Claim) -> int | None:
        """Return what a claim takes; nothing, where its version can't be placed."""
        need = self._need(version, claim.spec)
        if need is None or isinstance(need, RoostError):
            return None if need is None else 0
        limits = claim.size.limits
        lowered = limits.memory_limit_bytes if limits is not None else None
        return claim.size.replicas * (lowered or need.memory_bytes)

    def _promise(self, trial: Trial, room: Room) -> None:
        claims = self._known_claims()
        self._held.pop(trial.champion, None)
        self._held.pop(trial.challenger, None)
        who = _owned(trial.champion, trial.row.service)
        claims[trial.champion] = Claim(who, Size(room.champion), trial.spec, passes=False)
        claims[trial.challenger] = _trial_claim(trial, Size(room.challenger, room.limits))

    def _known_claims(self) -> dict[VersionId, Claim]:
        if self._claims is None:
            self._claims = {}
            for name, service in self._agenda.services.items():
                self._add_service(self._claims, name, service.champion, service.spec)
            for wish in self._agenda.fleet_wishes:
                self._add_warm(self._claims, wish)
        return self._claims

    def _add_service(
        self, claims: dict[VersionId, Claim], name: str, champion: VersionId | None, spec: ServiceSpec
    ) -> None:
        trial = self._trials.get(name)
        if trial is not None and _holds(trial):
            _add(claims, trial.challenger, _trial_claim(trial, trial.size(trial.challenger)))
        if trial is not None and trial.champion in trial.placed():
            passes = trial.champion != champion  # it bakes: the old champion goes in the end
            who = f"{trial.champion}, warm while {champion} bakes" if passes else _owned(trial.champion, name)
            _add(claims, trial.champion, Claim(who, trial.size(trial.champion), trial.spec, passes))
        if trial is None and champion is not None:
            _add(claims, champion, Claim(_owned(champion, name), Size(spec.workers.replicas), spec, passes=False))
        for version in self._kept.get(name, ()):
            placed = self._seen.placement(version)
            size = Size(placed.replicas if placed is not None else spec.workers.replicas)
            _add(claims, version, Claim(f"{version}, kept warm beside {champion}", size, spec, passes=True))

    def _add_warm(self, claims: dict[VersionId, Claim], wish: FleetWish) -> None:
        services = [one for one in self._agenda.services.values() if one.spec.model == wish.version.model]
        if wish.until_s is None or not services:
            return
        until = datetime.fromtimestamp(wish.until_s, UTC)
        who = f"{wish.version}, warm until {until:%H:%M} UTC"
        _add(claims, wish.version, Claim(who, Size(), services[0].spec, passes=True))


def is_open(trial: Trial) -> bool:
    """Tell whether a rollout's plan may still change: it never had traffic."""
    phase = trial.state.phase
    if phase in {Phase.PAUSED, Phase.FAILED}:
        phase = trial.state.resume_to or phase
    return phase in BEFORE_TRAFFIC


def _holds(trial: Trial) -> bool:
    """Tell whether a rollout's challenger has workers, or was promised some."""
    if trial.room is None:
        return not is_open(trial)
    return trial.room.starts and trial.state.phase not in LOST


def _owned(version: VersionId, service: str) -> str:
    return f"{version}, champion of {service}"


def _trial_claim(trial: Trial, size: Size) -> Claim:
    return Claim(f"{trial.challenger} of rollout {trial.row.id}", size, trial.spec, passes=True)


def _add(claims: dict[VersionId, Claim], version: VersionId, claim: Claim) -> None:
    """Add a claim; of a version that several have, the largest counts, once."""
    there = claims.get(version)
    if there is None or there.size.replicas < claim.size.replicas:
        claims[version] = claim
