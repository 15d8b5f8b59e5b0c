"""Rollouts as they stand: one row each, and what was rolled back is remembered.

The leader alone writes them; but a person may end one that it can't read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Boolean, Connection, and_, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError as ConstraintError

from contracts.errors import Conflict, NotFound, NotPermitted
from contracts.records import record
from controlplane.store.database import Database, upsert
from controlplane.store.lease import Lease, Leases
from controlplane.store.schema import ROLLED_BACK, ROLLOUTS
from rollout.phases import ENDED, Phase
from rollout.state import SCHEMA, State


@record(frozen=True, slots=True)
class StoredRollout:
    """One rollout's row.

    ``generation`` counts a service's rollouts from 1, ``revision`` the writes of this row; ``fence`` is the number of
    the leader that wrote it last, 0 while none has. ``state`` is the machine's state as JSON of schema
    ``state_schema``, ``room`` the plan for its workers as JSON, empty before there is one; the rest is as in `Start`.
    """

    id: str
    service: str
    generation: int
    service_revision: int
    champion: str
    challenger: str
    phase: str
    ended: bool
    revision: int
    fence: int
    state_schema: int
    state: str
    created_s: float
    updated_s: float
    digest: str
    salt: str
    actor: str
    reason: str
    forced: bool
    room: str = ""


@dataclass(frozen=True, slots=True)
class Start:
    """What a rollout begins with, and who asked for it why.

    ``digest`` is that of the challenger's bytes; ``salt`` decides which user gets which version, and stays the same
    for the rollout's life. ``forced`` when somebody insists on content that was rolled back or refused before.
    ``room`` is the plan for its workers as foreseen, which the leader makes anew.
    """

    service: str
    service_revision: int
    digest: str
    salt: str
    state: State
    actor: str
    reason: str
    forced: bool = False
    room: str = ""


@record(frozen=True, slots=True)
class Step:
    """A rollout's next state, made from the row's ``revision``; ``is_over`` when nothing is left to do in it.

    ``room`` is the plan for its workers.
    """

    revision: int
    state: State
    is_over: bool = False
    room: str = ""


@dataclass(frozen=True, slots=True)
class RolledBack:
    """Content that was rolled back from a service, and the sentence why."""

    service: str
    digest: str
    version: str
    rollout_id: str
    at_s: float
    reason: str


class Rollouts:
    """The rollouts of one database. Writes take the caller's transaction: a step and its decision go together."""

    def __init__(self, database: Database, leases: Leases) -> None:
        self._database, self._leases = database, leases

    def start(self, connection: Connection, start: Start) -> StoredRollout:
        """Write a new rollout down, for the leader to find; whoever may ask for it may do that, leading or not.

        Raises:
            Conflict: when the service has a living rollout.
            NotPermitted: when the same content was rolled back before, unless it is forced.
        """
        past = _rolled_back(connection, start.service, start.digest)
        if past is not None and not start.forced:
            raise NotPermitted(
                f"{start.state.challenger} has the content that {past.rollout_id} rolled back: {past.reason}",
                hint="mend it and register it anew, or insist with --force and a reason",
            )
        newest = select(func.max(ROLLOUTS.c.generation)).where(ROLLOUTS.c.service == start.service)
        generation = int(connection.execute(newest).scalar() or 0) + 1
        at_s = self._database.now_s(connection)
        row = {
            "id": start.state.rollout_id,
            "service": start.service,
            "generation": generation,
            "service_revision": start.service_revision,
            "champion": start.state.champion,
            "challenger": start.state.challenger,
            "revision": 1,
            "ended": False,
            "created_s": at_s,
            "digest": start.digest,
            "salt": start.salt,
            "actor": start.actor,
            "reason": start.reason,
            "forced": start.forced,
            "room": start.room,
            **_written(start.state, 0, at_s),
        }
        try:
            connection.execute(insert(ROLLOUTS).values(row))
        except ConstraintError:
            raise Conflict(
                f"service {start.service} has a rollout already, or there is no such service",
                hint="wait for it, or abort it first",
            ) from None
        return StoredRollout(**row)

    def save(self, connection: Connection, lease: Lease, steps: Sequence[Step]) -> None:
        """Write the next states of many rollouts, all or none.

        Raises:
            Conflict: when the lease is over, or one of them is over, was written by another meanwhile, or would
                go back from its end to a phase with traffic.
        """
        self._leases.require(connection, lease)
        at_s = self._database.now_s(connection)
        same = (ROLLOUTS.c.id == bindparam("the_id")) & (ROLLOUTS.c.revision == bindparam("the_revision"))
        onward = and_(*(ROLLOUTS.c.phase != phase.value for phase in ENDED)) | bindparam("at_its_end", type_=Boolean)
        statement = update(ROLLOUTS).where(same, ROLLOUTS.c.ended.is_(False), ROLLOUTS.c.fence <= lease.fence, onward)
        rows = [
            {
                "the_id": step.state.rollout_id,
                "the_revision": step.revision,
                "at_its_end": step.state.phase in ENDED,
                "revision": step.revision + 1,
                "ended": step.is_over,
                "room": step.room,
                **_written(step.state, lease.fence, at_s),
            }
            for step in steps
        ]
        if rows and connection.execute(statement, rows).rowcount != len(rows):
            raise Conflict(
                "a rollout has ended, or was written by another: nothing was written", hint="read the rows again"
            )

    def end(self, connection: Connection, row: StoredRollout, phase: Phase) -> None:
        """End a rollout whose state nobody can read, which stays as it is; the leader finds it gone.

        Raises:
            Conflict: when it has ended, or was written by another meanwhile.
        """
        same = (ROLLOUTS.c.id == row.id) & (ROLLOUTS.c.revision == row.revision) & ROLLOUTS.c.ended.is_(False)
        now = {"phase": phase.value, "ended": True, "revision": row.revision + 1, "updated_s": self._database.now()}
        if connection.execute(update(ROLLOUTS).where(same).values(now)).rowcount != 1:
            raise Conflict(f"rollout {row.id} was written by another meanwhile", hint="look at it again")

    def remember(self, connection: Connection, rollout: StoredRollout, digest: str, reason: str) -> None:
        """Remember that a rollout's content was rolled back, and why."""
        at_s = self._database.now_s(connection)
        known = {"service": rollout.service, "digest": digest, "version": rollout.challenger, "rollout_id": rollout.id}
        upsert(connection, ROLLED_BACK, [{**known, "at_s": at_s, "reason": reason}])

    def rolled_back(self, service: str, digest: str) -> RolledBack | None:
        """Return how a content was rolled back from a service, None when it never was."""
        with self._database.read() as connection:
            return _rolled_back(connection, service, digest)

    def refused(self, service: str) -> list[RolledBack]:
        """Return the contents that were rolled back from a service and not readmitted, the newest first."""
        mine = select(ROLLED_BACK).where(ROLLED_BACK.c.service == service)
        newest = mine.order_by(ROLLED_BACK.c.at_s.desc(), ROLLED_BACK.c.digest)
        with self._database.read() as connection:
            return [RolledBack(**row) for row in connection.execute(newest).mappings()]

    def readmit(self, connection: Connection, service: str, digest: str) -> RolledBack | None:
        """Forget that a content was rolled back from a service, and return how it was; None when it wasn't."""
        past = _rolled_back(connection, service, digest)
        same = (ROLLED_BACK.c.service == service) & (ROLLED_BACK.c.digest == digest)
        connection.execute(delete(ROLLED_BACK).where(same))
        return past

    def living(self) -> list[StoredRollout]:
        """Return the rollouts that have not ended, by service."""
        found = select(ROLLOUTS).where(ROLLOUTS.c.ended.is_(False)).order_by(ROLLOUTS.c.service)
        with self._database.read() as connection:
            return [StoredRollout(**row) for row in connection.execute(found).mappings()]

    def recent(self, *, at_most: int = 100) -> list[StoredRollout]:
        """Return rollouts of all services, the newest first."""
        found = select(ROLLOUTS).order_by(ROLLOUTS.c.created_s.desc(), ROLLOUTS.c.id).limit(at_most)
        with self._database.read() as connection:
            return [StoredRollout(**row) for row in connection.execute(found).mappings()]

    def of_service(self, service: str) -> list[StoredRollout]:
        """Return a service's rollouts, the newest first."""
        found = select(ROLLOUTS).where(ROLLOUTS.c.service == service).order_by(ROLLOUTS.c.generation.desc())
        with self._database.read() as connection:
            return [StoredRollout(**row) for row in connection.execute(found).mappings()]

    def get(self, rollout_id: str) -> StoredRollout:
        """Return one rollout.

        Raises:
            NotFound: when there is none.
        """
        with self._database.read() as connection:
            row = connection.execute(select(ROLLOUTS).where(ROLLOUTS.c.id == rollout_id)).mappings().one_or_none()
        if row is None:
            raise NotFound(f"there is no rollout {rollout_id}")
        return StoredRollout(**row)


def _written(state: State, fence: int, at_s: float) -> dict[str, Any]:
    told = {"phase": state.phase.value, "state_schema": SCHEMA, "state": state.to_json()}
    return {**told, "fence": fence, "updated_s": at_s}


def _rolled_back(connection: Connection, service: str, digest: str) -> RolledBack | None:
    same = (ROLLED_BACK.c.service == service) & (ROLLED_BACK.c.digest == digest)
    row = connection.execute(select(ROLLED_BACK).where(same)).mappings().one_or_none()
    return None if row is None else RolledBack(**row)
