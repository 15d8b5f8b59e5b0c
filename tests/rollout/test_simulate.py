"""The simulator against ``decide``, tick by tick, and the guarantees it is to show."""

import numpy as np
import pytest

from contracts.errors import InvalidInput
from contracts.specs.rollout import RolloutSpec
from contracts.specs.slo import AvailabilitySlo, ScoreSlo, Slo
from rollout.machine import decide, start
from rollout.observation import Observation
from rollout.phases import Phase
from rollout.policy import Policy, compile_policy
from rollout.simulate.engine import End, simulate
from rollout.simulate.scenario import Bursts, Outage, Quality, Rates, Scenario

SPEC = {"reaction_lag": "10s", "bake": "2m", "max_duration": "1h", "min_weight": 0.002}
AVAILABILITY: dict[str, Slo] = {"availability": AvailabilitySlo(objective=0.995)}
GOOD, BAD = Rates(0.002, 0.002), Rates(0.002, 0.02)
ENDS = {
    Phase.ROLLING_BACK: End.ROLLED_BACK,
    Phase.PROMOTED: End.PROMOTED,
    Phase.PAUSED: End.PAUSED,
}
STEPS = {
    "steps": [{"weight": 0.05, "hold": "1m"}, {"weight": 0.25, "hold": "1m", "min_requests": 200}, {"weight": 0.5}],
}
CASES = [
    (SPEC, Scenario("good", 20, {"availability": GOOD})),
    (SPEC, Scenario("bad", 20, {"availability": BAD})),
    (SPEC, Scenario("late", 20, {"availability": Rates(0.002, 0.3)}, onset_s=150)),
    (SPEC, Scenario("outage", 20, {"availability": GOOD}, outage=Outage(60, 900, 0.3), lag_ticks=1)),
    (SPEC, Scenario("bursts", 5, {"availability": BAD}, bursts=Bursts(0.05, 10), loss=0.05)),
    (SPEC, Scenario("day", 5, {"availability": GOOD}, diurnal=0.5)),
    ({**SPEC, **STEPS}, Scenario("steps", 20, {"availability": GOOD})),
    ({**SPEC, "on_timeout": "promote", "max_duration": "5m"}, Scenario("slow", 1, {"availability": GOOD})),
]


@pytest.mark.parametrize(("spec", "scenario"), CASES, ids=lambda case: getattr(case, "name", ""))
def test_every_tick_is_the_one_that_decide_would_make(spec: dict[str, object], scenario: Scenario) -> None:
    policy = compile_policy(RolloutSpec.model_validate(spec), AVAILABILITY)
    results = simulate(policy, scenario, 4, np.random.default_rng(5), record=(0, 3))
    for run, trace in results.traces.items():
        _follow(policy, trace, int(results.end[run]), float(results.ended_s[run]))


def test_scores_and_slices_follow_decide_as_well() -> None:
    slos: dict[str, Slo] = {**AVAILABILITY, "typography": ScoreSlo(scorer="text", objective=0.95, in_harm_budget=True)}
    policy = compile_policy(RolloutSpec.model_validate(SPEC), slos, slices=("draft", "final"))
    scenario = Scenario(
        "quality",
        20,
        {"availability": GOOD},
        quality={"typography": Quality(0.95, 0.8)},
        parts={"draft": 0.9, "final": 0.1},
        faulty_part="final",
    )
    results = simulate(policy, scenario, 3, np.random.default_rng(2), record=(0, 2))
    assert results.share(End.ROLLED_BACK) == 1.0
    for run, trace in results.traces.items():
        _follow(policy, trace, int(results.end[run]), float(results.ended_s[run]))


def _follow(policy: Policy, trace: list[Observation], end: int, ended_s: float) -> None:
    state = start(policy, at_s=0.0, rollout_id="r", champion="m@1", challenger="m@2")
    alias = retired = False
    for position, observation in enumerate(trace):
        seen = observation.__class__(
            **{
                **{name: getattr(observation, name) for name in observation.__slots__},
                "weight_applied": state.weight,
                "alias_moved": alias,
                "retired": retired,
            }
        )
        decision = decide(policy, state, seen)
        state = decision.state
        alias = alias or any(action.kind.value == "move-alias" for action in decision.actions)
        if state.retiring:
            break
        if state.phase in ENDS:
            break
        if position + 1 < len(trace):
            assert decision.weight == pytest.approx(trace[position + 1].weight_applied, abs=1e-12)
    reached = End.PROMOTED if state.retiring else ENDS.get(state.phase, End.RUNNING)
    assert reached == end
    if end != End.RUNNING:
        assert state.at_s == ended_s


@pytest.mark.slow
@pytest.mark.parametrize(
    "scenario",
    [
        Scenario("good", 20, {"availability": Rates(0.005, 0.005)}),
        Scenario("both", 20, {"availability": GOOD}, outage=Outage(60, 1800, 0.2)),
        Scenario("both, slow", 2, {"availability": GOOD}, outage=Outage(60, 1800, 0.2)),
        Scenario("both, in the bake", 200, {"availability": GOOD}, outage=Outage(100, 600, 0.2)),
        Scenario("bursts on both", 20, {"availability": GOOD}, bursts=Bursts(0.02, 20, shared=True)),
        Scenario("day", 20, {"availability": GOOD}, diurnal=0.5),
    ],
    ids=lambda scenario: scenario.name,
)
def test_false_rollbacks_stay_below_alpha(scenario: Scenario) -> None:
    policy = compile_policy(RolloutSpec.model_validate({**SPEC, "max_duration": "30m"}), AVAILABILITY)
    results = simulate(policy, scenario, 2000, np.random.default_rng(11))
    assert results.share(End.ROLLED_BACK) <= 0.01


@pytest.mark.slow
def test_an_unacceptable_challenger_is_promoted_with_probability_below_beta() -> None:
    policy = compile_policy(RolloutSpec.model_validate({**SPEC, "max_duration": "30m"}), AVAILABILITY)
    results = simulate(
        policy, Scenario("burn 2", 20, {"availability": Rates(0.002, 0.01)}), 2000, np.random.default_rng(3)
    )
    assert np.isfinite(results.proven_s).mean() <= 0.01
    assert results.share(End.ROLLED_BACK) > 0.95


def test_a_scenario_that_can_not_be_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"rates\.availability"):
        Scenario("wrong", 1, {"availability": Rates(-0.1, 0.2)})
    with pytest.raises(InvalidInput, match="parts"):
        Scenario("wrong", 1, {"availability": GOOD}, parts={"draft": 0.5})
    with pytest.raises(InvalidInput, match="faulty_part"):
        Scenario("wrong", 1, {"availability": GOOD}, faulty_part="final")
