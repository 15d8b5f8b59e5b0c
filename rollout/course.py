"""Where a rollout goes from its phase, given what the gates say: one function per phase."""

from collections.abc import Callable
from dataclasses import field
from typing import Any

from contracts.records import record
from contracts.specs.rollout import OnTimeout, Strategy
from contracts.units import format_duration, format_fraction
from rollout.actions import ReasonCode
from rollout.attribution import Attribution
from rollout.observation import Fit, Observation
from rollout.phases import Phase
from rollout.policy import Policy
from rollout.ramp import adaptive_weight
from rollout.state import State
from rollout.verdicts import Outcome, Verdict
from rollout.view import View, required_gates

FULL = 1.0


@record(frozen=True, slots=True)
class Situation:
    """All that a phase's function may look at.

    ``state`` is as the last decision left it; ``trial_s``, ``step_requests`` and ``no_data_since_s`` are its fields
    with this tick counted.
    """

    policy: Policy
    state: State
    observation: Observation
    view: View
    verdicts: tuple[Verdict, ...]
    trial_s: float
    step_requests: int
    no_data_since_s: float

    @property
    def at_s(self) -> float:
        """The time of this decision."""
        return self.observation.at_s


@record(frozen=True, slots=True)
class Move:
    """What changes: the reason, the phase (``None``: stays), the weight (``None``: stays), and other state fields."""

    code: ReasonCode
    sentence: str
    phase: Phase | None = None
    weight: float | None = None
    changes: dict[str, Any] = field(default_factory=dict)


def move_on(now: Situation) -> Move:
    """Return what the machine does by itself in the phase at hand."""
    return COURSES[now.state.phase](now)


def retreat(code: ReasonCode, sentence: str, phase: Phase) -> Move:
    """Return the move that takes all traffic from the challenger; it needs nothing but the weight."""
    return Move(code, sentence, phase, 0.0, {"mirror_share": 0.0})


def begin_promotion(code: ReasonCode, sentence: str) -> Move:
    """Return the move that begins the promotion saga."""
    return Move(code, sentence, Phase.PROMOTING, None, {"mirror_share": 0.0})


def unproven(now: Situation) -> list[str]:
    """Return the gates that promotion still waits for."""
    verdicts = now.verdicts
    return [verdicts[g].gate for g in required_gates(now.policy, now.state) if verdicts[g].outcome is not Outcome.PASS]


def first_share(now: Situation) -> Move:
    """Return the move into the trial, with its first mirror share or weight."""
    mirror = now.policy.spec.mirror
    if now.state.phase in {Phase.PENDING, Phase.WARMING} and mirror is not None:
        share = min(mirror.share, now.observation.weight_cap)
        sentence = f"{now.state.challenger} is ready; {format_fraction(share)} of traffic is mirrored to it"
        return Move(ReasonCode.MIRRORING, sentence, Phase.MIRRORING, 0.0, {"mirror_share": share})
    weight = now.policy.spec.steps[0].weight if now.policy.spec.steps else _ramp_weight(now)
    sentence = f"{now.state.challenger} gets its first {format_fraction(weight)} of traffic"
    changes = {"mirror_share": 0.0, "step": 0, "step_since_s": now.at_s, "step_requests": 0}
    return Move(ReasonCode.RAISED, sentence, Phase.PROGRESSING, weight, changes)


HEADROOM = {
    Fit.WAITING: ReasonCode.HEADROOM_WAITING,
    Fit.REDUCED: ReasonCode.HEADROOM_REDUCED,
    Fit.SHARED: ReasonCode.HEADROOM_SHARED,
}


def _pending(now: Situation) -> Move:
    if now.observation.ready:
        return first_share(now)
    headroom = now.observation.headroom
    if headroom is not None and headroom.fit in HEADROOM:
        return Move(HEADROOM[headroom.fit], headroom.sentence, Phase.WARMING)
    return Move(ReasonCode.WARMING, f"{now.state.challenger} is loading and warming up", Phase.WARMING)


def _mirroring(now: Situation) -> Move:
    mirror = now.policy.spec.mirror
    needed = mirror.min_pairs if mirror is not None else 0
    seen = int(now.view.pairs)
    held = _hold(now)
    if held is not None:
        return Move(held.code, held.sentence, held.phase, 0.0)
    if seen >= needed:
        return first_share(now)
    return _timeout(now) or Move(ReasonCode.MIRRORING, f"{seen} of {needed} mirrored outputs compared")


def _progressing(now: Situation) -> Move:
    held = _hold(now)
    if held is not None:
        return held if held.phase is not None else _timeout(now) or held
    if now.policy.spec.strategy is Strategy.STEPS:
        return _next_step(now)
    waiting = unproven(now)
    if not waiting and required_gates(now.policy, now.state):
        return begin_promotion(ReasonCode.PROVEN_SAFE, _safe_sentence(now))
    return _timeout(now) or _adapt(now, waiting)


