"""A rollout's story: its decisions folded, one after another, into what pages and charts are made of."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from controlplane.store.ledger import Entry
from controlplane.web.views.difference import DifferenceCourse, Reading
from rollout.phases import ENDED, JUDGED, Phase

MEASURED_OVER_S = 10.0
MEASURED_OVER_REQUESTS = 20


@dataclass(frozen=True, slots=True)
class Tick:
    """One decision in short; ``challenger`` and ``champion`` count all requests assigned so far."""

    sequence: int
    at_s: float
    phase: Phase
    weight: float
    applied: float | None
    reason: str
    sentence: str
    challenger: int
    champion: int


@dataclass(frozen=True, slots=True)
class Span:
    """A phase that a rollout was in: since when, and the decision that began it."""

    phase: Phase
    since_s: float
    sequence: int


@dataclass(slots=True)
class Arms:
    """What was counted or scored of one indicator while the rollout was judged, a row per decision.

    ``counts`` are running totals (challenger bad, challenger total, champion bad, champion total); ``scores`` are those
    that came with the decision: the challenger's, the champion's, and differences of mirrored pairs.
    """

    rows: list[int] = field(default_factory=list)
    counts: list[tuple[int, int, int, int]] = field(default_factory=list)
    scores: list[tuple[Sequence[float], Sequence[float], Sequence[float]]] = field(default_factory=list)
    _course: DifferenceCourse = field(default_factory=DifferenceCourse)

    def readings(self) -> list[Reading]:
        """Return how the versions differed, a reading per row."""
        if self.scores:
            return self._course.advance_scores(self.scores)
        return self._course.advance_counts(self.counts)


@dataclass(slots=True)
class GateCourse:
    """One gate's numbers, a row per decision that had a verdict; ``rows`` are positions in the story's ticks."""

    rows: list[int] = field(default_factory=list)
    value: list[float | None] = field(default_factory=list)
    evidence: list[float] = field(default_factory=list)
    safe_evidence: list[float | None] = field(default_factory=list)


class Story:
    """One rollout as its decisions tell it, oldest first."""

    def __init__(self, first: Entry) -> None:
        self.rollout_id = first.rollout_id
        self.service = first.rollout_id.rsplit("-", 2)[0]
        self.champion = self.challenger = ""
        self.policy_digest, self.code_version = first.policy_digest, first.code_version
        self.ticks: list[Tick] = []
        self.spans: list[Span] = []
        self.verdicts: list[Mapping[str, Any]] = []
        self.gates: dict[str, GateCourse] = {}
        self.arms: dict[str, Arms] = {}
        self.request_rate = 0.0
        self.fold(first)

    @property
    def last(self) -> Tick:
        """The newest decision."""
        return self.ticks[-1]

    @property
    def started_s(self) -> float:
        """When the first decision was made, in seconds since 1970."""
        return self.ticks[0].at_s

    @property
    def is_over(self) -> bool:
        """Tell whether the rollout has ended."""
        return self.last.phase in ENDED

    def fold(self, entry: Entry) -> None:
        """Take in the next decision."""
        told, seen = entry.decision, entry.observation
        phase = Phase(told["phase"])
        verdicts = told["verdicts"]
        self.champion = told.get("champion") or self.champion
        self.challenger = told.get("challenger") or (verdicts[0]["subject"] if verdicts else self.challenger)
        self.request_rate = float(seen.get("request_rate") or 0.0)
        before = self.ticks[-1] if self.ticks else None
        exposures = seen.get("exposures") or ()
        self.ticks.append(
            Tick(
                sequence=entry.sequence,
                at_s=entry.at_s,
                phase=phase,
                weight=float(told["weight"]),
                applied=seen.get("weight_applied"),
                reason=told["reason"],
                sentence=told["sentence"],
                challenger=(before.challenger if before else 0) + sum(row["challenger"] for row in exposures),
                champion=(before.champion if before else 0) + sum(row["champion"] for row in exposures),
            )
        )
        if before is None or before.phase is not phase:
            self.spans.append(Span(phase, entry.at_s, entry.sequence))
        if verdicts:
            self.verdicts = verdicts
            self._fold_verdicts(verdicts)
        if phase in JUDGED or (before is not None and before.phase in JUDGED):
            self._fold_arms(seen)

    def _fold_verdicts(self, verdicts: Iterable[Mapping[str, Any]]) -> None:
        for verdict in verdicts:
            course = self.gates.setdefault(verdict["gate"], GateCourse())
            course.rows.append(len(self.ticks) - 1)
            course.value.append(verdict["value"])
            course.evidence.append(float(verdict["evidence"] or 0.0))
            course.safe_evidence.append(verdict["safe_evidence"])

    def _fold_arms(self, seen: Mapping[str, Any]) -> None:
        row = len(self.ticks) - 1
        for name, tick in (seen.get("counts") or {}).items():
            arms = self.arms.setdefault(name, Arms())
            total = arms.counts[-1] if arms.counts else (0, 0, 0, 0)
            mine, theirs = tick["challenger"], tick["champion"]
            fresh = (mine["bad"], mine["total"], theirs["bad"], theirs["total"])
            arms.rows.append(row)
            arms.counts.append((total[0] + fresh[0], total[1] + fresh[1], total[2] + fresh[2], total[3] + fresh[3]))
        for name, scores in (seen.get("scores") or {}).items():
            arms = self.arms.setdefault(name, Arms())
            arms.rows.append(row)
            arms.scores.append((scores["challenger"], scores["champion"], scores["pairs"]))

    def measured(self, row: int) -> float | None:
        """Return the challenger's share of the last requests, of ten seconds and twenty requests at least.

        None while no request was assigned.
        """
        now, first, mine, theirs = self.ticks[row], row, 0, 0
        while first > 0 and (
            now.at_s - self.ticks[first].at_s < MEASURED_OVER_S or mine + theirs < MEASURED_OVER_REQUESTS
        ):
            first -= 1
            mine, theirs = now.challenger - self.ticks[first].challenger, now.champion - self.ticks[first].champion
        return mine / (mine + theirs) if mine + theirs else None


@dataclass(frozen=True, slots=True)
class Row:
    """One decision as the journal lists it; ``actor`` is who asked, ``changed`` what is new beside the one before."""

    sequence: int
    at_s: float
    rollout_id: str
    phase: str
    weight: float
    reason: str
    sentence: str
    actor: str
    why: str
    changed: bool


class Chronicle:
    """All stories of one ledger, and its decisions in short."""

    def __init__(self) -> None:
        self.stories: dict[str, Story] = {}
        self.rows: list[Row] = []
        self.origin = ""
        self._outcomes: dict[str, tuple[str, ...]] = {}

    @property
    def sequence(self) -> int:
        """The newest decision's number; -1 while there is none."""
        return self.rows[-1].sequence if self.rows else -1

    @property
    def newest_s(self) -> float | None:
        """When the newest decision was made."""
        return self.rows[-1].at_s if self.rows else None

    def fold(self, entries: Iterable[Entry]) -> None:
        """Take in the next decisions."""
        for entry in entries:
            self.origin = self.origin or entry.digest[:12]
            story = self.stories.get(entry.rollout_id)
            before = story.last if story else None
            before_told = (before.phase, before.reason, before.weight) if before else ()
            if story is None:
                self.stories[entry.rollout_id] = Story(entry)
            else:
                story.fold(entry)
            outcomes = tuple(verdict["outcome"] for verdict in entry.decision["verdicts"])
            told = (entry.decision["phase"], entry.decision["reason"], entry.decision["weight"], outcomes)
            last = self._outcomes.get(entry.rollout_id)
            self._outcomes[entry.rollout_id] = outcomes
            self.rows.append(_row(entry, changed=before is None or told != (*before_told, last)))

    def newest(self) -> Iterator[Story]:
        """Return the stories, the one that began last first."""
        return reversed(self.stories.values())


def _row(entry: Entry, *, changed: bool) -> Row:
    manual = (entry.observation.get("manual") or [{}])[0]
    told = entry.decision
    return Row(
        sequence=entry.sequence,
        at_s=entry.at_s,
        rollout_id=entry.rollout_id,
        phase=told["phase"],
        weight=float(told["weight"]),
        reason=told["reason"],
        sentence=told["sentence"],
        actor=str(manual.get("actor", "")),
        why=str(manual.get("reason", "")),
        changed=changed or bool(manual),
    )
