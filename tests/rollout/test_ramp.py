"""The harm budget with scores in it: what nobody has scored may be bad, and a reaction lag's harm stays bounded."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.specs.rollout import RolloutSpec
from contracts.specs.slo import AvailabilitySlo, ScoreSlo, Slo
from rollout.batch import Case, decide_many
from rollout.evidence import bounds
from rollout.evidence.mixture import Array
from rollout.evidence.stack import accumulate, begin
from rollout.intake import one_tick, take_in
from rollout.layout import layout_of
from rollout.machine import decide
from rollout.observation import Observation, ScoresTick
from rollout.phases import Phase
from rollout.policy import Policy, compile_policy
from rollout.ramp import largest_excess
from rollout.simulate.engine import End, Results, simulate
from rollout.simulate.scenario import Quality, Rates, Scenario
from rollout.state import enter, start
from tests.rollout.conftest import arms

LAG_S = 10.0
BUDGET = 10.0
TOLERATED = 0.07
"""What a mean score may lack of one: an objective of 95 % with a margin of 2 %."""


def policy_with(*, in_harm_budget: bool = True) -> Policy:
    slos: dict[str, Slo] = {
        "availability": AvailabilitySlo(objective=0.995),
        "text": ScoreSlo(scorer="text", objective=0.95, in_harm_budget=in_harm_budget),
    }
    spec = {"reaction_lag": LAG_S, "harm_budget": BUDGET, "bake": "1m", "max_duration": "1h", "min_weight": 0.0005}
    return compile_policy(RolloutSpec.model_validate(spec), slos)


def excess_after(policy: Policy, scores: list[float], requests: int = 10**6) -> float:
    layout = layout_of(policy)
    state = enter(start(policy, at_s=0.0, rollout_id="r", champion="m@1", challenger="m@2"), Phase.PROGRESSING, 0.0)
    seen = Observation(
        10.0, counts={"availability": arms(0, requests)}, scores={"text": ScoresTick(challenger=tuple(scores))}
    )
    evidence = accumulate(layout.stack, begin(layout.stack), one_tick(take_in(policy, state, seen)))
    return float(largest_excess(layout, evidence))


def test_answers_without_errors_are_all_bad_until_they_are_scored() -> None:
    assert excess_after(policy_with(), []) == pytest.approx(1 - TOLERATED)
    assert excess_after(policy_with(), [0.0] * 50) == pytest.approx(1 - TOLERATED)
    assert excess_after(policy_with(), [1.0] * 400) < 0
    assert excess_after(policy_with(in_harm_budget=False), []) < 0


@given(st.lists(st.floats(0, 1), max_size=60))
def test_the_excess_is_never_below_what_was_seen_and_falls_with_every_good_answer(scores: list[float]) -> None:
    policy = policy_with()
    excess = excess_after(policy, scores)
    if scores:
        assert excess >= 1 - float(np.mean(scores)) - TOLERATED - 1e-6
    assert excess_after(policy, [*scores, 1.0]) <= excess + 1e-9


@pytest.mark.parametrize("mean", [0.02, 0.1, 0.6])
@pytest.mark.parametrize("kind", ["coins", "beta", "thirds"])
def test_the_bound_on_what_scores_lack_holds_at_every_look(mean: float, kind: str) -> None:
    """Of many streams the true mean leaves its bound in at most 5 %, whatever the scores look like."""
    rng = np.random.default_rng(3)
    runs, level = 1000, np.array(0.05)

    def draw() -> Array:
        if kind == "coins":
            return (rng.random(runs) < mean).astype(float)
        if kind == "beta":
            return rng.beta(4 * mean, 4 * (1 - mean), runs)
        return rng.binomial(3, mean, runs) / 3

    lacking, missed = np.zeros(runs), np.zeros(runs, dtype=bool)
    for look in range(1, 300):
        lacking += draw()
        missed |= bounds.upper_rate(lacking, np.full(runs, float(look)), level) < mean
    assert missed.mean() <= 0.05


def roll_out(policy: Policy, rate: float, quality: float, runs: int = 20) -> Results:
    scenario = Scenario(
        "pictures", rate, {"availability": Rates(0.002, 0.002)}, {"text": Quality(0.97, quality, sample=0.05)}
    )
    return simulate(policy, scenario, runs, np.random.default_rng(7))


def excess_a_lag(results: Results) -> float:
    """Return the median number of bad answers, over what is tolerated, that one reaction lag served."""
    return float(np.median(results.requests * LAG_S / results.ended_s)) * (1 - 0.02 - TOLERATED)


@pytest.mark.parametrize("rate", [20, 200, 2000])
def test_wrong_pictures_without_an_error_stay_within_the_budget_of_each_lag(rate: float) -> None:
    results = roll_out(policy_with(), rate, quality=0.02)
    assert results.share(End.ROLLED_BACK) == 1.0
    # The share is bounded in expectation: the number that arrives at it is a Poisson number.
    assert excess_a_lag(results) <= BUDGET * 1.1


def test_without_the_key_a_lag_serves_more_than_the_budget() -> None:
    assert excess_a_lag(roll_out(policy_with(in_harm_budget=False), 2000, quality=0.02)) > 2 * BUDGET


def test_a_good_version_gets_its_share_and_is_proven() -> None:
    results = roll_out(policy_with(), 200, quality=0.97)
    assert np.isfinite(results.proven_s).all()


def test_many_rollouts_decide_as_one_by_one() -> None:
    states = [start(policy_with(in_harm_budget=on), at_s=0.0, rollout_id=f"r{on}", champion="m@1", challenger="m@2")
              for on in (True, False, True)]  # fmt: skip
    policies = [policy_with(in_harm_budget=on) for on in (True, False, True)]
    for tick in range(1, 6):
        seen = Observation(
            10.0 * tick,
            counts={"availability": arms(0, 500, 1, 500)},
            scores={"text": ScoresTick(challenger=(0.9, 1.0) if tick > 2 else ())},
            newest_telemetry_s=10.0 * tick,
            request_rate=500.0,
            ready=True,
        )
        many = decide_many([Case(policy, state, seen) for policy, state in zip(policies, states, strict=True)])
        alone = [decide(policy, state, seen) for policy, state in zip(policies, states, strict=True)]
        assert [one.weight for one in many] == pytest.approx([one.weight for one in alone])
        states = [one.state for one in alone]
    weights = [state.weight for state in states]
    assert weights[0] == weights[2] < weights[1]
