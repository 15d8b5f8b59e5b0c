"""Silences: objectives and monitors that nobody is told of, until a time and for a reason; what is counted stays."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update

from contracts.errors import InvalidInput, NotFound
from controlplane.store.audit import Audit
from controlplane.store.database import Database
from controlplane.store.schema import SILENCES


@dataclass(frozen=True, slots=True)
class Silence:
    """One silence of one objective or monitor; ``lifted_s`` is None unless somebody ended it before its time."""

    id: str
    service: str
    objective: str
    at_s: float
    until_s: float
    actor: str
    reason: str
    lifted_s: float | None


class Silences:
    """The silences of one database."""

    def __init__(self, database: Database) -> None:
        self._database, self._audit = database, Audit(database)

    def silence(
        self, connection: Connection, service: str, objective: str, *, until_s: float, actor: str, reason: str
    ) -> Silence:
        """Write a silence down, from now on, with its audit record.

        Raises:
            InvalidInput: when it would never hold.
        """
        now_s = self._database.now_s(connection)
        if until_s <= now_s:
            raise InvalidInput("until: the silence would end before it begins", hint="name a later time")
        made = Silence(secrets.token_hex(6), service, objective, now_s, until_s, actor, reason, lifted_s=None)
        connection.execute(insert(SILENCES).values({name: getattr(made, name) for name in Silence.__slots__}))
        self._write(connection, "silence.begin", made, actor=actor, reason=reason)
        return made

    def lift(self, connection: Connection, identifier: str, *, actor: str, reason: str) -> Silence:
        """End a silence now, with its audit record; lifted already, it stays as it was.

        Raises:
            NotFound: when there is no such silence.
        """
        held = (SILENCES.c.id == identifier) & SILENCES.c.lifted_s.is_(None)
        lifted = connection.execute(update(SILENCES).where(held).values(lifted_s=self._database.now())).rowcount
        row = connection.execute(select(SILENCES).where(SILENCES.c.id == identifier)).mappings().one_or_none()
        if row is None:
            raise NotFound(f"there is no silence {identifier}")
        if lifted:
            self._write(connection, "silence.lift", Silence(**row), actor=actor, reason=reason)
        return Silence(**row)

    def active(self) -> Mapping[tuple[str, str], Silence]:
        """Return the silences that hold now, by service and objective; of several the one that ends last."""
        holds = (SILENCES.c.until_s > self._database.now()) & SILENCES.c.lifted_s.is_(None)
        with self._database.read() as connection:
            found = connection.execute(select(SILENCES).where(holds).order_by(SILENCES.c.until_s)).mappings()
            return {(row["service"], row["objective"]): Silence(**row) for row in found}

    def of_service(self, service: str) -> list[Silence]:
        """Return a service's silences, past ones too, the newest first."""
        mine = select(SILENCES).where(SILENCES.c.service == service).order_by(SILENCES.c.at_s.desc(), SILENCES.c.id)
        with self._database.read() as connection:
            return [Silence(**row) for row in connection.execute(mine).mappings()]

    def get(self, identifier: str) -> Silence:
        """Return one silence.

        Raises:
            NotFound: when there is none.
        """
        with self._database.read() as connection:
            row = connection.execute(select(SILENCES).where(SILENCES.c.id == identifier)).mappings().one_or_none()
        if row is None:
            raise NotFound(f"there is no silence {identifier}")
        return Silence(**row)

    def _write(self, connection: Connection, action: str, silence: Silence, *, actor: str, reason: str) -> None:
        detail = {"silence": silence.id, "objective": silence.objective, "until_s": silence.until_s}
        subject = f"service/{silence.service}"
        self._audit.write(connection, actor=actor, action=action, subject=subject, reason=reason, detail=detail)
