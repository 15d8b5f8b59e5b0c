"""Sections on change: rollouts with why, incidents with their timeline, what is under way."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from contracts.units import format_duration
from evaluation.report.document import Cell, Evidence, Section, Table
from evaluation.report.facts import Facts, when
from evaluation.report.figures import Figure, count, missing
from evaluation.report.source import DecisionRow

ENDED = ("promoted", "rolled-back", "aborted", "failed")
PROMOTING = frozenset({"gate.safe-proven", "manual.promoted-all", "timeout.promoted"})
GOING_BACK = ("rolling-back", "rolled-back", "aborting", "aborted")
TROUBLE = ("alarm.", "hold.", "gate.harm", "rollback.", "rollout.rolled-back", "rollout.failed", "timeout.",
           "drift.", "monitor.", "budget.")  # fmt: skip
MOST_LINES = 60


@dataclass(frozen=True)
class RolloutStory:
    """One rollout as the ledger tells it, clipped to the week."""

    rollout_id: str
    decisions: Sequence[DecisionRow]

    @property
    def phase(self) -> str:
        """Its last phase in the week."""
        return str(self.decisions[-1].decision.get("phase"))

    @property
    def versions(self) -> str:
        """Champion and challenger, as far as they were written down."""
        last = self.decisions[-1].decision
        pair = [str(last[name]) for name in ("champion", "challenger") if last.get(name)]
        return " → ".join(pair) if pair else "–"

    @property
    def challenger(self) -> str:
        """The version on trial, or the rollout's name where it wasn't written down."""
        return str(self.decisions[-1].decision.get("challenger") or self.rollout_id)

    @property
    def decided(self) -> DecisionRow:
        """The decision that settled it: the one that turned it back, or why it was promoted; else the last."""
        went_back = self.phase in GOING_BACK
        settling = (row.decision.get("phase") in GOING_BACK if went_back else row.decision.get("reason") in PROMOTING
                    for row in self.decisions)  # fmt: skip
        return next((row for row, settles in zip(self.decisions, settling, strict=True) if settles), self.decisions[-1])

    def seconds(self, first: str, *last: str) -> float | None:
        """Return the time from the first decision in phase ``first`` to the first in one of ``last``."""
        start = next((row.at_s for row in self.decisions if row.decision.get("phase") == first), None)
        end = next((row.at_s for row in self.decisions if row.decision.get("phase") in last), None)
        return end - start if start is not None and end is not None and end >= start else None


def stories(facts: Facts) -> list[RolloutStory]:
    """Return the week's rollouts in the order in which they began."""
    found: dict[str, list[DecisionRow]] = defaultdict(list)
    for row in facts.records.decisions:
        found[row.rollout_id].append(row)
    return [RolloutStory(name, rows) for name, rows in found.items()]


def rollouts_section(facts: Facts, evidence: Evidence) -> Section:
    """Return each rollout with its ending, why, the evidence, and how long it took to see and to turn back."""
    told = stories(facts)
    rows = [_story_row(story, evidence) for story in told]
    endings = Counter(story.phase for story in told)
    parts = [f"{endings[phase]} {phase.replace('-', ' ')}" for phase in ENDED if endings[phase]]
    open_count = sum(number for phase, number in endings.items() if phase not in ENDED)
    parts += [f"{open_count} not ended"] if open_count else []
    sentence = f"{len(told)} rollout{'s' * (len(told) != 1)}: {', '.join(parts)}." if told else "No rollout this week."
    columns = ("rollout", "versions", "ended as", "why", "strongest evidence of harm", "needed", "time to decide",
               "time to turn back", "decisions")  # fmt: skip
    return Section(4, "rollouts", "Rollouts", sentence, [Table("Rollouts", columns, rows, "no rollout this week")])


