"""One rollout: the verdict in a sentence, its phases, how much traffic it has, and each check with all its numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.web.views.difference import NOTHING, Number
from controlplane.web.views.story import Row, Story
from rollout.phases import ENDED, RETREATING, Phase

STALE_AFTER_S = 10.0
PROVEN = "every gate is proven safe"
COURSE = (Phase.PENDING, Phase.WARMING, Phase.MIRRORING, Phase.PROGRESSING, Phase.PROMOTING, Phase.BAKING)
DECISIVE = frozenset({"gate.harm-proven", "gate.safe-proven", "manual.aborted", "timeout.rolled-back"})


@dataclass(frozen=True)
class Check:
    """One gate: value, limit and number; the difference with its band (95 %, at all times) and what is tolerated.

    ``family`` is burn (a bad rate), relative (a ratio of bad rates) or score (a mean); ``value``, ``limit`` are in its
    measure; ``challenger``, ``champion``, ``difference`` and ``tolerance`` are rates or mean scores. ``evidence`` of
    harm proves it at ``needed``; the same for safety, None where the gate has no safe side.
    """

    gate: str
    sli: str
    family: str
    kind: str
    outcome: str
    sentence: str
    part: str
    value: Number
    limit: Number
    n: int
    evidence: float
    needed: float
    safe_evidence: Number
    safe_needed: Number
    challenger: Number
    champion: Number
    champion_n: int
    difference: Number
    low: Number
    high: Number
    tolerance: Number


@dataclass(frozen=True)
class Step:
    """One phase on the ribbon: ``state`` is done, now, stopped (here it ended), end, or ahead."""

    phase: str
    state: str
    since_s: float | None = None
    until_s: float | None = None
    sequence: int | None = None
    note: str = ""
    outlook: str = "good"


@dataclass(frozen=True)
class RolloutView:
    """All that a page or an API says of one rollout at one decision."""

    rollout_id: str
    service: str
    champion: str
    challenger: str
    phase: str
    outlook: str
    sentence: str
    decided: str
    decided_at: int | None
    sequence: int
    at_s: float
    started_s: float
    is_over: bool
    weight: float
    measured: Number
    challenger_n: int
    champion_n: int
    request_rate: float
    policy_digest: str
    code_version: str
    steps: tuple[Step, ...]
    checks: tuple[Check, ...]

    @property
    def short(self) -> str:
        """What a list says of it: how it was decided, without the numbers of each gate that is proven safe."""
        told = self.decided or self.sentence
        return PROVEN if told.startswith(f"{PROVEN}:") else told


def view_rollout(story: Story) -> RolloutView:
    """Return a rollout as its newest decision left it."""
    last = story.last
    decisive = next((tick for tick in reversed(story.ticks) if tick.reason in DECISIVE), None)
    return RolloutView(
        rollout_id=story.rollout_id,
        service=story.service,
        champion=story.champion or "the champion",
        challenger=story.challenger or "the challenger",
        phase=last.phase.value,
        outlook=outlook(last.phase),
        sentence=last.sentence,
        decided=decisive.sentence if decisive and decisive is not last else "",
        decided_at=decisive.sequence if decisive else None,
        sequence=last.sequence,
        at_s=last.at_s,
        started_s=story.started_s,
        is_over=story.is_over,
        weight=last.weight,
        measured=story.measured(len(story.ticks) - 1),
        challenger_n=last.challenger,
        champion_n=last.champion,
        request_rate=story.request_rate,
        policy_digest=story.policy_digest,
        code_version=story.code_version,
        steps=tuple(_steps(story)),
        checks=tuple(view_check(story, verdict) for verdict in story.verdicts),
    )


def outlook(phase: Phase) -> str:
    """Return how a phase stands: good, bad, waiting (for a person) or busy."""
    if phase in {Phase.ROLLING_BACK, Phase.ROLLED_BACK, Phase.ABORTING, Phase.ABORTED, Phase.FAILED}:
        return "bad"
    if phase is Phase.PAUSED:
        return "waiting"
    return "good" if phase is Phase.PROMOTED else "busy"


def view_check(story: Story, verdict: Mapping[str, Any]) -> Check:
    """Return a check as a verdict tells it, with what both versions did beside it."""
    arms = story.arms.get(verdict["sli"])
    readings = arms.readings() if arms else []
    reading = readings[-1] if readings else NOTHING
    keys = ("gate", "sli", "family", "kind", "outcome", "sentence", "part", "value", "limit", "n", "evidence", "needed")
    return Check(
        **{key: verdict[key] for key in keys},
        safe_evidence=verdict["safe_evidence"],
        safe_needed=verdict["safe_needed"],
        challenger=reading.challenger,
        champion=reading.champion,
        champion_n=reading.champion_n,
        difference=reading.difference,
        low=reading.low,
        high=reading.high,
        tolerance=tolerance(verdict["family"], verdict["limit"], reading.champion),
    )


def tolerance(family: str, limit: Number, champion: Number) -> Number:
    """Return the difference to the champion at which the challenger reaches the gate's limit."""
    if limit is None or champion is None:
        return None
    return (limit - 1) * champion if family == "relative" else limit - champion


def _steps(story: Story) -> list[Step]:
    """Return the ribbon: the phases that were, then those ahead; what was never reached stays grey for good."""
    steps: list[Step] = []
    for position, span in enumerate(story.spans):
        following = story.spans[position + 1] if position + 1 < len(story.spans) else None
        state, note = "done", ""
        if following is None:
            state = "end" if span.phase in ENDED else "now"
        elif following.phase in RETREATING or following.phase is Phase.FAILED:
            share = max((tick.weight for tick in story.ticks if tick.sequence < following.sequence), default=0.0)
            state, note = "stopped", f"stopped at {100 * share:.0f} %"
        until_s = following.since_s if following else None
        steps.append(Step(span.phase.value, state, span.since_s, until_s, span.sequence, note, outlook(span.phase)))
    seen = {span.phase for span in story.spans}
    reached = max((COURSE.index(phase) for phase in seen if phase in COURSE), default=-1)
    if Phase.PROMOTED not in seen:
        ahead = [phase for phase in COURSE[reached + 1 :] if phase is not Phase.MIRRORING]
        steps += [Step(phase.value, "ahead") for phase in (*ahead, Phase.PROMOTED)]
    return steps


def view_decisions(story: Story, rows: list[Row], limit: int = 50) -> list[Row]:
    """Return a rollout's decisions that changed something, newest first."""
    mine = [row for row in rows if row.rollout_id == story.rollout_id and row.changed]
    return mine[::-1][:limit]
