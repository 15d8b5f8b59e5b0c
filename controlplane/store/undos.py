"""Undos: champions that somebody wants replaced by the version before, until that is done."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from controlplane.store.audit import Audit
from controlplane.store.database import Database
from controlplane.store.schema import SERVICES, UNDOS


@dataclass(frozen=True, slots=True)
class Undo:
    """Somebody's wish that a service goes back from ``version``, its champion then, to the one before."""

    id: str
    service: str
    version: str
    at_s: float
    actor: str
    reason: str


class Undos:
    """The undos of one database."""

    def __init__(self, database: Database) -> None:
        self._database, self._audit = database, Audit(database)

    def undo(self, connection: Connection, service: str, version: str, *, actor: str, reason: str) -> Undo:
        """Write the wish down in the caller's transaction, with its audit record."""
        made = Undo(secrets.token_hex(6), service, version, self._database.now_s(connection), actor, reason)
        connection.execute(insert(UNDOS).values({name: getattr(made, name) for name in Undo.__slots__}))
        told = {"actor": actor, "reason": reason, "subject": f"service/{service}"}
        self._audit.write(connection, action="service.undo", detail={"version": version}, **told)
        return made

    def open(self) -> Mapping[str, Undo]:
        """Return the wishes that are not yet met, by service: the version has been the champion since before."""
        reigns = (UNDOS.c.service == SERVICES.c.name) & (UNDOS.c.version == SERVICES.c.champion)
        since = UNDOS.c.at_s >= SERVICES.c.champion_since_s
        wanted = select(UNDOS).join(SERVICES, reigns & since).order_by(UNDOS.c.at_s)
        with self._database.read() as connection:
            return {row["service"]: Undo(**row) for row in connection.execute(wanted).mappings()}
