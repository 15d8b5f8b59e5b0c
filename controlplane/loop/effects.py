"""Effects: what a decision asks for, carried out on the world; each is idempotent and asked again until it is done."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import httpx

from contracts.errors import RoostError, Unavailable
from contracts.events import Event
from contracts.ids import CHAMPION, PREVIOUS, VersionId, VersionRef
from contracts.specs.service import ServiceSpec
from contracts.wire.capacity import ServingPlan
from contracts.wire.routing import Endpoint
from contracts.wire.worker import GenerateRequest, WorkerSpec, WorkerState
from controlplane.loop.routing import DesiredTraffic, RoutingDesk
from registry.catalogue import Catalogue
from rollout.actions import Action, ActionKind, FailedEffect
from rollout.machine import Decision
from serving.fleet.port import Fleet, Placement, place, withdraw

WARM_UP_TIMEOUT_S = 120.0


@dataclass
class Progress:
    """How far the world is with one rollout."""

    ready: bool = False
    alias_moved: bool = False
    retired: bool = False
    failed: list[FailedEffect] = field(default_factory=list)


class Effects:
    """Carries out the actions of one rollout's decisions."""

    def __init__(
        self,
        spec: ServiceSpec,
        catalogue: Catalogue,
        fleet: Fleet,
        desk: RoutingDesk,
        *,
        rollout_id: str,
        warm_up_prompts: tuple[str, ...],
        notify: Callable[[Event], None],
    ) -> None:
        self._spec, self._catalogue, self._fleet, self._desk = spec, catalogue, fleet, desk
        self._warm_up_prompts, self._notify = warm_up_prompts, notify
        self._actor = f"rollout/{rollout_id}"
        self.progress = Progress()
        self._told: set[str] = set()
        self._handlers: Mapping[ActionKind, Callable[[Action], None]] = {
            ActionKind.WARM: self._warm,
            ActionKind.SET_WEIGHT: self._set_weight,
            ActionKind.SET_MIRROR: self._set_mirror,
            ActionKind.MOVE_ALIAS: self._move_alias,
            ActionKind.RESTORE_ALIAS: self._restore_alias,
            ActionKind.RETIRE_CHAMPION: self._retire_champion,
            ActionKind.RETIRE_CHALLENGER: self._retire_challenger,
        }

    def carry_out(self, decision: Decision) -> None:
        """Do what a decision asks; what fails is told to the next decision, never raised."""
        self.progress.failed.clear()
        for action in decision.actions:
            try:
                if action.kind is ActionKind.NOTIFY:
                    self._tell(action, decision)
                else:
                    self._handlers[action.kind](action)
            except RoostError as error:
                permanent = not isinstance(error, Unavailable)
                self.progress.failed.append(FailedEffect(action.kind, error.message, permanent))

    def _warm(self, action: Action) -> None:
        """Start the version's worker, wait until it has loaded, and let it draw the warm-up prompts."""
        version = VersionId.parse(action.version)
        health = self._fleet.observe().health(version)
        if health is None:
            place(self._fleet, Placement(spec=worker_spec(self._catalogue, version)))
        elif health.state is WorkerState.FAILED:
            raise RoostError(f"the worker of {version} can't load it: {health.message}")
        elif health.state is WorkerState.READY:
            warm_up(self._fleet, version, self._warm_up_prompts)
            self.progress.ready = True

    def _set_weight(self, action: Action) -> None:
        split = self._desk.desired(self._spec.service).split
        self._desk.want_weight(self._spec.service, action.value, split.mirror_share if split else 0.0)
        self._desk.reconcile()

    def _set_mirror(self, action: Action) -> None:
        split = self._desk.desired(self._spec.service).split
        self._desk.want_weight(self._spec.service, split.weight if split else 0.0, action.value)
        self._desk.reconcile()

    def _move_alias(self, action: Action) -> None:
        version = VersionId.parse(action.version)
        before = self._catalogue.move_alias(version, CHAMPION, actor=self._actor, reason="every gate proven safe")
        if before is not None and before != version:
            self._catalogue.move_alias(before, PREVIOUS, actor=self._actor, reason=f"{version} took over")
        self.progress.alias_moved = True

    def _restore_alias(self, action: Action) -> None:
        version = VersionId.parse(action.version)
        self._catalogue.move_alias(version, CHAMPION, actor=self._actor, reason="harm proven after the promotion")
        self.progress.alias_moved = False

    def _retire_champion(self, action: Action) -> None:
        """End the rollout in the routing table first, then stop the old version: nobody is sent to a stopped worker."""
        split = self._desk.desired(self._spec.service).split
        if split is not None:
            self._desk.want(DesiredTraffic(self._spec, champion=split.challenger))
        if self._desk.reconcile():
            withdraw(self._fleet, VersionId.parse(action.version))
            self.progress.retired = True

    def _retire_challenger(self, action: Action) -> None:
        desired = self._desk.desired(self._spec.service)
        self._desk.want(DesiredTraffic(self._spec, champion=desired.champion))
        if self._desk.reconcile():
            withdraw(self._fleet, VersionId.parse(action.version))
            self.progress.retired = True

    def _tell(self, action: Action, decision: Decision) -> None:
        """Notify once of each event, however often it is asked for."""
        if action.key not in self._told:
            self._told.add(action.key)
            state = decision.state
            event = Event(
                code=decision.reason.code.value,
                at_s=state.at_s,
                subject=f"rollout/{state.rollout_id}",
                message=action.message,
                data={"challenger": state.challenger, "phase": state.phase.value, "weight": decision.weight},
            )
            self._notify(event)


def worker_spec(catalogue: Catalogue, version: VersionId) -> WorkerSpec:
    """Return how to start a worker for a version on a CPU, its bytes verified just now, with what its profile found."""
    record = catalogue.get(VersionRef(version.model, number=version.number))
    plan = record.serving.get("cpu", ServingPlan())
    return WorkerSpec(
        version=version,
        digest=record.digest,
        directory=str(catalogue.fetch(version)),
        defaults=record.defaults,
        faults=record.faults,
        limits=plan.limits,
        capacity=plan.capacity,
    )


def warm_up(fleet: Fleet, version: VersionId, prompts: tuple[str, ...]) -> None:
    """Let every worker of a version draw the prompts; see ``warm_replica``."""
    for endpoint in fleet.observe().endpoints(version):
        warm_replica(version, endpoint, prompts)


def warm_replica(version: VersionId, endpoint: Endpoint, prompts: tuple[str, ...]) -> None:
    """Let one worker draw the prompts, so that first-request costs are paid before users come.

    A worker that takes tensors draws nothing: it has warmed up when it loaded.

    Raises:
        Unavailable: when a worker doesn't answer.
        RoostError: when it can't draw.
    """
    for seed, prompt in enumerate(prompts):
        request = GenerateRequest(prompt=prompt, seed=seed).model_dump_json(exclude_none=True)
        try:
            answer = httpx.post(f"{endpoint.url}/generate", content=request, timeout=WARM_UP_TIMEOUT_S, trust_env=False)
            if answer.status_code != httpx.codes.OK and _takes_tensors(endpoint):
                return
        except httpx.HTTPError as error:
            raise Unavailable(f"{version} did not answer a warm-up prompt: {error}") from None
        if answer.status_code != httpx.codes.OK:
            raise RoostError(f"{version} can't draw a warm-up prompt: {answer.text[:200]}")


def _takes_tensors(endpoint: Endpoint) -> bool:
    return (
        httpx.get(f"{endpoint.url}/metadata", timeout=WARM_UP_TIMEOUT_S, trust_env=False).status_code == httpx.codes.OK
    )
