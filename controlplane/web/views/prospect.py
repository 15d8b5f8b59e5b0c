"""What a rollout waits for, and until when at the longest, as its policy says."""

from dataclasses import dataclass

from contracts.notation import format_evidence
from contracts.specs.rollout import OnTimeout, RolloutSpec
from controlplane.web.views.story import Story
from rollout.actions import ReasonCode
from rollout.phases import Phase

TRIAL = frozenset({Phase.MIRRORING, Phase.PROGRESSING})
STEPPED = frozenset({ReasonCode.RAISED.value, ReasonCode.PROMOTED_STEP.value})
LAPSE = {
    OnTimeout.PAUSE: "it is paused",
    OnTimeout.ROLLBACK: "traffic goes back to the champion",
    OnTimeout.PROMOTE: "it is promoted if no check is in doubt",
}


@dataclass(frozen=True)
class Prospect:
    """One thing to come: what, and when where that is known."""

    what: str
    at_s: float | None = None


def view_prospects(story: Story, policy: RolloutSpec | None) -> tuple[Prospect, ...]:
    """Return what comes next, the soonest first; nothing for a rollout that has ended."""
    phase, since_s = story.last.phase, story.spans[-1].since_s
    told = {
        Phase.PENDING: "traffic begins when a replica answers and its warm-up is done",
        Phase.WARMING: "traffic begins when a replica answers and its warm-up is done",
        Phase.PAUSED: "a person resumes, promotes or aborts it",
        Phase.FAILED: "a person resumes or aborts it",
        Phase.PROMOTING: "the alias moves when gateways have acknowledged all traffic",
        Phase.ROLLING_BACK: "it ends when gateways have acknowledged that no traffic is the challenger's",
        Phase.ABORTING: "it ends when gateways have acknowledged that no traffic is the challenger's",
    }
    if phase in told:
        return (Prospect(told[phase]),)
    if phase is Phase.BAKING:
        until_s = since_s + policy.bake if policy is not None else None
        return (Prospect("the champion is retired unless harm is proven before", until_s),)
    return tuple(_trial(story, policy)) if phase in TRIAL else ()


def _trial(story: Story, policy: RolloutSpec | None) -> list[Prospect]:
    if story.last.phase is Phase.MIRRORING:
        pairs = f"{policy.mirror.min_pairs} " if policy is not None and policy.mirror is not None else ""
        found = [Prospect(f"live traffic begins after {pairs}mirrored outputs were compared")]
    else:
        found = [_step(story, policy)] if policy is not None and policy.steps else []
        found += _proofs(story)
    if policy is not None:
        spent_s = sum(
            (following.since_s if following else story.last.at_s) - span.since_s
            for span, following in zip(story.spans, [*story.spans[1:], None], strict=True)
            if span.phase in TRIAL
        )
        found.append(
            Prospect(f"without proof {LAPSE[policy.on_timeout]}", story.last.at_s + policy.max_duration - spent_s)
        )
    return found


def _step(story: Story, policy: RolloutSpec) -> Prospect:
    """Return until when the present step holds; it began with the last decision that took one."""
    taken = [tick for tick in story.ticks if tick.reason in STEPPED and tick.phase is Phase.PROGRESSING]
    number = len(taken)
    if not taken or number > len(policy.steps):
        return Prospect("all steps are done")
    step = policy.steps[number - 1]
    following = f"step {number + 1} of {len(policy.steps)}" if number < len(policy.steps) else "the proof of safety"
    asked = f" and {step.min_requests} requests" if step.min_requests else ""
    person = ", when a person says so" if step.pause else ""
    return Prospect(
        f"step {number} holds; then {following}{asked and f', after the time{asked}'}{person}",
        taken[-1].at_s + step.hold,
    )


def _proofs(story: Story) -> list[Prospect]:
    waiting = [
        f"{verdict['gate']} (evidence {format_evidence(verdict['safe_evidence'] or 0.0)} "
        f"of {format_evidence(verdict['safe_needed'])})"
        for verdict in story.verdicts
        if verdict["safe_needed"] is not None and verdict["kind"] == "gate" and verdict["outcome"] != "pass"
    ]
    return [Prospect(f"promotion begins when safety is proven in {', '.join(waiting)}")] if waiting else []
