"""ISO weeks in UTC: Monday 00:00 to the next Monday 00:00."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from contracts.errors import InvalidInput

WEEK = re.compile(r"(\d{4})-?W(\d{2})\Z")
WEEK_S = 7 * 86400


@dataclass(frozen=True, slots=True, order=True)
class Week:
    """One ISO week, written ``2026-W46``."""

    year: int
    number: int

    def __str__(self) -> str:
        return f"{self.year}-W{self.number:02d}"

    @property
    def start_s(self) -> float:
        """Monday 00:00 UTC, Unix time."""
        monday = date.fromisocalendar(self.year, self.number, 1)
        return datetime(monday.year, monday.month, monday.day, tzinfo=UTC).timestamp()

    @property
    def end_s(self) -> float:
        """The next Monday 00:00 UTC, Unix time; no part of the week."""
        return self.start_s + WEEK_S

    @property
    def before(self) -> "Week":
        """The week before."""
        return week_of(self.start_s - 1)

    @property
    def dates(self) -> str:
        """First and last day."""
        first = datetime.fromtimestamp(self.start_s, UTC).date()
        return f"{first.isoformat()} to {(first + timedelta(days=6)).isoformat()}"


def week_of(at_s: float) -> Week:
    """Return the week that a moment lies in."""
    year, number, _ = datetime.fromtimestamp(at_s, UTC).isocalendar()
    return Week(year, number)


def parse_week(text: str, now_s: float) -> Week:
    """Read ``2026-W46``; ``now_s`` is the present.

    Raises:
        InvalidInput: when it is no ISO week, or one that has not begun.
    """
    present = week_of(now_s)
    match = WEEK.match(text.strip().upper())
    if match is None:
        raise InvalidInput(f"week: {text!r} is not an ISO week", hint=f"write YEAR-WNUMBER, such as {present}")
    year, number = int(match[1]), int(match[2])
    try:
        date.fromisocalendar(year, number, 1)
        date.fromisocalendar(year, number, 7)
    except ValueError:
        raise InvalidInput(f"week: {year} has no week {number}", hint=f"this week is {present}") from None
    week = Week(year, number)
    if week > present:
        raise InvalidInput(f"week: {week} has not begun", hint=f"this week is {present}")
    return week
