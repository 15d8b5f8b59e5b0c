"""Mirror: copies of served requests for a version on trial; bounded, and the first to be dropped under load."""

import asyncio
from collections.abc import Callable

from serving.gateway.attempts import Attempt, LaneSlot, ask_replica
from serving.gateway.lines import Line
from serving.gateway.work import Work

MOST_COPIES = 32


class Mirror:
    """The copies under way. One begins only where a replica is idle and nobody waits, and ends when somebody does."""

    def __init__(self) -> None:
        self._under_way: set[asyncio.Task[None]] = set()
        self.dropped = 0

    def copy(self, line: Line, work: Work, slot: LaneSlot, timeout_s: float, note: Callable[[Attempt], None]) -> None:
        """Ask a version the same without waiting; ``note`` is told how it went, unless the copy was dropped."""
        if len(self._under_way) >= MOST_COPIES or line.waiting:
            self.dropped += 1
            return
        task = asyncio.create_task(self._run(line, work, slot, timeout_s, note))
        self._under_way.add(task)
        line.mirrors.add(task)
        task.add_done_callback(self._under_way.discard)
        task.add_done_callback(line.mirrors.discard)

    async def _run(
        self, line: Line, work: Work, slot: LaneSlot, timeout_s: float, note: Callable[[Attempt], None]
    ) -> None:
        replica = line.take(slot.lane, slot.max_concurrency)
        if replica is None:
            self.dropped += 1
            return
        try:
            note(await ask_replica(line, replica, work, slot.lane, timeout_s=timeout_s))
        except asyncio.CancelledError:
            self.dropped += 1
