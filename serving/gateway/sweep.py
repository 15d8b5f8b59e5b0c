"""A sweep: many deadlines looked at together now and then, for a tenth of the cost of a timer each."""

import asyncio
from typing import Protocol

INTERVAL_S = 0.02


class Due(Protocol):
    """Something that happens unless it is forgotten before; ``due_s`` is on the event loop's clock."""

    due_s: float

    def expire(self) -> None:
        """Do what is due."""
        ...


class Sweep:
    """Deadlines that are kept to within ``INTERVAL_S``. No timer runs while there are none."""

    def __init__(self) -> None:
        self._items: set[Due] = set()
        self._running = False

    def add(self, item: Due) -> None:
        """Expire an item once it is due."""
        self._items.add(item)
        if not self._running:
            self._running = True
            asyncio.get_running_loop().call_later(INTERVAL_S, self._look)

    def discard(self, item: Due) -> None:
        """Forget an item."""
        self._items.discard(item)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for item in [item for item in self._items if item.due_s <= now]:
            self._items.discard(item)
            item.expire()
        self._running = bool(self._items)
        if self._running:
            loop.call_later(INTERVAL_S, self._look)
