"""Policies, the split of alpha, verdicts and their sentences, slices, scores, and many rollouts at once."""

import math
from typing import Any

import numpy as np
import pytest

from contracts.errors import InvalidInput
from contracts.notation import format_evidence
from contracts.specs.rollout import RolloutSpec
from contracts.specs.slo import AvailabilitySlo, GateKind, LatencySlo, ScoreSlo, Slo
from rollout.admission import Admission, admit
from rollout.batch import Case, decide_many
from rollout.machine import Decision, decide, start
from rollout.observation import Exposure, Observation, ScoresTick
from rollout.phases import Phase
from rollout.policy import Gate, GateFamily, Policy, compile_policy
from rollout.state import State, enter
from rollout.verdicts import Outcome, Verdict
from tests.rollout.conftest import World, arms, make_policy

SLOS: dict[str, Slo] = {
    "availability": AvailabilitySlo(objective=0.995),
    "latency": LatencySlo.model_validate({"objective": 0.95, "threshold": "1s", "alpha_weight": 2}),
    "typography": ScoreSlo(objective=0.95, scorer="text", in_harm_budget=True),
    "style": ScoreSlo(objective=0.9, scorer="style", kind=GateKind.WATCH),
}


def test_alpha_is_split_by_weight_over_the_gates_that_roll_back() -> None:
    policy = compile_policy(RolloutSpec(alpha=0.01), SLOS)
    blocking = {gate.name: gate.alpha for gate in policy.gates if gate.kind is GateKind.GATE}
    assert sum(blocking.values()) == pytest.approx(0.01)
    assert blocking["latency"] == pytest.approx(2 * blocking["availability"])
    assert blocking["latency-relative"] == pytest.approx(blocking["latency"])
    assert [gate.alpha for gate in policy.gates if gate.kind is GateKind.WATCH] == [0.01]
    watched = compile_policy(RolloutSpec.model_validate({"relative": {"blocking": False}}), SLOS)
    assert {gate.kind for gate in watched.gates if gate.family is GateFamily.RELATIVE} == {GateKind.WATCH}


def test_a_policy_survives_json_and_is_known_by_its_content() -> None:
    policy = compile_policy(RolloutSpec(), SLOS, slices=("draft",), comparisons=("latency-p95",))
    again = Policy.from_json(policy.to_json())
    assert again == policy
    assert hash(again) == hash(policy)
    assert again.gates == policy.gates
    assert compile_policy(RolloutSpec(alpha=0.02), SLOS) != policy
    assert [gate.family for gate in policy.gates if gate.sli == "latency-p95"] == [GateFamily.RELATIVE]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "policy"),
        ('{"schema": 9}', r"policy\.schema"),
        ('{"schema": 1, "spec": {"alfa": 1}, "slos": {}, "slices": [], "comparisons": []}', "alfa"),
    ],
)
def test_a_policy_with_unknown_keys_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Policy.from_json(text)
    known = make_policy().to_json()
    with pytest.raises(InvalidInput, match=r"policy\.extra"):
        Policy.from_json(known[:-1] + ',"extra":1}')


def test_policies_that_can_not_be_are_refused() -> None:
    with pytest.raises(InvalidInput, match="slos"):
        compile_policy(RolloutSpec(), {})
    with pytest.raises(InvalidInput, match=r"slos\.a\.unacceptable_burn"):
        compile_policy(RolloutSpec(), {"a": AvailabilitySlo(objective=0.5)})
    with pytest.raises(InvalidInput, match="twice"):
        compile_policy(RolloutSpec(), SLOS, comparisons=("latency",))
    with pytest.raises(InvalidInput, match="comparisons"):
        compile_policy(RolloutSpec(relative=None), SLOS, comparisons=("latency-p95",))


def _verdict(
    outcome: Outcome, family: GateFamily = GateFamily.BURN, sli: str = "availability", **changes: Any
) -> Verdict:
    unacceptable = None if math.isnan(changes.get("safe_evidence", 2.0)) else 0.02
    gate = Gate("availability", sli, family, GateKind.GATE, 0.01, 0.01, 0.01, unacceptable)
    fields = {"value": 0.0182, "n": 1000, "evidence": 153.2, "safe_evidence": 2.0, **changes}
    return Verdict(gate, outcome, "v13", **fields)


