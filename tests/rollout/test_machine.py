"""The state machine: phases, the saga, people, and rollback in every phase."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import InvalidInput, NotPermitted
from rollout.actions import ActionKind, FailedEffect, ReasonCode
from rollout.machine import decide, start
from rollout.observation import Exposure, Observation, ScoresTick
from rollout.phases import ENDED, ManualAction, ManualKind, Phase, check_manual
from rollout.state import State
from rollout.verdicts import Outcome
from tests.rollout.conftest import World, arms, make_policy

Make = Callable[..., World]


def ask(kind: ManualKind, *gates: str) -> dict[str, Any]:
    return {"manual": (ManualAction(kind, "ada", "because", gates),)}


def test_a_good_challenger_goes_through_every_phase_to_promoted(world: Make) -> None:
    place = world()
    place.ready = False
    assert place.tick().state.phase is Phase.WARMING
    assert ActionKind.WARM in {action.kind for action in place.tick().actions}
    place.ready = True
    decision = place.until("promoted")
    assert place.phases == ["warming", "progressing", "promoting", "baking", "promoted"]
    assert decision.weight == 1.0
    assert decision.reason.code is ReasonCode.PROMOTED
    assert all(action.kind is ActionKind.NOTIFY for action in place.tick().actions)


def test_the_saga_waits_for_each_acknowledgement(world: Make) -> None:
    place = world()
    place.until("promoting")
    assert place.tick(ready=False).weight < 1.0
    decision = place.tick()
    assert decision.weight == 1.0
    assert not any(action.kind is ActionKind.MOVE_ALIAS for action in decision.actions)
    for _ in range(3):
        decision = place.tick(weight_applied=0.5)
        assert [action.kind for action in decision.actions] == [ActionKind.SET_WEIGHT]
    decision = place.tick()
    assert [action.kind for action in decision.actions] == [ActionKind.MOVE_ALIAS]
    assert place.tick(alias_moved=False).state.phase is Phase.PROMOTING
    assert place.tick().state.phase is Phase.BAKING


def test_a_bad_challenger_is_rolled_back_with_evidence(world: Make) -> None:
    place = world()
    place.tick()
    place.bad_rate = 0.5
    decision = place.tick()
    assert decision.state.phase is Phase.ROLLING_BACK
    assert decision.weight == 0.0
    assert decision.verdicts[0].outcome is Outcome.HARM
    assert "fails 50 % of requests" in decision.reason.sentence
    assert "the limit is 0.5 %" in decision.reason.sentence
    assert place.tick(weight_applied=0.3).state.phase is Phase.ROLLING_BACK
    decision = place.tick()
    assert decision.state.phase is Phase.ROLLED_BACK
    assert ActionKind.RETIRE_CHALLENGER in {action.kind for action in decision.actions}


@pytest.mark.parametrize("phase", ["progressing", "promoting", "baking"])
def test_harm_is_found_in_every_phase_with_traffic(world: Make, phase: str) -> None:
    place = world(bake="10m")
    place.until(phase)
    place.bad_rate = 0.5
    assert place.tick().weight <= place.policy.spec.min_weight
    assert place.until("rolled-back", 6).weight == 0.0
    assert not place.alias


def test_an_outage_of_both_during_the_bake_goes_back_to_compare_and_does_not_blame(world: Make) -> None:
    place = world(bake="10m")
    place.until("baking")
    place.bad_rate = place.champion_rate = 0.2
    decision = place.tick()
    assert decision.state.phase is Phase.PROGRESSING
    assert decision.weight == place.policy.spec.min_weight
    assert ActionKind.RESTORE_ALIAS in {action.kind for action in decision.actions}
    for _ in range(20):
        decision = place.tick()
    assert decision.state.phase is Phase.PROGRESSING
    assert decision.reason.code is ReasonCode.ENVIRONMENT


def test_harm_is_found_while_paused_and_while_a_person_is_asked(world: Make) -> None:
    place = world(steps=[{"weight": 0.2, "pause": True}, {"weight": 0.5, "hold": "5m"}])
    place.until("paused")
    assert place.state.reason is ReasonCode.STEP_PAUSE
    place.bad_rate = 0.5
    assert place.tick().state.phase is Phase.ROLLING_BACK


def test_steps_hold_their_time_and_requests_and_a_person_goes_on(world: Make) -> None:
    place = world(
        steps=[{"weight": 0.1, "hold": "30s"}, {"weight": 0.2, "min_requests": 1000}, {"weight": 0.4, "pause": True}]
    )
    weights = [place.tick().weight for _ in range(9)]
    assert weights == [0.1, 0.1, 0.1, 0.2, 0.2, 0.2, 0.4, 0.4, 0.4]
    assert place.state.phase is Phase.PAUSED
    assert place.tick(**ask(ManualKind.RESUME)).state.phase is Phase.PROGRESSING
    assert place.tick().state.phase is Phase.PROMOTING


def test_pause_resume_and_abort(world: Make) -> None:
    place = world(requests=200)
    place.tick()
    weight = place.weight
    assert place.tick(**ask(ManualKind.PAUSE)).state.phase is Phase.PAUSED
    assert place.tick().weight == weight
    assert place.tick(**ask(ManualKind.RESUME)).state.phase is Phase.PROGRESSING
    decision = place.tick(**ask(ManualKind.ABORT))
    assert decision.state.phase is Phase.ABORTING
    assert "ada: because" in decision.reason.sentence
    assert place.tick().state.phase is Phase.ABORTED


def test_illegal_actions_are_refused_with_phase_and_why(world: Make) -> None:
    place = world()
    place.tick()
    decision = place.tick(**ask(ManualKind.RESUME))
    assert decision.refusals[0].phase is Phase.PROGRESSING
    assert "not while progressing" in decision.refusals[0].why
    decision = place.tick(**ask(ManualKind.PROMOTE_STEP))
    assert "no steps" in decision.refusals[0].why
    with pytest.raises(NotPermitted, match="resume refused in phase progressing"):
        check_manual(ManualAction(ManualKind.RESUME, "ada", "go"), Phase.PROGRESSING)
    with pytest.raises(InvalidInput, match="reason: is empty"):
        check_manual(ManualAction(ManualKind.ABORT, "ada", " "), Phase.PROGRESSING)


def test_promote_all_needs_proof_or_an_override(world: Make) -> None:
    place = world(requests=20)
    place.tick()
    decision = place.tick(**ask(ManualKind.PROMOTE_ALL))
    assert "availability not proven safe" in decision.refusals[0].why
    assert "no gate is called speed" in place.tick(**ask(ManualKind.OVERRIDE, "speed")).refusals[0].why
    place.tick(**ask(ManualKind.OVERRIDE, "availability"))
    assert place.state.muted == ("availability",)
    assert place.tick(**ask(ManualKind.PROMOTE_ALL)).state.phase is Phase.PROMOTING


def test_an_overridden_gate_holds_but_never_rolls_back(world: Make) -> None:
    place = world()
    place.tick()
    place.tick(**ask(ManualKind.OVERRIDE))
    place.bad_rate = 0.5
    decision = place.tick()
    assert decision.state.phase is Phase.PROGRESSING
    assert decision.reason.code is ReasonCode.WATCH


def test_an_outage_of_both_arms_holds_at_the_least_weight(world: Make) -> None:
    place = world()
    for _ in range(3):
        place.tick()
    place.bad_rate = place.champion_rate = 0.2
    decision = place.tick()
    assert decision.state.phase is Phase.PROGRESSING
    assert decision.reason.code is ReasonCode.ENVIRONMENT
    assert decision.weight == place.policy.spec.min_weight
    place.until("paused")
    place.bad_rate = place.champion_rate = 0.0
    place.tick(**ask(ManualKind.RESUME))
    place.until("promoting", 200)


@pytest.mark.parametrize(
    ("on_timeout", "phase"), [("pause", "paused"), ("rollback", "rolling-back"), ("promote", "promoting")]
)
def test_the_maximum_duration_ends_as_the_policy_says(world: Make, on_timeout: str, phase: str) -> None:
    place = world(requests=2, on_timeout=on_timeout)
    decision = place.until(phase)
    assert decision.state.at_s == 1800
    assert decision.reason.code.value.startswith("timeout.")


def test_old_telemetry_is_no_data_which_holds_and_alarms_and_never_promotes(world: Make) -> None:
    place = world(on_timeout="promote", max_duration="5m")
    place.tick()
    codes = [place.tick(newest_telemetry_s=0.0, counts={}, exposures=()).reason.code for _ in range(12)]
    assert ReasonCode.NO_DATA in codes
    assert codes[-1] is ReasonCode.NO_DATA_ALARM
    for _ in range(30):
        decision = place.tick(newest_telemetry_s=0.0, counts={}, exposures=())
    assert decision.state.phase is Phase.PAUSED
    assert {verdict.outcome for verdict in decision.verdicts} == {Outcome.NO_DATA}
    assert "no data on tags@13" in decision.verdicts[0].sentence


def test_a_split_that_contradicts_the_weights_pauses_and_a_person_resumes(world: Make) -> None:
    place = world()
    place.tick()
    decision = place.tick(exposures=(Exposure(place.weight, 1000, 1000),))
    assert decision.state.phase is Phase.PAUSED
    assert decision.reason.code is ReasonCode.SAMPLE_RATIO
    place.bad_rate = 0.9
    assert place.tick().state.phase is Phase.PAUSED
    place.bad_rate = 0.0
    assert place.tick(**ask(ManualKind.RESUME)).state.phase is Phase.PROGRESSING
    assert place.tick().state.phase is Phase.PROGRESSING


def test_a_step_that_can_not_be_carried_out_fails_and_leaves_the_champion(world: Make) -> None:
    place = world(requests=20)
    place.tick()
    failure = FailedEffect(ActionKind.SET_WEIGHT, "no gateway accepts the table", permanent=True)
    decision = place.tick(failed=(failure,))
    assert decision.state.phase is Phase.FAILED
    assert decision.weight == 0.0
    assert place.tick(failed=(failure,)).state.phase is Phase.FAILED
    assert place.tick(**ask(ManualKind.RESUME)).state.phase is Phase.PROGRESSING


def test_a_failure_after_the_shift_stays_on_the_proven_challenger(world: Make) -> None:
    place = world()
    place.until("promoting")
    place.tick()
    place.tick(alias_moved=False)
    failure = FailedEffect(ActionKind.MOVE_ALIAS, "the registry refuses", permanent=True)
    decision = place.tick(alias_moved=False, failed=(failure,))
    assert decision.state.phase is Phase.FAILED
    assert decision.weight == 1.0


def test_mirroring_waits_for_its_pairs(world: Make) -> None:
    place = world(mirror={"share": 0.2, "min_pairs": 100})
    decision = place.tick()
    assert decision.state.phase is Phase.MIRRORING
    assert (decision.weight, decision.mirror_share) == (0.0, 0.2)
    place.tick(counts={"availability": arms(0, 60, 0, 60)})
    decision = place.tick(counts={"availability": arms(0, 60, 0, 60)})
    assert decision.state.phase is Phase.PROGRESSING
    assert decision.mirror_share == 0.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"at_s": -1.0}, "at_s"),
        ({"counts": {"availability": arms(-1, 3)}}, r"counts\.availability\.challenger"),
        ({"counts": {"availability": arms(4, 3)}}, r"counts\.availability\.challenger: 4 bad of 3"),
        ({"counts": {"speed": arms(1, 3)}}, r"counts\.speed"),
        ({"slices": {"availability": {"draft": arms(1, 3)}}}, r"slices\.availability\.draft"),
        ({"scores": {"typography": ScoresTick((0.5,))}}, r"scores\.typography"),
        ({"exposures": (Exposure(1.5, 1, 1),)}, r"exposures\.0\.weight"),
        ({"exposures": (Exposure(0.5, -1, 1),)}, r"exposures\.0"),
        ({"weight_applied": 2.0}, "weight_applied"),
        ({"request_rate": float("nan")}, "request_rate"),
    ],
)
def test_what_can_not_be_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    policy = make_policy()
    state = start(policy, at_s=0.0, rollout_id="r", champion="m@1", challenger="m@2")
    with pytest.raises(InvalidInput, match=message):
        decide(policy, state, Observation(**{"at_s": 1.0, **changes}))


def test_a_state_of_another_policy_is_refused() -> None:
    state = start(make_policy(), at_s=0.0, rollout_id="r", champion="m@1", challenger="m@2")
    with pytest.raises(InvalidInput, match="policy_digest"):
        decide(make_policy(alpha=0.02), state, Observation(at_s=1.0))
    with pytest.raises(InvalidInput, match="challenger"):
        start(make_policy(), at_s=0.0, rollout_id="r", champion="m@1", challenger="m@1")


@pytest.mark.parametrize("text", ["{}", "[]", "no", '{"schema": 99}'])
def test_a_state_that_is_something_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="state"):
        State.from_json(text)


manual_kinds = st.lists(st.sampled_from(ManualKind), max_size=2)
ticks = st.tuples(
    st.integers(0, 400), st.floats(0, 1), st.floats(0, 1), st.booleans(), st.booleans(), manual_kinds, st.floats(0, 60)
)


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(ticks, min_size=1, max_size=25), explicit=st.booleans())
def test_whatever_happens_the_promises_hold(steps: list[Any], explicit: bool) -> None:
    extra: dict[str, Any] = (
        {"steps": [{"weight": 0.1, "hold": "20s"}, {"weight": 0.6, "pause": True}]} if explicit else {}
    )
    policy = make_policy(max_duration="2m", bake="20s", **extra)
    state = start(policy, at_s=0.0, rollout_id="r", champion="m@1", challenger="m@2")
    at_s = 0.0
    for step in steps:
        at_s += step[-1]
        before, seen = state, _anything(state, at_s, step)
        decision = decide(policy, state, seen)
        state = decision.state
        assert 0.0 <= decision.weight <= 1.0
        assert State.from_json(state.to_json()) == state
        if before.phase in {Phase.ROLLED_BACK, Phase.ROLLING_BACK, Phase.ABORTING, Phase.ABORTED}:
            assert decision.weight == 0.0
            assert state.phase in {Phase.ROLLED_BACK, Phase.ROLLING_BACK, Phase.ABORTING, Phase.ABORTED}
        if before.phase in ENDED:
            assert state.phase is before.phase
        assert len(decision.refusals) <= len(seen.manual)
        for verdict in decision.verdicts:
            assert verdict.evidence >= 0.0
            assert verdict.sentence
            assert verdict.to_document()["gate"] == verdict.gate


def _anything(state: State, at_s: float, step: Any) -> Observation:
    requests, bad, champion_bad, ready, acknowledged, kinds, _ = step
    mine = int(requests * state.weight)
    theirs = requests - mine
    return Observation(
        at_s=at_s,
        counts={"availability": arms(int(mine * bad), mine, int(theirs * champion_bad), theirs)},
        exposures=(Exposure(state.weight, mine, theirs),),
        newest_telemetry_s=at_s,
        request_rate=requests / 10,
        ready=ready,
        weight_applied=state.weight if acknowledged else None,
        alias_moved=state.shifted and acknowledged,
        retired=acknowledged,
        manual=tuple(ManualAction(kind, "ada", "why") for kind in kinds),
    )
