"""A sweep: many deadlines looked at together now and then, for a tenth of the cost of a timer each."""

import asyncio
import math
from typing import Protocol

INTERVAL_S = 0.02
NEVER_S = math.inf


class Due(Protocol):
    """Something that may expire; ``due_s`` is on the event loop's clock, ``NEVER_S`` while nothing is awaited of it."""

    due_s: float

    def expire(self) -> None:
        """Do what is due; ``due_s`` has been set to ``NEVER_S`` before."""
        ...


class Sweep:
    """Deadlines that are kept to within ``INTERVAL_S``. No timer runs while nothing can be due."""

    def __init__(self) -> None:
        self._items: set[Due] = set()
        self.running = False

    def add(self, item: Due) -> None:
        """Look after an item from now on; whoever sets its ``due_s`` calls ``wake``."""
        self._items.add(item)

    def discard(self, item: Due) -> None:
        """Forget an item."""
        self._items.discard(item)

    def wake(self) -> None:
        """Look for what is due as long as anything may be."""
        if not self.running:
            self.running = True
            asyncio.get_running_loop().call_later(INTERVAL_S, self._look)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for item in [item for item in self._items if item.due_s <= now]:
            item.due_s = NEVER_S
            item.expire()
        self.running = any(item.due_s < NEVER_S for item in self._items)
        if self.running:
            loop.call_later(INTERVAL_S, self._look)
