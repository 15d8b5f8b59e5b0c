"""Time as a thing handed in, so that a simulated week runs in seconds and every test repeats."""

import time
from typing import Protocol


class Clock(Protocol):
    """Two readings of time: the wall's, for records, and one that never runs backwards, for intervals."""

    def now_s(self) -> float:
        """Return Unix time in seconds (UTC)."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds since an arbitrary start; never decreases."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now_s(self) -> float:
        """Return Unix time in seconds (UTC)."""
        return time.time()

    def monotonic_s(self) -> float:
        """Return seconds since an arbitrary start; never decreases."""
        return time.monotonic()


class FakeClock:
    """A clock that stands still until it is advanced."""

    def __init__(self, start_s: float = 1_750_000_000.0) -> None:
        self._wall_s = start_s
        self._elapsed_s = 0.0

    def now_s(self) -> float:
        """Return the simulated Unix time in seconds."""
        return self._wall_s

    def monotonic_s(self) -> float:
        """Return the simulated seconds advanced so far."""
        return self._elapsed_s

    def advance(self, duration_s: float) -> None:
        """Let ``duration_s`` pass on both readings."""
        self._wall_s += duration_s
        self._elapsed_s += duration_s

    def set_back(self, duration_s: float) -> None:
        """Put the wall clock back, as an operator or NTP may; the monotonic reading stays."""
        self._wall_s -= duration_s
