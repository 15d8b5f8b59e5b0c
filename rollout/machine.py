"""``decide``: one tick of one rollout, from everything that may be looked at to everything that must be done."""

from dataclasses import replace
from typing import Any

import numpy as np

from contracts.errors import InvalidInput
from contracts.records import record
from rollout.actions import NOTIFYING, Action, ActionKind, Reason, ReasonCode
from rollout.attribution import Attribution
from rollout.course import FULL, Move, Situation, move_on, retreat
from rollout.evidence.stack import accumulate, begin
from rollout.intake import Intake, one_tick, take_in
from rollout.layout import layout_of
from rollout.manual import apply_manual, apply_overrides
from rollout.observation import Observation, check_observation
from rollout.phases import ENDED, JUDGED, RETREATING, Phase, Refusal
from rollout.policy import Policy
from rollout.state import State, start
from rollout.verdicts import Outcome, Verdict
from rollout.view import View, distrust, make_verdicts, muted_gates, view_columns

__all__ = ["Decision", "conclude", "decide", "start"]

NEEDS_NO_REPLICA = ENDED | RETREATING | {Phase.BAKING}
CAN_NOT_FAIL = ENDED | RETREATING | {Phase.FAILED}
CAPPED = frozenset({Phase.PROGRESSING, Phase.PAUSED})
"""Phases in which the share is bounded by what the challenger's workers can serve; all traffic is another question."""
LOST = frozenset({Phase.ROLLED_BACK, Phase.ABORTED})
TRIAL = frozenset({Phase.MIRRORING, Phase.PROGRESSING})
CHALLENGER_IS_CHAMPION = frozenset({Phase.PROMOTING, Phase.BAKING, Phase.PROMOTED, Phase.FAILED})


@record(frozen=True, slots=True)
class Decision:
    """What follows from one tick.

    ``weight`` and ``mirror_share`` are the shares of traffic asked for; ``actions`` the effects to carry out now,
    repeated until the observation says they are done; ``refusals`` the manual actions that were not done.
    """

    state: State
    weight: float
    mirror_share: float
    verdicts: tuple[Verdict, ...]
    actions: tuple[Action, ...]
    reason: Reason
    refusals: tuple[Refusal, ...] = ()


def decide(policy: Policy, state: State, observation: Observation) -> Decision:
    """Decide one tick; the same inputs give the same decision, always.

    Raises:
        InvalidInput: naming the field, when the observation can't be or the state belongs to another policy.
    """
    check_inputs(policy, state, observation)
    state, refusals = apply_overrides(policy, state, observation.manual)
    layout = layout_of(policy)
    intake = take_in(policy, state, observation)
    evidence = accumulate(layout.stack, state.evidence, one_tick(intake)) if judged(state) else state.evidence
    columns = view_columns(layout, evidence, muted=np.array(muted_gates(policy, state)))
    view = View(evidence, *(column.tolist() for column in columns))
    return conclude(policy, state, observation, intake=intake, view=view, refusals=refusals)


def check_inputs(policy: Policy, state: State, observation: Observation) -> None:
    """Refuse what can't be decided on, before anything changes.

    Raises:
        InvalidInput: naming the field.
    """
    if state.policy_digest != policy.digest:
        raise InvalidInput(
            f"state.policy_digest: {state.policy_digest} is not the policy handed in ({policy.digest})",
            hint="a rollout keeps the policy it was started with",
        )
    check_observation(policy, state.at_s, observation)


def judged(state: State) -> bool:
    """Return whether what the challenger does now is evidence: from its first traffic until it is on its way out."""
    return state.phase in JUDGED and not (state.phase is Phase.PAUSED and state.resume_to not in TRIAL)


def conclude(
    policy: Policy,
    state: State,
    observation: Observation,
    *,
    intake: Intake,
    view: View,
    refusals: tuple[Refusal, ...],
) -> Decision:
    """Return the decision that follows from the evidence of one tick; plain Python, shared with ``decide_many``."""
    why = distrust(policy, state, observation, view, intake.scores_waiting_s)
    verdicts = make_verdicts(policy, state, view, why) if judged(state) else ()
    now = _situation(policy, state, observation, view, verdicts)
    move, refused = _choose(now)
    after = _apply(now, move, intake)
    if move.code is ReasonCode.RESUMED and (any(view.harm) or state.reason is ReasonCode.SAMPLE_RATIO):
        # A person saw to what burned both arms, or to the counting; evidence from before would mislead.
        after = replace(after, evidence=begin(layout_of(policy).stack))
    actions = _actions(after, observation, move)
    reason = Reason(move.code, move.sentence)
    return Decision(after, after.weight, after.mirror_share, verdicts, actions, reason, refusals + refused)


