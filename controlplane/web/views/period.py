"""The time that a page shows: all of it, the last hours up to the newest value, or from one moment to another."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime

from contracts.errors import InvalidInput
from contracts.notation import parse_duration_s

PRESETS = ("15m", "1h", "6h", "1d", "7d", "28d")
HINT = "write a duration such as 6h, or two moments in UTC such as 2026-11-21T10:00/2026-11-21T12:00"


@dataclass(frozen=True, slots=True)
class Span:
    """From one moment to another, in seconds since 1970, both included."""

    since_s: float = -math.inf
    until_s: float = math.inf

    def holds(self, at_s: float) -> bool:
        """Tell whether a moment lies within."""
        return self.since_s <= at_s <= self.until_s

    def meets(self, since_s: float, until_s: float) -> bool:
        """Tell whether another time has a moment in common with it."""
        return since_s <= self.until_s and until_s >= self.since_s


EVER = Span()


@dataclass(frozen=True, slots=True)
class Period:
    """A time as it stands in an address; ``last_s`` counts back from the newest value that a page has."""

    text: str = ""
    last_s: float | None = None
    between: Span = EVER

    def span(self, newest_s: float | None) -> Span:
        """Return from when to when."""
        if self.last_s is None or newest_s is None:
            return self.between
        return Span(newest_s - self.last_s, math.inf)


ALL_TIME = Period()


def parse_period(text: str) -> Period:
    """Return what ``6h`` or ``2026-11-21T10:00/2026-11-21T12:00`` stands for; "" is all time.

    Raises:
        InvalidInput: when it is neither.
    """
    text = text.strip()
    if not text:
        return ALL_TIME
    first, slash, last = text.partition("/")
    if not slash:
        try:
            return Period(text, parse_duration_s(text))
        except InvalidInput:
            raise InvalidInput(f"t: {text[:40]!r} is not a time", hint=HINT) from None
    since_s, until_s = _moment(first, -math.inf), _moment(last, math.inf)
    if since_s >= until_s:
        raise InvalidInput(f"t: {text[:80]!r} ends before it begins", hint=HINT)
    return Period(text, between=Span(since_s, until_s))


def _moment(text: str, otherwise_s: float) -> float:
    if not text.strip():
        return otherwise_s
    try:
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise InvalidInput(f"t: {text[:40]!r} is not a moment", hint=HINT) from None
