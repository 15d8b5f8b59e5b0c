"""The loop of one rollout: observe, decide, act, write down; one idempotent step per tick."""

import json
from collections.abc import Callable

from contracts.errors import Unavailable
from contracts.events import Event
from contracts.ids import VersionId
from contracts.specs.service import ServiceSpec
from contracts.wire.routing import Split
from contracts.wire.telemetry import TelemetryReply
from controlplane.loop.effects import Effects
from controlplane.loop.evidence import Evidence, EvidenceDesk, Judged, sliced_lanes
from controlplane.loop.ports import Watcher
from controlplane.loop.record import decision_document
from controlplane.loop.routing import DesiredTraffic
from controlplane.loop.world import World
from rollout.machine import Decision, decide, start
from rollout.observation import Observation
from rollout.phases import ENDED, ManualAction
from rollout.policy import Policy, compile_policy
from rollout.state import State

NO_TELEMETRY = TelemetryReply(batches=())


class RolloutLoop:
    """One rollout from its start to its end."""

    def __init__(
        self,
        world: World,
        desk: EvidenceDesk,
        spec: ServiceSpec,
        challenger: VersionId,
        *,
        warm_up_prompts: tuple[str, ...] = (),
        notify: Callable[[Event], None] = lambda event: None,
        watcher: Watcher | None = None,
    ) -> None:
        self._world, self._evidence, self._spec, self._watcher = world, desk, spec, watcher
        self._champion, self._challenger = world.desk.desired(spec.service).champion, challenger
        self.policy: Policy = compile_policy(spec.rollout, spec.objectives(), slices=sliced_lanes(spec))
        self.rollout_id = f"{spec.service}-{challenger.number}-{world.rng.token(3)}"
        self._salt = world.rng.token(8)
        self._effects = Effects(
            spec,
            world.catalogue,
            world.fleet,
            world.desk,
            rollout_id=self.rollout_id,
            warm_up_prompts=warm_up_prompts[: spec.rollout.warmup.prompts],
            notify=notify,
        )
        self._begun_s = world.clock.now_s()
        self.state: State = start(
            self.policy,
            at_s=self._begun_s,
            rollout_id=self.rollout_id,
            champion=str(self._champion),
            challenger=str(challenger),
        )
        self.judged: list[Judged] = []
        """The outputs that were judged in the last tick."""

    @property
    def is_over(self) -> bool:
        """Tell whether the rollout has ended and nothing is left to do."""
        return self.state.phase in ENDED and self._effects.progress.retired

    def tick(self) -> Decision:
        """Make one step. Whatever part of the world is away, the decision is made on what there is."""
        try:
            reply = self._world.data_plane.pull()  # type: ignore[attr-defined]
        except Unavailable:
            reply = NO_TELEMETRY
        evidence, self.judged = self._evidence.sort(
            reply, self.rollout_id, self._champion, self._challenger, since_s=self._begun_s
        )
        manual = self._watcher.look(reply, self.judged, self._challenger) if self._watcher is not None else ()
        observation = self._observe(evidence, manual)
        decision = decide(self.policy, self.state, observation)
        self._write_down(observation, decision)
        self.state = decision.state
        self._ensure_split()
        self._effects.carry_out(decision)
        return decision

    def _observe(self, evidence: Evidence, manual: tuple[ManualAction, ...]) -> Observation:
        progress = self._effects.progress
        split = self._world.desk.split_in_force(self._spec.service, self.rollout_id)
        return Observation(
            at_s=max(self.state.at_s, self._world.clock.now_s()),
            counts=evidence.counts,
            slices=evidence.slices,
            scores=evidence.scores,
            exposures=evidence.exposures,
            newest_telemetry_s=self._evidence.newest_s,
            request_rate=self._evidence.request_rate,
            ready=progress.ready and bool(self._world.fleet.observe().endpoints(self._challenger)),
            weight_applied=split.weight if split is not None else 0.0,
            mirror_applied=split.mirror_share if split is not None else 0.0,
            alias_moved=progress.alias_moved,
            retired=progress.retired,
            failed=tuple(progress.failed),
            manual=manual,
        )

    def _ensure_split(self) -> None:
        """Give the service a split of this rollout, without traffic, once the challenger has a replica."""
        desired = self._world.desk.desired(self._spec.service)
        replicas = self._world.fleet.observe().endpoints(self._challenger)
        if desired.split is None and replicas and self._effects.progress.ready and not self._effects.progress.retired:
            split = Split(rollout_id=self.rollout_id, salt=self._salt, challenger=self._challenger, weight=0.0)
            self._world.desk.want(DesiredTraffic(self._spec, self._champion, split))
        self._world.desk.reconcile()

    def _write_down(self, observation: Observation, decision: Decision) -> None:
        self._world.ledger.append(
            at_s=observation.at_s,
            rollout_id=self.rollout_id,
            policy_digest=self.policy.digest,
            observation=json.loads(observation.to_json()),
            decision=decision_document(decision),
        )
