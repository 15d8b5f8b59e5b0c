"""The cache: answers to the same question of the same version, and one attempt for those who ask at the same time."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass

from contracts.clock import Clock
from contracts.specs.service import Cache
from serving.gateway.attempts import Attempt


@dataclass(slots=True)
class Stored:
    """A good attempt, and until when it may be given again."""

    attempt: Attempt
    until_s: float


@dataclass(slots=True, eq=False)
class Flight:
    """An attempt under way, and how many wait for it."""

    task: asyncio.Task[Attempt]
    waiting: int = 0


class AnswerCache:
    """Good answers of one service by (version, question), the least recently used forgotten first.

    Who asks what is being answered waits for that answer; when all who wait have gone, the attempt is cancelled.
    """

    def __init__(self, settings: Cache, clock: Clock) -> None:
        self.settings, self._clock = settings, clock
        self._stored: OrderedDict[Hashable, Stored] = OrderedDict()
        self._flights: dict[Hashable, Flight] = {}
        self.size_bytes = 0

    async def answer(self, key: Hashable, attempt: Callable[[], Awaitable[Attempt]]) -> tuple[Attempt, bool]:
        """Return the answer to a question, and whether it cost no attempt of this request's own."""
        stored = self._find(key)
        if stored is not None:
            return stored, True
        flight = self._flights.get(key)
        shared = flight is not None
        if flight is None:
            flight = self._flights[key] = Flight(asyncio.ensure_future(self._fly(key, attempt)))
            flight.task.add_done_callback(lambda _: self._flights.pop(key, None))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task), shared
        finally:
            flight.waiting -= 1
            if not flight.waiting:
                flight.task.cancel()

    async def _fly(self, key: Hashable, attempt: Callable[[], Awaitable[Attempt]]) -> Attempt:
        answered = await attempt()
        if answered.failure is None:
            self._store(key, answered)
        return answered

    def _find(self, key: Hashable) -> Attempt | None:
        stored = self._stored.get(key)
        if stored is None:
            return None
        if stored.until_s <= self._clock.monotonic_s():
            self._forget(key)
            return None
        self._stored.move_to_end(key)
        return stored.attempt

    def _store(self, key: Hashable, attempt: Attempt) -> None:
        if len(attempt.body) > self.settings.max_size:
            return
        self._forget(key)
        self._stored[key] = Stored(attempt, self._clock.monotonic_s() + self.settings.ttl)
        self.size_bytes += len(attempt.body)
        while self.size_bytes > self.settings.max_size:
            self._forget(next(iter(self._stored)))

    def _forget(self, key: Hashable) -> None:
        stored = self._stored.pop(key, None)
        if stored is not None:
            self.size_bytes -= len(stored.attempt.body)
