"""A living rollout in the leader's hands: its row, its state, its policy, and what follows from them."""

from dataclasses import replace
from functools import cached_property

from contracts.errors import InvalidInput
from contracts.ids import VersionId
from contracts.records import record
from contracts.specs.service import ServiceSpec
from contracts.wire.routing import Split
from controlplane.loop.placing import Size
from controlplane.loop.room import Room, read_room, write_room
from controlplane.loop.routing import DesiredTraffic
from controlplane.policies import policy_of
from controlplane.store.rollouts import StoredRollout
from rollout.machine import Decision
from rollout.phases import ENDED, Phase
from rollout.policy import Policy
from rollout.state import State

LOST = frozenset({Phase.ROLLED_BACK, Phase.ABORTED})
CROWNED = frozenset({Phase.PROMOTING, Phase.BAKING, Phase.PROMOTED, Phase.FAILED})


@record(frozen=True)
class Trial:
    """One rollout; ``spec`` is the revision that it was started with, by which its traffic is counted and judged.

    ``room`` is what was planned for its workers, None before there is a plan.
    """

    row: StoredRollout
    state: State
    policy: Policy
    spec: ServiceSpec
    room: Room | None = None

    @cached_property
    def champion(self) -> VersionId:
        """The version that owned production when the rollout began."""
        return VersionId.parse(self.state.champion)

    @cached_property
    def challenger(self) -> VersionId:
        """The version on trial."""
        return VersionId.parse(self.state.challenger)

    @property
    def effect(self) -> str:
        """What effects are told by: rollout, generation and step; the leader's number is added where it is known."""
        return f"{self.row.id}, generation {self.row.generation}, step {self.row.revision}"

    def after(self, decision: Decision, *, fence: int, is_over: bool, room: Room | None) -> "Trial":
        """Return the rollout once a decision on it is written."""
        state = decision.state
        row = replace(
            self.row,
            revision=self.row.revision + 1,
            fence=fence,
            phase=state.phase.value,
            ended=is_over,
            state="",
            room=self.row.room if room is self.room else write_room(room),
        )
        return Trial(row, state, self.policy, self.spec, room)

    def owner(self) -> VersionId:
        """Return who owns production: the challenger from the moment that all traffic was acknowledged to be its."""
        crowned = self.state.shifted and self.state.phase in CROWNED
        return self.challenger if crowned else self.champion

    def traffic(self, *, weight: float, mirror_share: float) -> DesiredTraffic:
        """Return where the service's traffic should go; without a split once either version is on its way out."""
        if self.state.retiring:
            return DesiredTraffic(self.spec, self.challenger)
        if self.state.phase in ENDED:
            return DesiredTraffic(self.spec, self.owner())
        split = Split(
            rollout_id=self.row.id,
            salt=self.row.salt,
            challenger=self.challenger,
            weight=weight,
            mirror_share=mirror_share,
        )
        return DesiredTraffic(self.spec, self.champion, split)

    def placed(self) -> set[VersionId]:
        """Return the versions that must run for it."""
        if self.state.phase in LOST:
            return {self.champion}
        return {self.challenger} if self.state.retiring else {self.champion, self.challenger}

    def size(self, version: VersionId) -> Size:
        """Return how many workers one of its versions gets: as planned while it lives, and all of them afterwards.

        A champion keeps what it has until there is room for both.
        """
        whole = Size(self.spec.workers.replicas)
        if self.room is None or not self.room.starts or self.state.retiring or self.state.phase in ENDED:
            return whole
        return Size(self.room.challenger, self.room.limits) if version == self.challenger else Size(self.room.champion)

    def leaving(self) -> VersionId | None:
        """Return the version whose retirement is asked for, None while there is none."""
        if self.state.phase in LOST:
            return self.challenger
        return self.champion if self.state.retiring else None


def open_trial(row: StoredRollout, spec: ServiceSpec) -> Trial:
    """Read a row.

    Raises:
        InvalidInput: when this release can't read its state, or compiles its spec to another policy.
    """
    policy = policy_of(spec)
    state = State.from_json(row.state)
    if state.policy_digest != policy.digest:
        raise InvalidInput(
            f"{row.id} was started under another policy than its spec compiles to now",
            hint="abort it and start anew: a rollout keeps the policy it was started with",
        )
    return Trial(row, state, policy, spec, read_room(row.room))