def _situation(
    policy: Policy, state: State, observation: Observation, view: View, verdicts: tuple[Verdict, ...]
) -> Situation:
    silent = any(verdict.outcome is Outcome.NO_DATA for verdict in verdicts)
    since = state.no_data_since_s if state.no_data_since_s >= 0 else observation.at_s
    arms = next(iter(observation.counts.values()), None)
    assigned = sum(exposure.challenger for exposure in observation.exposures)
    return Situation(
        policy,
        state,
        observation,
        view,
        verdicts,
        trial_s=state.trial_s + (observation.at_s - state.at_s if state.phase in TRIAL else 0.0),
        step_requests=state.step_requests + (assigned if arms is None else arms.challenger.total),
        no_data_since_s=since if silent else -1.0,
    )


def _choose(now: Situation) -> tuple[Move, tuple[Refusal, ...]]:
    """Return the move: a proven harm first, then a person's wish, then a failed effect, then the phase's own course."""
    wish, refused = apply_manual(now)
    if wish is not None and wish.phase is Phase.ABORTING:
        return wish, refused
    blamed = now.view.attributed(Attribution.CHALLENGER) if now.verdicts and not now.state.retiring else []
    proven = [gate for gate in blamed if now.verdicts[gate].outcome is Outcome.HARM]
    if proven:
        return retreat(ReasonCode.PROVEN_HARM, now.verdicts[proven[0]].sentence, Phase.ROLLING_BACK), refused
    if wish is not None:
        return wish, refused
    broken = [effect for effect in now.observation.failed if effect.permanent]
    if broken and now.state.phase not in CAN_NOT_FAIL:
        weight = FULL if now.state.shifted else 0.0
        sentence = f"{broken[0].kind.value} can't be carried out: {broken[0].message}"
        changes = {"resume_to": now.state.phase, "mirror_share": 0.0}
        return Move(ReasonCode.FAILED, sentence, Phase.FAILED, weight, changes), refused
    return move_on(now), refused


def _apply(now: Situation, move: Move, intake: Intake) -> State:
    state = now.state
    changes: dict[str, Any] = {
        "at_s": now.at_s,
        "evidence": now.view.evidence,
        "unmatched": intake.unmatched,
        "scores_waiting_s": intake.scores_waiting_s,
        "trial_s": now.trial_s,
        "step_requests": now.step_requests,
        "no_data_since_s": now.no_data_since_s,
        **move.changes,
    }
    if move.phase is not None and move.phase is not state.phase:
        changes |= {"phase": move.phase, "phase_since_s": now.at_s}
    weight = state.weight if move.weight is None else move.weight
    if changes.get("phase", state.phase) in CAPPED:
        weight = min(weight, now.observation.weight_cap)
    changes["weight"] = weight
    if move.code is not state.reason:
        changes |= {"reason": move.code, "reason_since_s": now.at_s}
    return replace(state, **changes)


def _actions(state: State, observation: Observation, move: Move) -> tuple[Action, ...]:
    kinds: list[tuple[ActionKind, str, float]] = []
    if not observation.ready and state.phase not in NEEDS_NO_REPLICA:
        kinds.append((ActionKind.WARM, state.challenger, 0.0))
    if observation.weight_applied != state.weight:
        kinds.append((ActionKind.SET_WEIGHT, state.challenger, state.weight))
    if (observation.mirror_applied or 0.0) != state.mirror_share:
        kinds.append((ActionKind.SET_MIRROR, state.challenger, state.mirror_share))
    if state.phase is Phase.PROMOTING and state.shifted and not observation.alias_moved:
        kinds.append((ActionKind.MOVE_ALIAS, state.challenger, 0.0))
    if state.retiring and state.phase is Phase.BAKING and not observation.retired:
        kinds.append((ActionKind.RETIRE_CHAMPION, state.champion, 0.0))
    if observation.alias_moved and state.phase not in CHALLENGER_IS_CHAMPION:
        kinds.append((ActionKind.RESTORE_ALIAS, state.champion, 0.0))
    if state.phase in LOST and not observation.retired:
        kinds.append((ActionKind.RETIRE_CHALLENGER, state.challenger, 0.0))
    actions = [
        Action(kind, f"{state.rollout_id}:{kind.value}:{value!r}", version, value) for kind, version, value in kinds
    ]
    if move.code in NOTIFYING:
        key = f"{state.rollout_id}:{move.code.value}:{state.reason_since_s!r}"
        actions.append(Action(ActionKind.NOTIFY, key, state.challenger, 0.0, move.sentence))
    return tuple(actions)
