"""What a person asks of a rollout, applied to it or refused with the phase and why."""

from dataclasses import replace

from contracts.specs.rollout import Strategy
from rollout.actions import ReasonCode
from rollout.course import Move, Situation, advance_step, begin_promotion, first_share, retreat, unproven
from rollout.phases import ManualAction, ManualKind, Phase, Refusal, why_illegal
from rollout.policy import Policy
from rollout.state import State


def apply_overrides(
    policy: Policy, state: State, actions: tuple[ManualAction, ...]
) -> tuple[State, tuple[Refusal, ...]]:
    """Return the state with the gates silenced that overrides name, and the overrides that were refused."""
    refusals = []
    known = [gate.name for gate in policy.gates]
    for action in actions:
        if action.kind is not ManualKind.OVERRIDE:
            continue
        unknown = [name for name in action.gates if name not in known]
        why = why_illegal(action.kind, state.phase)
        why = why or (f"no gate is called {', '.join(unknown)}; gates: {', '.join(known)}" if unknown else "")
        if why:
            refusals.append(Refusal(action, state.phase, why))
            continue
        chosen = action.gates or tuple(known)
        state = replace(state, muted=tuple(name for name in known if name in {*state.muted, *chosen}))
    return state, tuple(refusals)


def apply_manual(now: Situation) -> tuple[Move | None, tuple[Refusal, ...]]:
    """Return the move that a person's actions make, the last legal one deciding, and those that were refused.

    An abort decides over everything else asked in the same tick.
    """
    move: Move | None = None
    refusals = []
    asked = [action for action in now.observation.manual if action.kind is not ManualKind.OVERRIDE]
    for action in sorted(asked, key=lambda one: one.kind is ManualKind.ABORT):
        why = why_illegal(action.kind, now.state.phase) or _why_not(now, action)
        if why:
            refusals.append(Refusal(action, now.state.phase, why))
        else:
            move = _move(now, action)
    return move, tuple(refusals)


def _why_not(now: Situation, action: ManualAction) -> str:
    """Return why an action that the phase allows can't be done all the same."""
    state = now.state
    before_traffic = state.resume_to in {Phase.PENDING, Phase.WARMING}
    if action.kind is ManualKind.PROMOTE_STEP:
        if before_traffic:
            return f"{state.challenger} is not warm yet; resume first"
        if now.policy.spec.strategy is Strategy.ADAPTIVE and Phase.MIRRORING not in {state.phase, state.resume_to}:
            return "the adaptive ramp has no steps; promote all, or override a gate"
    if action.kind is ManualKind.PROMOTE_ALL:
        if before_traffic:
            return f"{state.challenger} is not warm yet; resume first"
        waiting = unproven(now)
        if waiting:
            return f"{', '.join(waiting)} not proven safe; override them by name to go against the verdict"
    return ""


def _move(now: Situation, action: ManualAction) -> Move:
    state, told = now.state, f"{action.actor}: {action.reason}"
    if action.kind is ManualKind.ABORT:
        return retreat(ReasonCode.ABORTED, f"aborted by {told}", Phase.ABORTING)
    if action.kind is ManualKind.PAUSE:
        return Move(ReasonCode.PAUSED, f"paused by {told}", Phase.PAUSED, None, {"resume_to": state.phase})
    if action.kind is ManualKind.PROMOTE_ALL:
        return begin_promotion(ReasonCode.PROMOTED_ALL, f"promoted by {told}")
    if action.kind is ManualKind.PROMOTE_STEP:
        mirroring = Phase.MIRRORING in {state.phase, state.resume_to}
        step = first_share(now) if mirroring else advance_step(now, ReasonCode.PROMOTED_STEP)
        return replace(step, code=ReasonCode.PROMOTED_STEP, sentence=f"{step.sentence}; promoted by {told}")
    return _resume(now, told)


def _resume(now: Situation, told: str) -> Move:
    state = now.state
    if state.reason is ReasonCode.STEP_PAUSE:
        step = advance_step(now, ReasonCode.RESUMED)
        return replace(step, sentence=f"{step.sentence}; resumed by {told}")
    target = state.resume_to or Phase.PROGRESSING
    changes: dict[str, object] = {"resume_to": None, "step_since_s": now.at_s}
    if state.reason is ReasonCode.TIMEOUT_PAUSE:
        changes["trial_s"] = 0.0
    return Move(ReasonCode.RESUMED, f"resumed by {told}", target, None, changes)