def test_sentences_tell_value_limit_and_evidence() -> None:
    assert _verdict(Outcome.HARM).sentence == (
        "v13 fails 1.82 % of requests (availability), the limit is 1 %; evidence 153, needed 100"
    )
    assert "in draft" in _verdict(Outcome.HARM, part="draft").sentence
    assert "evidence of safety 2, needed 100" in _verdict(Outcome.PASS).sentence
    assert "3.5 times as often" in _verdict(Outcome.HARM, family=GateFamily.RELATIVE, value=3.5).sentence
    assert "scores 0.9 in typography" in (
        _verdict(Outcome.INCONCLUSIVE, family=GateFamily.SCORE, value=0.9, sli="typography").sentence
    )
    assert "no availability counts yet" in _verdict(Outcome.INCONCLUSIVE, value=math.nan).sentence
    assert _verdict(Outcome.NO_DATA, why="late").sentence == "availability: no data on v13: late"
    document = _verdict(Outcome.INCONCLUSIVE, value=math.inf, safe_evidence=math.nan).to_document()
    assert document["safe_evidence"] is None
    assert math.isfinite(document["value"])  # type: ignore[arg-type]
    shown = [format_evidence(number) for number in (0.123456, 153.4, 2.5e8, math.inf)]
    assert shown == ["0.123", "153", "10^8", "10^308"]


def test_a_fault_in_one_slice_is_not_averaged_away() -> None:
    def decided(slices: tuple[str, ...]) -> Decision:
        place = World(make_policy(slices=slices), 2000)
        place.tick()
        total = arms(8, 2000, 4, 2000)
        parts = {"final": arms(7, 40, 1, 40), "draft": arms(1, 1960, 3, 1960)}
        return place.tick(counts={"availability": total}, slices={"availability": parts} if slices else {})

    assert decided(()).state.phase is Phase.PROGRESSING
    sliced = decided(("draft", "final"))
    assert sliced.state.phase is Phase.ROLLING_BACK
    assert sliced.verdicts[0].part == "final"
    assert "in final" in sliced.reason.sentence


def test_scores_live_and_paired_decide_like_counts() -> None:
    slos: dict[str, Slo] = {"typography": ScoreSlo(objective=0.95, scorer="text")}

    def run(scores: ScoresTick, **spec: Any) -> World:
        place = World(make_policy(slos, **spec), 200)
        for _ in range(100):
            changes = {"scores": {"typography": scores}} if place.state.phase is not Phase.PENDING else {}
            place.tick(counts={}, **changes)
        return place

    good = (0.95, 0.97, 0.96, 0.94)
    assert "promoting" in run(ScoresTick(challenger=good, champion=good)).phases
    assert "rolling-back" in run(ScoresTick(challenger=(0.6, 0.7), champion=good)).phases
    worse = run(ScoresTick(pairs=(-0.3, -0.2, -0.1)), mirror={"share": 0.2, "min_pairs": 1000})
    assert worse.phases[:3] == ["mirroring", "rolling-back", "rolled-back"]
    both_low = run(ScoresTick(challenger=(0.6, 0.7), champion=(0.65, 0.65)))
    assert "rolling-back" not in both_low.phases


def test_missing_scores_are_no_data_only_while_pictures_are_due() -> None:
    place = World(make_policy({"typography": ScoreSlo(objective=0.95, scorer="text")}), 200)
    place.tick(counts={})
    for _ in range(6):
        assert place.tick(counts={}).verdicts[0].outcome is Outcome.INCONCLUSIVE
    waiting = {"typography": ScoresTick(due=3)}
    outcomes = [place.tick(counts={}, scores=waiting).verdicts[0].outcome for _ in range(6)]
    assert outcomes[0] is Outcome.INCONCLUSIVE
    assert outcomes[-1] is Outcome.NO_DATA
    arrived = {"typography": ScoresTick(challenger=(0.9,), due=2)}
    assert place.tick(counts={}, scores=arrived).verdicts[0].outcome is Outcome.INCONCLUSIVE


