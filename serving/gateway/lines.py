"""Lines: the replicas of one version, least busy first, and the requests that wait for one of them."""

import asyncio
from collections import deque
from dataclasses import dataclass, field

from contracts.ids import VersionId
from contracts.wire.routing import Endpoint
from serving.gateway.upstream import Upstream

LONGEST_ASIDE_S = 8.0
MEAN_MEMORY = 0.1
"""Weight of the newest service time in the running mean."""


class Replica:
    """One worker as the gateway sees it: what it has to do, and whether it was lately there."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.name, self.digest = endpoint.replica, endpoint.digest
        self.max_concurrency = endpoint.max_concurrency
        self.upstream = Upstream(endpoint.url)
        self.outstanding = 0
        self.by_lane: dict[str, int] = {}
        self.attempts = 0
        self._losses = 0
        self.aside_until = 0.0

    def note_lost(self, now: float) -> None:
        """Put it aside for a while, twice as long each time: a dead worker is always the least busy one."""
        self._losses += 1
        self.aside_until = now + min(LONGEST_ASIDE_S, 0.25 * 2**self._losses)

    def note_answer(self) -> None:
        """Trust it again: it answered."""
        self._losses = 0
        self.aside_until = 0.0


@dataclass(slots=True, eq=False)
class Waiter:
    """A request that waits for a replica."""

    lane: str
    lane_limit: int
    turn: asyncio.Future[Replica]


@dataclass(frozen=True, slots=True)
class Shed:
    """A request that would wait in vain: why, and after how long it may come again."""

    message: str
    retry_after_s: float


@dataclass(slots=True, eq=False)
class Line:
    """One version's replicas, in the routing table in force, and its queue."""

    version: VersionId
    name: str = ""
    replicas: list[Replica] = field(default_factory=list)
    waiting: deque[Waiter] = field(default_factory=deque)
    mirrors: set[asyncio.Task[None]] = field(default_factory=set)
    mean_service_s: dict[str, float] = field(default_factory=dict)
    max_queue: int = 64

    def __post_init__(self) -> None:
        self.name = str(self.version)

    def follow(self, endpoints: tuple[Endpoint, ...], max_queue: int) -> None:
        """Take over the endpoints of a new routing table; replicas that it doesn't name finish what they have."""
        known = {replica.endpoint: replica for replica in self.replicas}
        for endpoint, replica in known.items():
            if endpoint not in endpoints:
                replica.upstream.close()
        self.replicas = [known.get(endpoint) or Replica(endpoint) for endpoint in endpoints]
        self.max_queue = max_queue
        self._serve_waiting()

    def retire(self) -> None:
        """Close idle connections: the routing table knows the version no more; who waits for it is still served."""
        for replica in self.replicas:
            replica.upstream.close()

    def take(self, lane: str, lane_limit: int) -> Replica | None:
        """Take a slot of the least busy replica that has one, None when none has.

        One that was put aside is taken only when all are.
        """
        best: Replica | None = None
        for replica in self._trusted():
            if (
                replica.outstanding < replica.max_concurrency
                and replica.by_lane.get(lane, 0) < lane_limit
                and (best is None or replica.outstanding < best.outstanding)
            ):
                best = replica
        if best is not None:
            best.outstanding += 1
            best.by_lane[lane] = best.by_lane.get(lane, 0) + 1
        return best

    def _trusted(self) -> list[Replica]:
        for replica in self.replicas:
            if replica.aside_until:
                now = asyncio.get_running_loop().time()
                return [other for other in self.replicas if other.aside_until <= now] or self.replicas
        return self.replicas

    async def wait(self, lane: str, lane_limit: int, timeout_s: float) -> Replica | Shed:
        """Wait for a slot; told at once when that would be in vain.

        Raises:
            TimeoutError: when none was free in time.
        """
        expected_s = self.expected_wait_s()
        if len(self.waiting) >= self.max_queue * len(self.replicas):
            return Shed(f"{len(self.waiting)} requests are waiting", max(1.0, expected_s))
        if expected_s + self.mean_service_s.get(lane, 0.0) > timeout_s:
            return Shed(f"an answer would take {expected_s:.3g} s and more", expected_s)
        if self.mirrors:
            # Whoever is copied for our own sake makes place for whoever waits.
            self.mirrors.pop().cancel()
        loop = asyncio.get_running_loop()
        waiter = Waiter(lane, lane_limit, loop.create_future())
        self.waiting.append(waiter)
        timer = loop.call_later(timeout_s, _expire, waiter.turn)
        try:
            return await waiter.turn
        except asyncio.CancelledError:
            if waiter.turn.done() and not waiter.turn.cancelled() and waiter.turn.exception() is None:
                self.leave(waiter.turn.result(), lane)
            raise
        finally:
            timer.cancel()
            if waiter in self.waiting:
                self.waiting.remove(waiter)

    def leave(self, replica: Replica, lane: str, service_s: float | None = None) -> None:
        """Give a slot back, with the time that the replica took if it says something about the next request."""
        replica.outstanding -= 1
        replica.by_lane[lane] -= 1
        if service_s is not None:
            mean_s = self.mean_service_s.get(lane, service_s)
            self.mean_service_s[lane] = mean_s + MEAN_MEMORY * (service_s - mean_s)
        if self.waiting:
            self._serve_waiting()

    def expected_wait_s(self) -> float:
        """Return how long a request that comes now would wait: those before it, by the mean time over all slots."""
        slots = sum(replica.endpoint.max_concurrency for replica in self.replicas)
        if not slots or not self.mean_service_s:
            return 0.0
        mean_s = sum(self.mean_service_s.values()) / len(self.mean_service_s)
        return (len(self.waiting) + 1) * mean_s / slots

    def _serve_waiting(self) -> None:
        for waiter in list(self.waiting):
            if waiter.turn.done():
                continue
            replica = self.take(waiter.lane, waiter.lane_limit)
            if replica is not None:
                self.waiting.remove(waiter)
                waiter.turn.set_result(replica)


def _expire(turn: asyncio.Future[Replica]) -> None:
    if not turn.done():
        turn.set_exception(TimeoutError())
