"""Freezes by hand: times in which nothing is rolled out, of one service or of all."""

import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, insert, or_, select, update

from contracts.errors import InvalidInput, NotFound
from controlplane.store.audit import Audit
from controlplane.store.database import Database
from controlplane.store.schema import FREEZES

ALL = ""
"""The service of a freeze that holds for all."""


@dataclass(frozen=True, slots=True)
class Freeze:
    """One freeze; without an end it holds until it is lifted."""

    id: str
    service: str
    from_s: float
    until_s: float | None
    actor: str
    reason: str
    lifted_s: float | None


class Freezes:
    """The freezes of one database."""

    def __init__(self, database: Database) -> None:
        self._database, self._audit = database, Audit(database)

    def freeze(
        self,
        connection: Connection,
        service: str,
        *,
        actor: str,
        reason: str,
        from_s: float | None = None,
        until_s: float | None = None,
    ) -> Freeze:
        """Write a freeze down, from now unless told, with its audit record.

        Raises:
            InvalidInput: when it would never hold.
        """
        now_s = self._database.now_s(connection)
        begin_s = now_s if from_s is None else from_s
        if until_s is not None and until_s <= max(begin_s, now_s):
            raise InvalidInput("until: the freeze would end before it holds", hint="name a later time")
        made = Freeze(secrets.token_hex(6), service, begin_s, until_s, actor, reason, lifted_s=None)
        row = {name: getattr(made, name) for name in Freeze.__slots__}
        connection.execute(insert(FREEZES).values(row))
        self._write(connection, "freeze.begin", made, actor=actor, reason=reason)
        return made

    def lift(self, connection: Connection, identifier: str, *, actor: str, reason: str) -> Freeze:
        """End a freeze now, with its audit record; lifted already, it stays as it was.

        Raises:
            NotFound: when there is no such freeze.
        """
        held = (FREEZES.c.id == identifier) & FREEZES.c.lifted_s.is_(None)
        lifted = connection.execute(update(FREEZES).where(held).values(lifted_s=self._database.now())).rowcount
        row = connection.execute(_columns().where(FREEZES.c.id == identifier)).mappings().one_or_none()
        if row is None:
            raise NotFound(f"there is no freeze {identifier}")
        if lifted:
            self._write(connection, "freeze.lift", Freeze(**row), actor=actor, reason=reason)
        return Freeze(**row)

    def active(self) -> list[Freeze]:
        """Return the freezes that hold now, of all services."""
        now = self._database.now()
        open_ended = or_(FREEZES.c.until_s.is_(None), FREEZES.c.until_s > now)
        holds = _columns().where(FREEZES.c.lifted_s.is_(None), FREEZES.c.from_s <= now, open_ended)
        with self._database.read() as connection:
            return [Freeze(**row) for row in connection.execute(holds).mappings()]

    def of_service(self, service: str) -> list[Freeze]:
        """Return a service's freezes, those of all services and past ones too, the newest first."""
        mine = _columns().where(FREEZES.c.service.in_((service, ALL)))
        with self._database.read() as connection:
            found = connection.execute(mine.order_by(FREEZES.c.from_s.desc(), FREEZES.c.id)).mappings()
            return [Freeze(**row) for row in found]

    def get(self, identifier: str) -> Freeze:
        """Return one freeze.

        Raises:
            NotFound: when there is none.
        """
        with self._database.read() as connection:
            row = connection.execute(_columns().where(FREEZES.c.id == identifier)).mappings().one_or_none()
        if row is None:
            raise NotFound(f"there is no freeze {identifier}")
        return Freeze(**row)

    def _write(self, connection: Connection, action: str, freeze: Freeze, *, actor: str, reason: str) -> None:
        detail = {"freeze": freeze.id, "from_s": freeze.from_s, "until_s": freeze.until_s}
        subject = f"service/{freeze.service}" if freeze.service else "service/*"
        self._audit.write(connection, actor=actor, action=action, subject=subject, reason=reason, detail=detail)


def _columns() -> Select[Any]:
    return select(*(FREEZES.c[name] for name in Freeze.__slots__))