def test_many_rollouts_decide_as_one_by_one() -> None:
    rng = np.random.default_rng(3)
    policies = [
        compile_policy(RolloutSpec.model_validate({"alpha": alpha, "reaction_lag": "10s"}), SLOS)
        for alpha in (0.01, 0.05)
    ]
    policies.append(make_policy())
    states = [start(policies[k % 3], at_s=0.0, rollout_id=f"r{k}", champion="m@1", challenger="m@2") for k in range(60)]
    for tick in range(6):
        cases = [
            Case(policies[k % 3], state, _busy(policies[k % 3], 10.0 * tick, rng)) for k, state in enumerate(states)
        ]
        decisions = decide_many(cases)
        for case, together in zip(cases, decisions, strict=True):
            alone = decide(case.policy, case.state, case.observation)
            assert together.state.evidence.log_s == pytest.approx(alone.state.evidence.log_s, rel=1e-9)
            assert together.weight == pytest.approx(alone.weight, rel=1e-9)
            assert together.state.phase is alone.state.phase
            assert together.reason.code is alone.reason.code
            assert [action.kind for action in together.actions] == [action.kind for action in alone.actions]
            assert [v.outcome for v in together.verdicts] == [v.outcome for v in alone.verdicts]
        states = [decision.state for decision in decisions]
    assert len({state.phase for state in states}) > 1
    assert decide_many([]) == []


def _busy(policy: Policy, at_s: float, rng: np.random.Generator) -> Observation:
    counts = {
        name: arms(int(rng.binomial(40, rate)), 40, int(rng.binomial(160, 0.002)), 160)
        for name, rate in zip(policy.counted, rng.choice([0.002, 0.1], len(policy.counted)), strict=True)
    }
    scores = {
        name: ScoresTick(tuple(rng.random(int(rng.integers(0, 4))).tolist()), (0.9,) * int(rng.integers(0, 3)))
        for name in policy.scored
    }
    exposures = (Exposure(0.2, 40, 160),) if rng.random() < 0.8 else ()
    return Observation(
        at_s=at_s,
        counts=counts,
        scores=scores,
        exposures=exposures,
        newest_telemetry_s=at_s,
        request_rate=20.0,
        ready=True,
        weight_applied=0.2,
    )


def test_a_new_challenger_waits_replaces_or_is_refused() -> None:
    running = start(make_policy(), at_s=0.0, rollout_id="r1", champion="m@1", challenger="m@2")
    nothing: set[str] = set()

    def asked(state: object, challenger: str = "m@3", **flags: bool) -> Admission:
        return admit(state, challenger, "sha256:3", rolled_back=nothing, **flags).admission  # type: ignore[arg-type]

    assert asked(None) is Admission.START
    assert asked(enter(running, Phase.PROMOTED, 1.0)) is Admission.START
    assert asked(running) is Admission.QUEUE
    assert asked(running, replace=True) is Admission.REPLACE
    assert asked(enter(running, Phase.BAKING, 1.0), replace=True) is Admission.QUEUE
    assert asked(running, "m@2") is Admission.REFUSE
    again = admit(None, "m@3", "sha256:3", rolled_back={"sha256:3"})
    assert again.admission is Admission.REFUSE
    assert "force" in again.why
    assert admit(None, "m@3", "sha256:3", rolled_back={"sha256:3"}, force=True).admission is Admission.START


def test_observations_and_score_only_states_survive_json() -> None:
    rng = np.random.default_rng(1)
    policy = compile_policy(RolloutSpec(), {"typography": SLOS["typography"]})
    seen = _busy(compile_policy(RolloutSpec(), SLOS), 10.0, rng)
    assert Observation.from_json(seen.to_json()) == seen
    with pytest.raises(InvalidInput, match=r"observation\.speed"):
        Observation.from_json('{"at_s": 1.0, "speed": 3}')
    state = start(policy, at_s=0.0, rollout_id="r", champion="m@1", challenger="m@2")
    for at_s in (1.0, 2.0, 3.0):
        state = decide(policy, state, _busy(policy, at_s, rng)).state
        assert State.from_json(state.to_json()) == state
        assert decide(policy, State.from_json(state.to_json()), _busy(policy, at_s + 1, rng)).weight >= 0.0