def _story_row(story: RolloutStory, evidence: Evidence) -> Sequence[Cell]:
    decided, first, last = story.decided, story.decisions[0], story.decisions[-1]
    cited = evidence.cite(
        f"rollout {story.rollout_id}",
        f"ledger: decisions {first.sequence} to {last.sequence} of {story.rollout_id}",
        [
            ("decided in", f"decision {decided.sequence}, {when(decided.at_s)} UTC, digest {decided.digest[:16]}"),
            ("policy", decided.policy_digest[:23]),
            ("reason", str(decided.decision.get("reason"))),
        ],
    )
    verdicts = [v for v in decided.decision.get("verdicts", ()) if v.get("evidence") is not None]
    strongest = max(verdicts, key=lambda verdict: verdict["evidence"] / verdict["needed"], default=None)
    if strongest is None:
        proof, needed = [missing("no verdict was reached", evidence=cited)] * 2
    else:
        n = int(strongest.get("n", 0))
        proof = Figure(float(strongest["evidence"]), n, evidence=cited)
        needed = Figure(float(strongest["needed"]), n, evidence=cited)
    return (
        story.rollout_id,
        story.versions,
        story.phase,
        str(decided.decision.get("sentence", "")),
        proof,
        needed,
        _seconds(decided.at_s - first.at_s, len(story.decisions), cited),
        _seconds(_turn_back_s(story), len(story.decisions), cited),
        count(len(story.decisions), evidence=cited),
    )


def _turn_back_s(story: RolloutStory) -> float | None:
    """Return the time from the first decision to go back until the challenger's share was nil and it was retired."""
    return story.seconds("rolling-back", "rolled-back") or story.seconds("aborting", "aborted")


def _seconds(value: float | None, n: int, cited: str) -> Figure:
    return Figure(value, n, unit="seconds", evidence=cited, why="" if value is not None else "it did not turn back")


def incidents_section(facts: Facts, evidence: Evidence) -> Section:
    """Return what went wrong, grouped by cause, and in the order of time."""
    trouble = [event for event in facts.records.events if event.code.startswith(TROUBLE)]
    seen = {(event.subject, event.code) for event in trouble}
    lines = [(e.at_s, e.subject, e.code, e.message) for e in trouble]
    for story in stories(facts):
        for row in story.decisions:
            code = str(row.decision.get("reason"))
            subject = f"rollout/{story.rollout_id}"
            if code.startswith(TROUBLE) and (subject, code) not in seen:
                seen.add((subject, code))
                lines.append((row.at_s, subject, code, str(row.decision.get("sentence", ""))))
    lines.sort()
    causes = Counter(code for _, _, code, _ in lines)
    cited = evidence.cite(
        "incidents", "events that people were told, and the ledger's decisions", [("told", str(len(trouble)))]
    )
    rows: list[Sequence[Cell]] = [[code, count(number, evidence=cited)] for code, number in causes.most_common()]
    timeline = [[when(at_s), subject, code, message] for at_s, subject, code, message in lines[:MOST_LINES]]
    more = f" The timeline shows the first {MOST_LINES}." if len(lines) > MOST_LINES else ""
    sentence = f"{len(lines)} incidents of {len(causes)} kinds.{more}" if lines else "No incident was recorded."
    return Section(
        11,
        "incidents",
        "Incidents",
        sentence,
        [
            Table("By cause", ("code", "times"), rows, "none"),
            Table("Timeline", ("when (UTC)", "subject", "code", "what"), timeline, "none"),
        ],
    )


def upcoming_section(facts: Facts) -> Section:
    """Return the rollouts that had not ended when the week did."""
    going = [story for story in stories(facts) if story.phase not in ENDED]
    rows = [
        [
            story.rollout_id,
            story.versions,
            story.phase,
            str(story.decisions[-1].decision.get("sentence", "")),
            format_duration(facts.week.end_s - story.decisions[0].at_s),
        ]
        for story in going
    ]
    sentence = f"{len(going)} under way at the week's end." if going else "No rollout was under way at the week's end."
    columns = ("rollout", "versions", "phase", "waits for", "age at the week's end")
    return Section(12, "upcoming", "Under way", sentence, [Table("Rollouts not ended", columns, rows, "none")])
