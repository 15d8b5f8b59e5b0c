"""What judgements come to: preferences, agreement and attention, as plain values."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Preference:
    """Two versions compared: the share that prefers the first (ties count half) with its 95 % interval.

    ``evidence`` that either is preferred, None when no process was handed in; at 1/α the comparison may stop.
    """

    first: str
    second: str
    wins_first: int
    wins_second: int
    ties: int
    share: float | None
    low: float | None
    high: float | None
    evidence: float | None = None

    @property
    def decided(self) -> int:
        """Judgements that preferred one of the two."""
        return self.wins_first + self.wins_second


@dataclass(frozen=True, slots=True)
class Strength:
    """A version's Bradley-Terry strength in log-odds with its 95 % interval; the mean of all versions is zero."""

    version: str
    strength: float
    low: float
    high: float
    judgements: int


@dataclass(frozen=True, slots=True)
class ReviewSummary:
    """Everything that judgements say; ``checks`` are (what, part, whole)."""

    judged: int
    raters: int
    preferences: Sequence[Preference] = ()
    strengths: Sequence[Strength] = ()
    alpha: float | None = None
    alpha_low: float | None = None
    alpha_high: float | None = None
    alpha_items: int = 0
    checks: Sequence[tuple[str, int, int]] = ()
    median_s: float | None = None
    disagreements: Sequence[tuple[str, str]] = ()
