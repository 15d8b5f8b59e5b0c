"""Deciding: what is seen of each living rollout, put together and decided on, all at once."""

from collections import Counter
from collections.abc import Mapping, Sequence

from contracts.errors import InvalidInput, RoostError
from contracts.events import Event
from contracts.ids import VersionId
from controlplane.loop.agenda import Agenda
from controlplane.loop.book import Page
from controlplane.loop.hands import Hands
from controlplane.loop.ports import Sight
from controlplane.loop.room import Means, Room
from controlplane.loop.rooms import Rooms, is_open
from controlplane.loop.sorting import Sorter
from controlplane.loop.trial import Trial
from controlplane.store.wishes import Wish
from rollout.actions import ActionKind, FailedEffect
from rollout.batch import Case, decide_many
from rollout.machine import Decision, check_inputs
from rollout.observation import Fit, Headroom, Observation
from rollout.phases import ENDED, ManualAction, Phase
from serving.fleet.port import FleetState

Draft = tuple[Trial, Observation, tuple[Wish, ...]]


class Decider:
    """Decides one tick of all rollouts; ``problems`` by service, ``waiting`` challengers that don't fit yet.

    ``kept`` are the versions that the guard keeps warm: a rollout is done with them though they go on running.
    """

    def __init__(
        self,
        agenda: Agenda,
        trials: Mapping[str, Trial],
        hands: Hands,
        seen: FleetState,
        *,
        sorter: Sorter,
        kept: Mapping[str, frozenset[VersionId]],
        means: Means,
    ) -> None:
        self._agenda, self._trials, self._hands, self._seen, self._sorter = agenda, trials, hands, seen, sorter
        self._kept = kept
        self._rooms = Rooms(agenda, trials, means=means, placer=hands.placer, seen=seen, kept=kept)
        self._room: dict[str, Room | None] = {}
        self._needs = Counter(version for name in agenda.services for version in self._needed(name))
        self.problems: dict[str, str] = {}
        self.waiting: set[VersionId] = set()
        self.told: list[Event] = []

    def decide(
        self,
        sights: Mapping[str, Sight],
        asked: Mapping[str, tuple[ManualAction, ...]],
    ) -> list[Page]:
        """Return one page per rollout; one that can't be decided on is told of, and keeps no other back.

        ``asked`` is what the guard and the monitors ask of a service's rollout, beside what people do.
        """
        drafts, effects = [], self._plan_rooms()
        for name, trial in self._trials.items():
            wishes = tuple(self._agenda.wishes.get(trial.row.id, ()))
            manual = (*(wish.action for wish in wishes), *asked.get(name, ()))
            drafts.append((trial, self._observe(trial, sights[name], manual, effects[name]), wishes))
        try:
            decisions = _decide(drafts)
        except InvalidInput:
            drafts = [draft for draft in drafts if self._is_decidable(draft)]
            decisions = _decide(drafts)
        return [
            Page(
                trial,
                seen,
                decision,
                wishes,
                decision.state.phase in ENDED and seen.retired,
                self._room[trial.spec.service],
            )
            for (trial, seen, wishes), decision in zip(drafts, decisions, strict=True)
        ]

    def _is_decidable(self, draft: Draft) -> bool:
        trial, observation, _ = draft
        try:
            check_inputs(trial.policy, trial.state, observation)
        except InvalidInput as error:
            self.problems[trial.spec.service] = error.message
            return False
        return True

    def _observe(
        self, trial: Trial, sight: Sight, manual: tuple[ManualAction, ...], effects: list[FailedEffect]
    ) -> Observation:
        service, hands = trial.spec.service, self._hands
        evidence, flow = self._sorter.arrange(trial, sight.batches, sight.judged), self._sorter.flow(service)
        ready, failed = hands.ready(trial, self._seen)
        failed += effects + self._failures(trial)
        room = self._room[service]
        weight, mirror = hands.applied(trial)
        leaving = trial.leaving()
        return Observation(
            at_s=max(trial.state.at_s, sight.at_s),
            counts=evidence.counts,
            slices=evidence.slices,
            scores=evidence.scores,
            exposures=evidence.exposures,
            strata=evidence.strata,
            newest_telemetry_s=flow.newest_s,
            request_rate=flow.request_rate,
            ready=ready,
            weight_applied=weight,
            mirror_applied=mirror,
            alias_moved=self._is_crowned(trial),
            retired=leaving is not None
            and hands.is_gone(leaving, service, self._seen, stays=self._is_needed_elsewhere(leaving, service)),
            headroom=Headroom(room.fit, room.sentence) if room is not None and is_open(trial) else None,
            weight_cap=_cap(room, flow.request_rate),
            failed=tuple(failed),
            manual=manual,
        )

    def _failures(self, trial: Trial) -> list[FailedEffect]:
        """Return what else keeps a rollout from going on: no verified bytes, an alias that can't be moved."""
        hands, version = self._hands, trial.challenger
        failed = []
        unplaced = hands.problems.get(version)
        if unplaced is not None:
            failed.append(hands.failed(ActionKind.WARM, unplaced))
        alias = hands.alias(version.model)
        if trial.state.phase is Phase.PROMOTING and trial.state.shifted and alias.error is not None:
            failed.append(hands.failed(ActionKind.MOVE_ALIAS, alias.error))
        return failed

    def _plan_rooms(self) -> dict[str, list[FailedEffect]]:
        """Plan the workers of every rollout, the oldest first; return by service what keeps one from its start."""
        effects = {}
        for name, trial in sorted(self._trials.items(), key=lambda item: item[1].row.created_s):
            rate = self._sorter.flow(name).busiest_rate
            room = self._rooms.plan(trial, rate)
            self._room[name] = trial.room if isinstance(room, RoostError) else room
            effects[name] = self._hold(trial, room)
            outgrown = self._rooms.outgrown(trial, rate)
            if outgrown:
                self._tell(trial, "rollout.outgrown", outgrown)
        return effects

    def _hold(self, trial: Trial, room: Room | RoostError | None) -> list[FailedEffect]:
        """Return why a challenger isn't placed: it is, once its bytes are verified and there is room for it."""
        if not is_open(trial) or (isinstance(room, Room) and room.starts):
            return []
        self.waiting.add(trial.challenger)
        if room is None:
            return []
        service = trial.spec.service
        if isinstance(room, RoostError):
            self.problems[service] = room.message
            return [self._hands.failed(ActionKind.WARM, room)]
        self._tell(trial, "rollout.waits-for-memory", room.sentence)
        return [FailedEffect(ActionKind.WARM, room.sentence, permanent=room.fit is Fit.NEVER)]

    def _tell(self, trial: Trial, code: str, problem: str) -> None:
        """Show what keeps a rollout from being as it should, and tell people once in each phase."""
        service, since_s = trial.spec.service, trial.state.phase_since_s
        self.problems[service] = problem
        told = {"service": service, "challenger": trial.state.challenger}
        self.told.append(Event(code=code, at_s=since_s, subject=f"rollout/{trial.row.id}", message=problem, data=told))

    def _is_crowned(self, trial: Trial) -> bool:
        """Tell whether production is the challenger's: in our store, and in MLflow if its alias is its own."""
        service = self._agenda.services[trial.spec.service]
        if service.champion != trial.challenger:
            return False
        if self._agenda.alias_owner(trial.challenger.model) != service.name:
            return True
        return self._hands.alias(trial.challenger.model).target == trial.challenger

    def _is_needed_elsewhere(self, version: VersionId, service: str) -> bool:
        """Tell whether another service needs a version, it stays warm beside this one's champion, or people want it."""
        others = self._needs[version] - (version in self._needed(service))
        wanted = any(wish.version == version and wish.until_s is not None for wish in self._agenda.fleet_wishes)
        return others > 0 or wanted or version in self._kept.get(service, frozenset())

    def _needed(self, service: str) -> set[VersionId]:
        champion = self._agenda.services[service].champion
        trial = self._trials.get(service)
        return ({champion} if champion is not None else set()) | (trial.placed() if trial is not None else set())


def _cap(room: Room | None, request_rate: float) -> float:
    """Return the largest share of the present traffic that the challenger's workers can serve."""
    if room is None or room.carries is None or request_rate <= 0:
        return 1.0
    return min(1.0, room.carries / request_rate)


def _decide(drafts: Sequence[Draft]) -> list[Decision]:
    return decide_many([Case(trial.policy, trial.state, seen) for trial, seen, _ in drafts])
