"""Deciding: what is seen of each living rollout, put together and decided on, all at once."""

from collections.abc import Mapping, Sequence

from contracts.errors import InvalidInput
from contracts.events import Event
from contracts.ids import VersionId
from contracts.wire.telemetry import TelemetryReply
from controlplane.loop.agenda import Agenda
from controlplane.loop.book import Page
from controlplane.loop.evidence import Judged
from controlplane.loop.hands import Hands
from controlplane.loop.ports import Orders
from controlplane.loop.sorting import Sorter
from controlplane.loop.trial import Trial
from controlplane.store.wishes import Wish
from rollout.actions import ActionKind, FailedEffect
from rollout.batch import Case, decide_many
from rollout.machine import check_inputs
from rollout.observation import Observation
from rollout.phases import ENDED, ManualAction, Phase
from serving.fleet.port import FleetState

CALM = Orders()


class Decider:
    """Decides one tick of all rollouts; ``problems`` by service, ``waiting`` challengers that don't fit yet."""

    def __init__(
        self,
        hands: Hands,
        sorter: Sorter,
        agenda: Agenda,
        seen: FleetState,
        orders: Mapping[str, Orders],
        asked: Mapping[str, tuple[ManualAction, ...]],
    ) -> None:
        self._hands, self._sorter, self._agenda, self._seen = hands, sorter, agenda, seen
        self._orders, self._asked = orders, asked
        self.problems: dict[str, str] = {}
        self.waiting: set[VersionId] = set()
        self.told: list[Event] = []

    def decide(
        self, trials: Mapping[str, Trial], reply: TelemetryReply, judged: Mapping[str, Sequence[Judged]], at_s: float
    ) -> list[Page]:
        """Return one page per rollout; one that can't be decided on is told of, and keeps no other back."""
        drafts = []
        for name, trial in trials.items():
            wishes = tuple(self._agenda.wishes.get(trial.row.id, ()))
            observation = self._observe(trial, reply, judged[name], wishes, at_s, trials)
            try:
                check_inputs(trial.policy, trial.state, observation)
            except InvalidInput as error:
                self.problems[name] = error.message
                continue
            drafts.append((trial, observation, wishes))
        decisions = decide_many([Case(trial.policy, trial.state, seen) for trial, seen, _ in drafts])
        return [
            Page(trial, seen, decision, wishes, decision.state.phase in ENDED and seen.retired)
            for (trial, seen, wishes), decision in zip(drafts, decisions, strict=True)
        ]

    def _observe(
        self,
        trial: Trial,
        reply: TelemetryReply,
        judged: Sequence[Judged],
        wishes: Sequence[Wish],
        at_s: float,
        trials: Mapping[str, Trial],
    ) -> Observation:
        service, hands = trial.spec.service, self._hands
        evidence, flow = self._sorter.arrange(trial, reply, judged), self._sorter.flow(service)
        ready, failed = hands.ready(trial, self._seen)
        failed += self._failures(trial, trials)
        weight, mirror = hands.applied(trial)
        leaving = trial.leaving()
        manual = (*(wish.action for wish in wishes), *self._orders.get(service, CALM).manual)
        return Observation(
            at_s=max(trial.state.at_s, at_s),
            counts=evidence.counts,
            slices=evidence.slices,
            scores=evidence.scores,
            exposures=evidence.exposures,
            newest_telemetry_s=flow.newest_s,
            request_rate=flow.request_rate,
            ready=ready,
            weight_applied=weight,
            mirror_applied=mirror,
            alias_moved=self._is_crowned(trial),
            retired=leaving is not None
            and hands.is_gone(leaving, service, self._seen, self._elsewhere(service, trials)),
            failed=tuple(failed),
            manual=manual + self._asked.get(service, ()),
        )

    def _failures(self, trial: Trial, trials: Mapping[str, Trial]) -> list[FailedEffect]:
        """Return what else keeps a rollout from going on: no room, no verified bytes, an alias that can't be moved."""
        failed, version, service = [], trial.challenger, trial.spec.service
        others = {one for name in self._agenda.services for one in self._needed(name, trials)}
        room = self._hands.headroom(trial, others, self._seen)
        if room is not None and room.fits is False:
            self.waiting.add(version)
            self.problems[service] = room.sentence
            failed.append(FailedEffect(ActionKind.WARM, room.sentence, permanent=not room.ever))
            code, subject = "rollout.waits-for-memory", f"rollout/{trial.row.id}"
            self.told.append(Event(code=code, at_s=trial.state.phase_since_s, subject=subject, message=room.sentence))
        unplaced = self._hands.problems.get(version)
        if unplaced is not None:
            failed.append(self._hands.failed(ActionKind.WARM, unplaced))
        alias = self._hands.alias(version.model)
        if trial.state.phase is Phase.PROMOTING and trial.state.shifted and alias.error is not None:
            failed.append(self._hands.failed(ActionKind.MOVE_ALIAS, alias.error))
        return failed

    def _is_crowned(self, trial: Trial) -> bool:
        """Tell whether production is the challenger's: in our store, and in MLflow where its alias is this service's."""
        service = self._agenda.services[trial.spec.service]
        if service.champion != trial.challenger:
            return False
        if self._agenda.alias_owner(trial.challenger.model) != service.name:
            return True
        return self._hands.alias(trial.challenger.model).target == trial.challenger

    def _elsewhere(self, service: str, trials: Mapping[str, Trial]) -> set[VersionId]:
        """Return the versions that other services need."""
        return {one for name in self._agenda.services if name != service for one in self._needed(name, trials)}

    def _needed(self, service: str, trials: Mapping[str, Trial]) -> set[VersionId]:
        champion = self._agenda.services[service].champion
        trial = trials.get(service)
        return ({champion} if champion is not None else set()) | (trial.placed() if trial is not None else set())
