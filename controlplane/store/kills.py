"""Kills: versions that are stopped in a service, at once and until somebody lifts that."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update

from contracts.errors import NotFound
from controlplane.store.audit import Audit
from controlplane.store.database import Database
from controlplane.store.schema import KILLS


@dataclass(frozen=True, slots=True)
class Kill:
    """One version stopped in one service; ``lifted_s`` is None while that holds."""

    id: str
    service: str
    version: str
    at_s: float
    actor: str
    reason: str
    lifted_s: float | None


class Kills:
    """The kills of one database."""

    def __init__(self, database: Database) -> None:
        self._database, self._audit = database, Audit(database)

    def kill(self, connection: Connection, service: str, version: str, *, actor: str, reason: str) -> Kill:
        """Stop a version in the caller's transaction, with its audit record; stopped already, that kill is returned."""
        holds = (KILLS.c.service == service) & (KILLS.c.version == version) & KILLS.c.lifted_s.is_(None)
        there = connection.execute(select(KILLS).where(holds)).mappings().first()
        if there is not None:
            return Kill(**there)
        made = Kill(
            secrets.token_hex(6), service, version, self._database.now_s(connection), actor, reason, lifted_s=None
        )
        connection.execute(insert(KILLS).values({name: getattr(made, name) for name in Kill.__slots__}))
        self._write(connection, "version.kill", made, actor=actor, reason=reason)
        return made

    def lift(self, connection: Connection, identifier: str, *, actor: str, reason: str) -> Kill:
        """Let a version be served again, with its audit record; lifted already, it stays as it was.

        Raises:
            NotFound: when there is no such kill.
        """
        held = (KILLS.c.id == identifier) & KILLS.c.lifted_s.is_(None)
        lifted = connection.execute(update(KILLS).where(held).values(lifted_s=self._database.now())).rowcount
        row = connection.execute(select(KILLS).where(KILLS.c.id == identifier)).mappings().one_or_none()
        if row is None:
            raise NotFound(f"there is no kill {identifier}")
        if lifted:
            self._write(connection, "version.revive", Kill(**row), actor=actor, reason=reason)
        return Kill(**row)

    def active(self) -> Mapping[str, dict[str, Kill]]:
        """Return the kills that hold, by service and version."""
        found: dict[str, dict[str, Kill]] = {}
        with self._database.read() as connection:
            for row in connection.execute(select(KILLS).where(KILLS.c.lifted_s.is_(None))).mappings():
                found.setdefault(row["service"], {})[row["version"]] = Kill(**row)
        return found

    def of_service(self, service: str) -> list[Kill]:
        """Return a service's kills, lifted ones too, the newest first."""
        mine = select(KILLS).where(KILLS.c.service == service).order_by(KILLS.c.at_s.desc(), KILLS.c.id)
        with self._database.read() as connection:
            return [Kill(**row) for row in connection.execute(mine).mappings()]

    def get(self, identifier: str) -> Kill:
        """Return one kill.

        Raises:
            NotFound: when there is none.
        """
        with self._database.read() as connection:
            row = connection.execute(select(KILLS).where(KILLS.c.id == identifier)).mappings().one_or_none()
        if row is None:
            raise NotFound(f"there is no kill {identifier}")
        return Kill(**row)

    def _write(self, connection: Connection, action: str, kill: Kill, *, actor: str, reason: str) -> None:
        detail = {"service": kill.service, "kill": kill.id}
        self._audit.write(
            connection, actor=actor, action=action, subject=f"version/{kill.version}", reason=reason, detail=detail
        )
