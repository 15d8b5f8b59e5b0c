"""The feed: one reader of the ledger for all pages, that follows what another process writes and wakes those who wait.

The ledger is read in a thread and folded in the event loop, so that pages never see half a decision.
"""

import asyncio
from collections.abc import Callable
from itertools import islice

from contracts.errors import RoostError
from controlplane.store.ledger import Entry, Ledger
from controlplane.web.views.story import Chronicle

LOOK_EVERY_S = 0.2
AT_ONCE = 2000

Identity = tuple[int, ...]


class Feed:
    """Follows one ledger; ``identify`` names the ledger that is there now (None: not yet any), ``open_`` opens it."""

    def __init__(self, identify: Callable[[], Identity | None], open_: Callable[[], Ledger]) -> None:
        self._identify, self._open = identify, open_
        self._identity: Identity | None = None
        self._ledger: Ledger | None = None
        self._last: Entry | None = None
        self._changed = asyncio.Event()
        self.chronicle = Chronicle()
        self.problem: RoostError | None = None
        self.version = 0
        self.closed = False

    @property
    def ledger(self) -> Ledger | None:
        """The ledger; None while the home has none."""
        return self._ledger

    async def follow(self) -> None:
        """Read on for ever."""
        while True:
            more = await self.catch_up()
            if not more:
                await asyncio.sleep(LOOK_EVERY_S)

    async def catch_up(self) -> bool:
        """Take in what was written since the last look; tell whether there may be more at once.

        A line that can't be read may still be in the writing: it becomes a problem when it is still there on the next
        look.
        """
        entries, replaced, problem = await asyncio.to_thread(self._fetch)
        if replaced:
            self.chronicle, self._last = Chronicle(), None
        if entries:
            self.chronicle.fold(entries)
            self._last = entries[-1]
        was, self.problem = self.problem, problem
        if entries or replaced or (was is None) != (problem is None):
            self.version += 1
            self._changed.set()
            self._changed = asyncio.Event()
        return len(entries) == AT_ONCE

    def close(self) -> None:
        """Let everybody who waits go, for good."""
        self.closed = True
        self._changed.set()

    async def wait(self, seconds: float) -> bool:
        """Wait for a change; tell whether there was one within the time."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def _fetch(self) -> tuple[list[Entry], bool, RoostError | None]:
        entries: list[Entry] = []
        replaced = False
        try:
            identity = self._identify()
            if identity is None:
                replaced, self._ledger, self._identity = self._ledger is not None, None, None
                return entries, replaced, None
            if self._ledger is None or identity != self._identity:
                replaced, self._ledger, self._identity = self._ledger is not None, self._open(), identity
            after = -1 if replaced or self._last is None else self._last.sequence
            for entry in islice(self._ledger.entries(after=after), AT_ONCE):
                entries.append(entry)  # noqa: PERF402 - what was read before an error counts
        except RoostError as error:
            return entries, replaced, error
        return entries, replaced, None
