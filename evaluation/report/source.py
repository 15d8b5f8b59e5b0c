"""Where a report's facts come from: a port on what was recorded, and the rows it gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol


class CountRow(NamedTuple):
    """What was counted in one bucket of time; ``measure`` such as ``attempts``, ``bad/oom``, ``slow/latency-draft``.

    ``version`` is empty for what belongs to the service as a whole (``requests``), ``lane`` for what belongs to none.
    """

    start_s: int
    service: str
    version: str
    lane: str
    mirrored: bool
    measure: str
    amount: float


class ScoreRow(NamedTuple):
    """One judgement of one output; ``value`` None is no data, with its ``reason``."""

    at_s: float
    service: str
    version: str
    lane: str
    prompt_class: str
    metric: str
    request_id: str
    mirrored: bool
    value: float | None
    reason: str
    digest: str = ""
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class Example:
    """One output kept to be looked at."""

    at_s: float
    service: str
    version: str
    lane: str
    metric: str
    request_id: str
    value: float
    reason: str
    prompt: str
    seed: int
    image: bytes


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """One decision of the ledger as it was written; ``sequence`` and ``digest`` are its place in the chain."""

    sequence: int
    at_s: float
    rollout_id: str
    policy_digest: str
    digest: str
    decision: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EventRow:
    """One thing that people were told."""

    at_s: float
    code: str
    subject: str
    message: str


@dataclass(frozen=True, slots=True)
class Records:
    """Decisions and events in the order of time; ``problems`` says what could not be read."""

    decisions: Sequence[DecisionRow] = ()
    events: Sequence[EventRow] = ()
    problems: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Objective:
    """An objective as it was in force: ``kind`` is availability, latency or score."""

    name: str
    kind: str
    objective: float
    window_s: float
    lane: str | None = None
    scorer: str | None = None
    threshold_s: float | None = None


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """A service as its spec in force said; ``digest`` is the spec's."""

    service: str
    model: str
    objectives: Sequence[Objective] = field(default_factory=tuple)
    digest: str = ""


class WeekSource(Protocol):
    """What was recorded between two moments."""

    def counts(self, start_s: float, end_s: float) -> Sequence[CountRow]:
        """Return counts by the hour."""
        ...

    def scores(self, start_s: float, end_s: float) -> Sequence[ScoreRow]:
        """Return judgements in the order of time."""
        ...

    def examples(self, start_s: float, end_s: float) -> Sequence[Example]:
        """Return the outputs that were kept to be looked at."""
        ...

    def records(self, start_s: float, end_s: float) -> Records:
        """Return decisions and events."""
        ...

    def services(self, at_s: float) -> Sequence[ServiceFacts]:
        """Return the services with the objectives in force at a moment."""
        ...
