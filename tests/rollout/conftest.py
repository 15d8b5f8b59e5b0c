"""A world for rollouts: it applies what decisions ask for and counts requests."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from contracts.specs.rollout import RolloutSpec
from contracts.specs.slo import AvailabilitySlo, Slo
from rollout.actions import ActionKind
from rollout.evidence.counts import Tally
from rollout.evidence.two_arm import ArmsTick
from rollout.machine import Decision, decide, start
from rollout.observation import Exposure, Observation
from rollout.policy import Policy, compile_policy
from rollout.state import State

AVAILABILITY: dict[str, Slo] = {"availability": AvailabilitySlo(objective=0.995)}


def make_policy(slos: dict[str, Slo] | None = None, *, slices: tuple[str, ...] = (), **spec: Any) -> Policy:
    """Return a policy with short times."""
    document = {"reaction_lag": "10s", "bake": "1m", "max_duration": "30m", **spec}
    return compile_policy(RolloutSpec.model_validate(document), slos or AVAILABILITY, slices=slices)


def arms(bad: int = 0, total: int = 0, champion_bad: int = 0, champion_total: int = 0) -> ArmsTick:
    """Return one tick of both arms."""
    return ArmsTick(Tally(bad, total), Tally(champion_bad, champion_total))


@dataclass
class World:
    """Carries out every action at once, and serves ``requests`` per tick with the bad rates given."""

    policy: Policy
    requests: int = 2000
    bad_rate: float = 0.0
    champion_rate: float = 0.0
    state: State = field(init=False)
    at_s: float = 0.0
    weight: float = 0.0
    alias: bool = False
    retired: bool = False
    ready: bool = True
    phases: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.state = start(self.policy, at_s=0.0, rollout_id="r1", champion="tags@12", challenger="tags@13")

    def observe(self) -> Observation:
        """Return what is seen of one tick of traffic at the weight in force."""
        mine = round(self.requests * self.weight)
        theirs = self.requests - mine
        return Observation(
            at_s=self.at_s,
            counts={
                "availability": arms(round(mine * self.bad_rate), mine, round(theirs * self.champion_rate), theirs)
            },
            exposures=(Exposure(self.weight, mine, theirs),),
            newest_telemetry_s=self.at_s,
            request_rate=self.requests / 10,
            ready=self.ready,
            weight_applied=self.weight,
            alias_moved=self.alias,
            retired=self.retired,
        )

    def tick(self, **changes: Any) -> Decision:
        """Decide on one tick and carry out what it asks for; ``changes`` replace fields of the observation."""
        decision = decide(self.policy, self.state, replace(self.observe(), **changes))
        self.state, self.weight = decision.state, decision.weight
        kinds = {action.kind for action in decision.actions}
        self.alias = (self.alias or ActionKind.MOVE_ALIAS in kinds) and ActionKind.RESTORE_ALIAS not in kinds
        self.retired = ActionKind.RETIRE_CHAMPION in kinds or ActionKind.RETIRE_CHALLENGER in kinds
        if not self.phases or self.phases[-1] != self.state.phase.value:
            self.phases.append(self.state.phase.value)
        self.at_s += 10
        return decision

    def until(self, phase: str, ticks: int = 1000) -> Decision:
        """Tick until a phase is reached."""
        for _ in range(ticks):
            decision = self.tick()
            if decision.state.phase.value == phase:
                return decision
        raise AssertionError(f"{phase} was not reached: {self.phases}, {decision.reason}")


@pytest.fixture
def world() -> Callable[..., World]:
    """Return a maker of worlds."""

    def make(slos: dict[str, Slo] | None = None, requests: int = 2000, **spec: Any) -> World:
        return World(make_policy(slos, **spec), requests)

    return make
