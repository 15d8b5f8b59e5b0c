"""Faults on purpose: parts that are away, answers that get lost, and a process that is killed or stopped at a call."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection

from contracts.clock import Clock
from contracts.errors import Unavailable
from controlplane.store.database import Database


class Killed(BaseException):
    """The process is gone at this very line, as after kill -9."""


class Faults:
    """What befalls one process: parts that are away for it, and one strike at one of its next calls."""

    def __init__(self) -> None:
        self.away: set[str] = set()
        self._left = 0
        self._strike: Callable[[bool], None] | None = None

    def arm(self, calls: int, strike: Callable[[bool], None]) -> None:
        """Strike at the ``calls``-th moment from now; the strike is told whether a transaction is open."""
        self._left, self._strike = calls, strike

    def disarm(self) -> None:
        """Let the strike go that was never met."""
        self._strike = None

    def pass_by(self, part: str, *, within: bool = False) -> None:
        """Reach a moment before or after a call, or ``within`` a transaction."""
        if part in self.away:
            raise Unavailable(f"{part} does not answer")
        if self._strike is not None:
            self._left -= 1
            if self._left <= 0:
                strike, self._strike = self._strike, None
                strike(within)


class Faulty:
    """A port whose every call may be struck before it, and after it was done."""

    def __init__(self, part: str, inner: Any, faults: Faults) -> None:
        self._part, self._inner, self._faults = part, inner, faults

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        def call(*args: Any, **options: Any) -> Any:
            self._faults.pass_by(self._part)
            answer = found(*args, **options)
            self._faults.pass_by(self._part)
            return answer

        return call


class FaultyDatabase(Database):
    """A database of which a process may lose the answer, or its life in the middle of a transaction."""

    def __init__(self, url: str, clock: Clock, faults: Faults) -> None:
        super().__init__(url, clock)
        self._faults = faults

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Yield a connection; strikes come before it, within it, and after the commit."""
        self._faults.pass_by("database")
        with super().write() as connection:
            yield connection
            self._faults.pass_by("nothing", within=True)
        self._faults.pass_by("database")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection that sees one state."""
        self._faults.pass_by("database")
        with super().read() as connection:
            yield connection
