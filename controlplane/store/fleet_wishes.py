"""What people ask of the fleet: a version kept warm for a while, a replica taken out; the leader sees to it."""

import secrets
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, insert, select, update

from contracts.errors import NotFound
from contracts.ids import VersionId
from controlplane.store.audit import Audit
from controlplane.store.database import Database
from controlplane.store.schema import FLEET_WISHES


class FleetWishKind(StrEnum):
    """A version is loaded and kept, or one worker finishes what it has and makes room for another."""

    WARM = "warm"
    DRAIN = "drain"


@dataclass(frozen=True, slots=True)
class FleetWish:
    """One wish; ``ended_s`` is None while it holds.

    ``until_s`` is when a warm version is let go by itself. A drained worker is known by ``process``: the one that
    takes its place has the same ``replica`` name.
    """

    id: str
    kind: FleetWishKind
    version: VersionId
    replica: str
    process: str
    actor: str
    reason: str
    asked_s: float
    until_s: float | None
    ended_s: float | None


class FleetWishes:
    """The fleet wishes of one database."""

    def __init__(self, database: Database) -> None:
        self._database, self._audit = database, Audit(database)

    def warm(
        self, connection: Connection, version: VersionId, length_s: float, *, actor: str, reason: str
    ) -> FleetWish:
        """Ask for a version to be kept warm from now on; a wish for the same version ends with the new one."""
        at_s = self._database.now_s(connection)
        same = (FLEET_WISHES.c.kind == FleetWishKind.WARM) & (FLEET_WISHES.c.version == str(version))
        connection.execute(update(FLEET_WISHES).where(same, FLEET_WISHES.c.ended_s.is_(None)).values(ended_s=at_s))
        wish = FleetWish(
            secrets.token_hex(6), FleetWishKind.WARM, version, "", "", actor, reason, at_s, at_s + length_s, None
        )
        self._write(connection, wish)
        return wish

    def drain(
        self, connection: Connection, version: VersionId, replica: str, process: str, *, actor: str, reason: str
    ) -> FleetWish:
        """Ask for a worker to be drained; asked already, that wish is returned."""
        same = (FLEET_WISHES.c.kind == FleetWishKind.DRAIN) & (FLEET_WISHES.c.process == process)
        there = (
            connection.execute(select(FLEET_WISHES).where(same, FLEET_WISHES.c.ended_s.is_(None))).mappings().first()
        )
        if there is not None:
            return _read(dict(there))
        at_s = self._database.now_s(connection)
        wish = FleetWish(
            secrets.token_hex(6), FleetWishKind.DRAIN, version, replica, process, actor, reason, at_s, None, None
        )
        self._write(connection, wish)
        return wish

    def let_go(self, connection: Connection, identifier: str, *, actor: str, reason: str) -> FleetWish:
        """End a wish by hand, with its audit record; ended already, it stays as it was.

        Raises:
            NotFound: when there is no such wish.
        """
        at_s = self._database.now_s(connection)
        open_one = (FLEET_WISHES.c.id == identifier) & FLEET_WISHES.c.ended_s.is_(None)
        ended = connection.execute(update(FLEET_WISHES).where(open_one).values(ended_s=at_s)).rowcount
        row = connection.execute(select(FLEET_WISHES).where(FLEET_WISHES.c.id == identifier)).mappings().first()
        if row is None:
            raise NotFound(f"there is no fleet wish {identifier}", hint="roost fleet get lists what is kept warm")
        wish = _read(dict(row))
        if ended:
            self._tell(connection, "fleet.let-go", wish, actor=actor, reason=reason)
        return wish

    def end(self, connection: Connection, identifiers: list[str]) -> None:
        """Mark wishes as met or over, in the transaction of the tick that saw it."""
        if identifiers:
            at_s = self._database.now_s(connection)
            mine = FLEET_WISHES.c.id.in_(identifiers) & FLEET_WISHES.c.ended_s.is_(None)
            connection.execute(update(FLEET_WISHES).where(mine).values(ended_s=at_s))

    def open(self) -> list[FleetWish]:
        """Return the wishes that hold, the oldest first."""
        waiting = select(FLEET_WISHES).where(FLEET_WISHES.c.ended_s.is_(None))
        with self._database.read() as connection:
            rows = connection.execute(waiting.order_by(FLEET_WISHES.c.asked_s, FLEET_WISHES.c.id)).mappings()
            return [_read(dict(row)) for row in rows]

    def get(self, identifier: str) -> FleetWish:
        """Return one wish.

        Raises:
            NotFound: when there is none.
        """
        with self._database.read() as connection:
            row = connection.execute(select(FLEET_WISHES).where(FLEET_WISHES.c.id == identifier)).mappings().first()
        if row is None:
            raise NotFound(f"there is no fleet wish {identifier}", hint="roost fleet get lists what is kept warm")
        return _read(dict(row))

    def _write(self, connection: Connection, wish: FleetWish) -> None:
        row = {name: getattr(wish, name) for name in FleetWish.__slots__}
        row |= {"kind": wish.kind.value, "version": str(wish.version)}
        connection.execute(insert(FLEET_WISHES).values(row))
        self._tell(connection, f"fleet.{wish.kind.value}", wish, actor=wish.actor, reason=wish.reason)

    def _tell(self, connection: Connection, action: str, wish: FleetWish, *, actor: str, reason: str) -> None:
        detail = {"wish": wish.id, "replica": wish.replica, "until_s": wish.until_s}
        subject = f"version/{wish.version}"
        self._audit.write(connection, actor=actor, action=action, subject=subject, reason=reason, detail=detail)


def _read(row: dict[str, object]) -> FleetWish:
    typed = {"kind": FleetWishKind(str(row["kind"])), "version": VersionId.parse(str(row["version"]))}
    return FleetWish(**{**row, **typed})  # type: ignore[arg-type]
