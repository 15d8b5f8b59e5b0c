"""What may be asked of a rollout now, why the rest may not, and what each would do in numbers."""

from dataclasses import dataclass

from contracts.units import format_duration, format_fraction
from rollout.machine import Decision, decide
from rollout.observation import Observation
from rollout.phases import ManualAction, ManualKind, Phase, why_illegal
from rollout.policy import Policy
from rollout.state import State


@dataclass(frozen=True, slots=True)
class Offer:
    """One action: ``why_not`` when it is not allowed, ``effect`` when it is."""

    name: str
    allowed: bool
    why_not: str
    effect: str


def rehearse(policy: Policy, state: State, action: ManualAction) -> Decision:
    """Return what the machine would decide if an action were all that is new: the evidence stays as it is."""
    seen = Observation(
        at_s=state.at_s,
        newest_telemetry_s=state.at_s,
        weight_applied=state.weight,
        mirror_applied=state.mirror_share,
        ready=True,
        manual=(action,),
    )
    return decide(policy, state, seen)


def offer(policy: Policy, state: State, kind: ManualKind, *, actor: str) -> Offer:
    """Return one action as it would be met now."""
    why = why_illegal(kind, state.phase)
    if why:
        return Offer(kind.value, allowed=False, why_not=why, effect="")
    decision = rehearse(policy, state, ManualAction(kind, actor, "to see what it would do"))
    if decision.refusals:
        return Offer(kind.value, allowed=False, why_not=decision.refusals[0].why, effect="")
    return Offer(kind.value, allowed=True, why_not="", effect=_effect(policy, state, kind, decision))


def _effect(policy: Policy, state: State, kind: ManualKind, decision: Decision) -> str:
    share = format_fraction(state.weight)
    if kind is ManualKind.ABORT:
        return _retreat(policy, state, share)
    if kind is ManualKind.PAUSE:
        return f"{state.challenger} stays at {share} of traffic until somebody goes on; harm still rolls it back"
    if kind is ManualKind.PROMOTE_ALL:
        bake = format_duration(policy.spec.bake)
        return f"{state.challenger} goes from {share} to 100 % of traffic; {state.champion} stays warm for {bake}"
    if kind is ManualKind.OVERRIDE:
        names = ", ".join(gate.name for gate in policy.gates if gate.name not in state.muted)
        return f"these gates no longer hold or roll back, those named alone if some are: {names or 'none is left'}"
    after = format_fraction(decision.weight)
    moved = f"goes from {share} to {after} of traffic" if after != share else f"stays at {share} of traffic"
    return f"{state.challenger} {moved}, {decision.state.phase.value}"


def _retreat(policy: Policy, state: State, share: str) -> str:
    lag = format_duration(policy.spec.reaction_lag)
    if state.weight > 0:
        return f"{share} of traffic returns to {state.champion} within about {lag}"
    if state.phase is Phase.MIRRORING:
        return f"copies of traffic to {state.challenger} end within about {lag}; {state.champion} serves as before"
    return f"{state.challenger} gets no traffic; {state.champion} serves as before"
