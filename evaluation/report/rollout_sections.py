"""Sections on change: rollouts with why, incidents with their timeline, what is under way."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
GRAVE = ("gate.harm", "rollout.failed", "alarm.", "budget.", "timeout.", "drift.", "monitor.", "rollback.")
"""The codes that an incident is told by, the gravest first; any other weighs less."""

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
    columns = ("rollout", "versions", "ended as", "why", "evidence of harm", "needed", "time to decide",
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
    deciding = _deciding_verdict(decided.decision)
    if deciding is None:
        proof, needed = [missing("no verdict was reached", evidence=cited)] * 2
    else:
        n = int(deciding["n"])
        proof = Figure(float(deciding["evidence"]), n, unit="evidence", evidence=cited)
        needed = Figure(float(deciding["needed"]), n, unit="evidence", evidence=cited)
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


def _deciding_verdict(decision: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the verdict that the decision tells of, else the one with most evidence of harm; None without data."""
    verdicts = [v for v in decision.get("verdicts", ()) if v.get("evidence") is not None and v.get("n")]
    told = [verdict for verdict in verdicts if verdict.get("sentence") == decision.get("sentence")]
    return max(told or verdicts, key=lambda verdict: verdict["evidence"] / verdict["needed"], default=None)


def _turn_back_s(story: RolloutStory) -> float | None:
    """Return the time from the first decision to go back until the challenger's share was nil and it was retired."""
    return story.seconds("rolling-back", "rolled-back") or story.seconds("aborting", "aborted")


def _seconds(value: float | None, n: int, cited: str) -> Figure:
    return Figure(value, n, unit="seconds", evidence=cited, why="" if value is not None else "it did not turn back")


@dataclass(frozen=True, slots=True)
class Trouble:
    """One line of an incident's timeline."""

    at_s: float
    subject: str
    code: str
    message: str


def incidents_section(facts: Facts, evidence: Evidence) -> Section:
    """Return what went wrong: one incident for each thing it happened to, by cause, and in the order of time."""
    lines = _troubles(facts)
    by_subject: dict[str, list[Trouble]] = defaultdict(list)
    for line in lines:
        by_subject[line.subject].append(line)
    causes = Counter(line.code for line in lines)
    cited = evidence.cite(
        "incidents", "events that people were told, and the ledger's decisions", [("lines", str(len(lines)))]
    )
    rows = [_incident_row(subject, found, cited) for subject, found in by_subject.items()]
    counts: list[Sequence[Cell]] = [[code, count(number, evidence=cited)] for code, number in causes.most_common()]
    timeline = [[when(line.at_s), line.subject, line.code, line.message] for line in lines[:MOST_LINES]]
    more = f" The timeline shows the first {MOST_LINES} lines of {len(lines)}." if len(lines) > MOST_LINES else ""
    plural = "s" * (len(rows) != 1)
    return Section(
        11,
        "incidents",
        "Incidents",
        f"{len(rows)} incident{plural}.{more}" if rows else "No incident was recorded.",
        [
            Table("Incidents", ("what it happened to", "began (UTC)", "lasted", "worst", "what", "lines"), rows,
                  "none"),
            Table("By cause", ("code", "times"), counts, "none"),
            Table("Timeline", ("when (UTC)", "subject", "code", "what"), timeline, "none"),
        ],
    )  # fmt: skip


def _troubles(facts: Facts) -> list[Trouble]:
    """Return what people were told, and what the ledger has beside it, each cause of a subject once."""
    lines = [Trouble(e.at_s, e.subject, e.code, e.message) for e in facts.records.events if e.code.startswith(TROUBLE)]
    seen = {(line.subject, line.code) for line in lines}
    for story in stories(facts):
        subject = f"rollout/{story.rollout_id}"
        for row in story.decisions:
            code = str(row.decision.get("reason"))
            if code.startswith(TROUBLE) and (subject, code) not in seen:
                seen.add((subject, code))
                lines.append(Trouble(row.at_s, subject, code, str(row.decision.get("sentence", ""))))
    return sorted(lines, key=lambda line: (line.at_s, line.subject, line.code))


def _incident_row(subject: str, lines: Sequence[Trouble], cited: str) -> Sequence[Cell]:
    """Return an incident: since when, how long, and the line that weighs most."""
    worst = min(lines, key=lambda line: next((k for k, code in enumerate(GRAVE) if line.code.startswith(code)), 99))
    lasted = Figure(lines[-1].at_s - lines[0].at_s, len(lines), unit="seconds", evidence=cited)
    return (subject, when(lines[0].at_s), lasted, worst.code, worst.message, count(len(lines), evidence=cited))


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
