"""Leases with fencing numbers: at most one holder's writes take effect, whatever stops, sleeps or wakes up late.

A lease alone is no guard: its holder may be stopped, outlive it and write on. So each grant has a greater number, and
every write checks its number in its own transaction. On PostgreSQL that check locks the lease's row against a takeover
until the write is committed; on SQLite there is one writer at a time anyway.
"""

from dataclasses import dataclass, replace

from sqlalchemy import ColumnElement, Connection, select, update

from contracts.clock import Clock, SystemClock
from contracts.errors import Conflict, InvalidInput, Unavailable
from controlplane.store.database import Database, insert_new
from controlplane.store.schema import LEASES

MARGIN = 0.1
"""Share of a lease's length by which its holder stops before it ends, for clocks that don't run alike."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A grant: ``fence`` is its number, ``until_s`` its end on the database's clock.

    ``stop_s`` is when its holder stops acting by its own monotonic clock, a little earlier. ``ahead_s`` is by how much
    at least the holder's wall clock was ahead of the database's, below 0 when it was behind; ``wall_s`` is what it read
    beyond the monotonic one then.
    """

    name: str
    holder: str
    fence: int
    until_s: float
    stop_s: float
    ahead_s: float = 0.0
    wall_s: float = 0.0


class Leases:
    """The leases of one database."""

    def __init__(self, database: Database, clock: Clock | None = None) -> None:
        self._database, self._clock = database, clock or SystemClock()

    def acquire(self, name: str, holder: str, length_s: float) -> Lease | None:
        """Return a lease under a new, greater number, or None while somebody else's lasts."""
        if length_s <= 0 or not holder:
            raise InvalidInput("lease: a holder and a length above 0 are needed")
        begun = self._read_clock()
        with self._database.write() as connection:
            insert_new(connection, LEASES, {"name": name, "holder": "", "fence": 0, "until_s": 0.0})
            now = self._database.now()
            free = (LEASES.c.name == name) & (LEASES.c.until_s < now)
            taken = update(LEASES).where(free).values(holder=holder, fence=LEASES.c.fence + 1, until_s=now + length_s)
            row = connection.execute(taken.returning(LEASES.c.fence, LEASES.c.until_s)).one_or_none()
        return None if row is None else self._measure(Lease(name, holder, row.fence, row.until_s, 0.0), length_s, begun)

    def renew(self, lease: Lease, length_s: float) -> Lease | None:
        """Return the lease made longer, or None when it has ended: an ended lease is never revived."""
        begun = self._read_clock()
        with self._database.write() as connection:
            now = self._database.now()
            longer = update(LEASES).where(_held(lease), LEASES.c.until_s >= now).values(until_s=now + length_s)
            row = connection.execute(longer.returning(LEASES.c.until_s)).one_or_none()
        if row is None:
            return None
        return self._measure(replace(lease, until_s=row.until_s), length_s, begun)

    def release(self, lease: Lease) -> None:
        """End a lease now, so that the next holder needn't wait; one that has gone to another stays theirs."""
        with self._database.write() as connection:
            connection.execute(update(LEASES).where(_held(lease)).values(until_s=0.0))

    def is_live(self, lease: Lease) -> bool:
        """Tell by the local clock alone whether its holder may still act; needs no database."""
        return self._clock.monotonic_s() < lease.stop_s

    def ahead_s(self, lease: Lease) -> float:
        """Return by how much this clock is ahead of the database's: as at the grant, and what it was set by since."""
        monotonic_s, now_s = self._read_clock()
        return lease.ahead_s + (now_s - monotonic_s - lease.wall_s)

    def require(self, connection: Connection, lease: Lease) -> None:
        """Refuse the rest of a transaction unless the lease holds, and keep it from being taken until the commit.

        Raises:
            Conflict: when the lease has ended or gone to another.
        """
        alive = self.is_live(lease)
        if alive:
            held = select(LEASES.c.fence).where(_held(lease), LEASES.c.until_s >= self._database.now())
            alive = connection.execute(held.with_for_update(read=True)).one_or_none() is not None
        if not alive:
            raise Conflict(
                f"the lease on {lease.name} under number {lease.fence} is over: nothing was written",
                hint="another control plane leads, or this one was stopped for too long",
            )

    def _read_clock(self) -> tuple[float, float]:
        return self._clock.monotonic_s(), self._clock.now_s()

    def _measure(self, lease: Lease, length_s: float, begun: tuple[float, float]) -> Lease:
        """Return a grant that was asked for when our clocks read ``begun`` with what it means by them."""
        granted_s = lease.until_s - length_s  # by the database's clock, which was read since then
        ahead_s = max(begun[1] - granted_s, 0.0) - max(granted_s - self._clock.now_s(), 0.0)
        wall_s = begun[1] - begun[0]
        return replace(lease, stop_s=begun[0] + length_s * (1 - MARGIN), ahead_s=ahead_s, wall_s=wall_s)


class Leader:
    """One contender for a lease: call `step` each tick; it seeks the lease, and makes it longer in good time."""

    def __init__(
        self, leases: Leases, name: str, holder: str, *, length_s: float = 10.0, clock: Clock | None = None
    ) -> None:
        self._leases, self._name, self._holder, self._length_s = leases, name, holder, length_s
        self._clock = clock or SystemClock()
        self._lease: Lease | None = None

    def step(self) -> Lease | None:
        """Return the lease while this contender leads, None otherwise; a database that is away ends it in time."""
        lease = self._lease
        try:
            if lease is None or not self._leases.is_live(lease):
                self._lease = self._leases.acquire(self._name, self._holder, self._length_s)
            elif lease.stop_s - self._clock.monotonic_s() < self._length_s / 2:
                self._lease = self._leases.renew(lease, self._length_s)
        except Unavailable:
            if lease is not None and not self._leases.is_live(lease):
                self._lease = None
        return self._lease

    @property
    def ahead_s(self) -> float:
        """By how much this contender's clock is ahead of the database's; 0 while it doesn't lead."""
        return 0.0 if self._lease is None else self._leases.ahead_s(self._lease)

    def resign(self) -> None:
        """Give the lease back."""
        if self._lease is not None:
            self._leases.release(self._lease)
            self._lease = None


def _held(lease: Lease) -> ColumnElement[bool]:
    return (LEASES.c.name == lease.name) & (LEASES.c.holder == lease.holder) & (LEASES.c.fence == lease.fence)