def _adapt(now: Situation, waiting: list[str]) -> Move:
    before, weight = now.state.weight, _ramp_weight(now)
    if now.view.burning:
        weight = min(weight, before)
        return Move(ReasonCode.BURN, "the last minutes burn at twice the budget; the share is not raised", None, weight)
    if weight == now.observation.weight_cap:
        return _at_capacity(weight)
    names = ", ".join(waiting) or "a person"
    if weight > before:
        return Move(ReasonCode.RAISED, f"share raised to {format_fraction(weight)}; waiting for {names}", None, weight)
    if weight < before:
        sentence = f"share lowered to {format_fraction(weight)}: the evidence allows a larger excess of bad responses"
        return Move(ReasonCode.LOWERED, sentence, None, weight)
    return Move(ReasonCode.AWAITING_PROOF, f"share stays at {format_fraction(weight)}; waiting for {names}")


def _at_capacity(weight: float) -> Move:
    sentence = f"share is {format_fraction(weight)}: the challenger's workers can't serve more of the present traffic"
    return Move(ReasonCode.CAPACITY, sentence, None, weight)


def _next_step(now: Situation) -> Move:
    state, steps = now.state, now.policy.spec.steps
    cap = now.observation.weight_cap
    if cap < steps[min(state.step, len(steps) - 1)].weight:
        return _timeout(now) or _at_capacity(cap)
    if state.step >= len(steps):
        waiting = unproven(now)
        if not waiting:
            return begin_promotion(ReasonCode.PROVEN_SAFE, _safe_sentence(now))
        sentence = f"all steps are done; waiting for {', '.join(waiting)}"
        return _timeout(now) or Move(ReasonCode.AWAITING_PROOF, sentence, None, steps[-1].weight)
    step = steps[state.step]
    held_s = now.at_s - state.step_since_s
    if held_s < step.hold or now.step_requests < step.min_requests:
        left = format_duration(max(step.hold - held_s, 0.0))
        sentence = (
            f"step {state.step + 1} of {len(steps)}: {left} and {now.step_requests} of {step.min_requests} requests"
        )
        return _timeout(now) or Move(ReasonCode.STEP_HOLD, sentence, None, step.weight)
    if now.view.burning:
        sentence = "the last minutes burn at twice the budget; the step is not left"
        return _timeout(now) or Move(ReasonCode.BURN, sentence, None, step.weight)
    if step.pause:
        sentence = f"step {state.step + 1} of {len(steps)} waits for a person"
        return Move(ReasonCode.STEP_PAUSE, sentence, Phase.PAUSED, step.weight, {"resume_to": Phase.PROGRESSING})
    return advance_step(now, ReasonCode.RAISED)


def advance_step(now: Situation, code: ReasonCode) -> Move:
    """Return the move to the next explicit step, or past the last one."""
    steps, step = now.policy.spec.steps, now.state.step + 1
    weight = steps[min(step, len(steps) - 1)].weight
    sentence = f"step {min(step + 1, len(steps))} of {len(steps)}: {format_fraction(weight)} of traffic"
    changes = {"step": step, "step_since_s": now.at_s, "step_requests": 0, "resume_to": None}
    return Move(code, sentence, Phase.PROGRESSING, weight, changes)


def _hold(now: Situation) -> Move | None:
    """Return why the share must not grow, if it must not."""
    if now.view.split_broken:
        sentence = "the observed split contradicts the declared weights; no verdict counts until a person resumes"
        return Move(ReasonCode.SAMPLE_RATIO, sentence, Phase.PAUSED, None, {"resume_to": now.state.phase})
    silent = [v for g, v in enumerate(now.verdicts) if v.outcome is Outcome.NO_DATA and _blocks(now, g)]
    if silent:
        since = now.no_data_since_s
        late = since >= 0 and now.at_s - since > now.policy.spec.max_staleness
        return Move(ReasonCode.NO_DATA_ALARM if late else ReasonCode.NO_DATA, silent[0].sentence)
    for cause, code, sentence in HOLDS:
        gates = now.view.attributed(cause)
        if gates:
            return Move(code, f"{now.verdicts[gates[0]].sentence}; {sentence}", None, _held_weight(now, cause))
    return None


HOLDS = (
    (Attribution.ENVIRONMENT, ReasonCode.ENVIRONMENT, "the champion burns too, and the challenger is not proven worse"),
    (Attribution.UNCLEAR, ReasonCode.UNCLEAR, "not yet proven worse than the champion over the same time"),
    (Attribution.WATCH, ReasonCode.WATCH, "the share is held"),
)


def _held_weight(now: Situation, cause: Attribution) -> float | None:
    if cause is Attribution.ENVIRONMENT:
        return min(now.state.weight, now.policy.spec.min_weight)
    return min(now.state.weight, _ramp_weight(now)) if cause is Attribution.UNCLEAR else None


def _blocks(now: Situation, gate: int) -> bool:
    return now.policy.gates[gate].kind.value == "gate" and now.policy.gates[gate].name not in now.state.muted


def _timeout(now: Situation) -> Move | None:
    spec = now.policy.spec
    if now.trial_s < spec.max_duration:
        return None
    waiting = ", ".join(unproven(now)) or "nothing"
    sentence = f"no proof either way within {format_duration(spec.max_duration)}; still waiting for {waiting}"
    doubtful = any(
        verdict.outcome is not Outcome.INCONCLUSIVE and verdict.outcome is not Outcome.PASS for verdict in now.verdicts
    )
    if spec.on_timeout is OnTimeout.ROLLBACK:
        return retreat(ReasonCode.TIMEOUT_ROLLBACK, sentence, Phase.ROLLING_BACK)
    if spec.on_timeout is OnTimeout.PROMOTE and not doubtful:
        return begin_promotion(ReasonCode.TIMEOUT_PROMOTE, sentence)
    return Move(ReasonCode.TIMEOUT_PAUSE, sentence, Phase.PAUSED, None, {"resume_to": now.state.phase})


def _paused(now: Situation) -> Move:
    return Move(
        now.state.reason, f"paused at {format_fraction(now.state.weight)}; a person resumes, promotes or aborts"
    )


def _doubt(now: Situation) -> Move | None:
    """Return the move back to the trial when harm is proven, and not yet whose: the champion must serve to show it."""
    for cause in (Attribution.ENVIRONMENT, Attribution.UNCLEAR):
        gates = [g for g in now.view.attributed(cause) if now.verdicts[g].outcome is Outcome.HARM]
        if gates:
            sentence = f"{now.verdicts[gates[0]].sentence}; traffic goes back to compare with the champion"
            changes = {"shifted": False, "resume_to": None}
            return Move(ReasonCode.UNCLEAR, sentence, Phase.PROGRESSING, now.policy.spec.min_weight, changes)
    return None


def _promoting(now: Situation) -> Move:
    name, seen = now.state.challenger, now.observation
    doubt = _doubt(now)
    if doubt is not None:
        return doubt
    if not now.state.shifted and not seen.ready:
        return Move(ReasonCode.SHIFTING, f"{name} is proven, but its replicas are not ready for all traffic")
    if not now.state.shifted and seen.weight_cap < FULL:
        return Move(ReasonCode.CAPACITY, f"{name} is proven, but its workers can't serve all of the present traffic")
    if seen.weight_applied is None or seen.weight_applied < FULL or now.state.weight < FULL:
        return Move(ReasonCode.SHIFTING, f"all traffic goes to {name}", None, FULL)
    if not seen.alias_moved:
        return Move(ReasonCode.MOVING_ALIAS, f"{name} serves all traffic; the alias follows", changes={"shifted": True})
    sentence = f"{name} is champion; the old version stays warm for {format_duration(now.policy.spec.bake)}"
    return Move(ReasonCode.BAKING, sentence, Phase.BAKING, FULL, {"shifted": True})


def _baking(now: Situation) -> Move:
    doubt = None if now.state.retiring else _doubt(now)
    if doubt is not None:
        return doubt
    if now.state.retiring and now.observation.retired:
        return Move(ReasonCode.PROMOTED, f"{now.state.challenger} is promoted", Phase.PROMOTED, FULL)
    if now.state.retiring or now.at_s - now.state.phase_since_s >= now.policy.spec.bake:
        return Move(ReasonCode.RETIRING, f"{now.state.champion} is retired", None, FULL, {"retiring": True})
    left = format_duration(now.policy.spec.bake - (now.at_s - now.state.phase_since_s))
    return Move(ReasonCode.BAKING, f"{now.state.champion} stays warm for another {left}", None, FULL)


def _retreating(now: Situation) -> Move:
    person = now.state.phase is Phase.ABORTING
    if now.observation.weight_applied == 0.0:
        code = ReasonCode.ENDED_BY_PERSON if person else ReasonCode.ROLLED_BACK
        phase = Phase.ABORTED if person else Phase.ROLLED_BACK
        return Move(code, f"all traffic is back on {now.state.champion}", phase, 0.0)
    return Move(ReasonCode.ROLLING_BACK, f"traffic goes back to {now.state.champion}", None, 0.0)


def _ended(now: Situation) -> Move:
    return Move(now.state.reason, f"the rollout has ended: {now.state.phase.value}")


def _failed(now: Situation) -> Move:
    return Move(ReasonCode.FAILED, "a step could not be carried out; a person resumes or aborts")


def _ramp_weight(now: Situation) -> float:
    weight = adaptive_weight(now.policy.spec, now.view.excess, now.observation.request_rate, now.state.weight)
    return min(weight, now.observation.weight_cap)


def _safe_sentence(now: Situation) -> str:
    proofs = [now.verdicts[gate].sentence for gate in required_gates(now.policy, now.state)]
    return f"every gate is proven safe: {'; '.join(proofs)}"


COURSES: dict[Phase, Callable[[Situation], Move]] = {
    Phase.PENDING: _pending,
    Phase.WARMING: _pending,
    Phase.MIRRORING: _mirroring,
    Phase.PROGRESSING: _progressing,
    Phase.PAUSED: _paused,
    Phase.PROMOTING: _promoting,
    Phase.BAKING: _baking,
    Phase.PROMOTED: _ended,
    Phase.ROLLING_BACK: _retreating,
    Phase.ROLLED_BACK: _ended,
    Phase.ABORTING: _retreating,
    Phase.ABORTED: _ended,
    Phase.FAILED: _failed,
}
