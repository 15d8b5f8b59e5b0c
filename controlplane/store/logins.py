"""Logins that were ended before their time: their cookies would be good until then."""

from sqlalchemy import delete, select

from controlplane.store.database import Database, upsert
from controlplane.store.schema import ENDED_LOGINS

SKEW_S = 3600.0
"""Kept so much longer than the cookie is good for: the clocks of those who read it may differ."""


class EndedLogins:
    """The ended logins of one database; every control plane on it knows of them, also after a restart."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def end(self, identifier: str, until_s: float) -> None:
        """Note that a login is over, and forget those whose cookies are of no use any more."""
        with self._database.write() as connection:
            now_s = self._database.now_s(connection)
            connection.execute(delete(ENDED_LOGINS).where(ENDED_LOGINS.c.until_s < now_s - SKEW_S))
            upsert(connection, ENDED_LOGINS, [{"id": identifier, "until_s": until_s}])

    def is_ended(self, identifier: str) -> bool:
        """Tell whether a login was ended."""
        with self._database.read() as connection:
            found = connection.execute(select(ENDED_LOGINS.c.id).where(ENDED_LOGINS.c.id == identifier))
            return found.one_or_none() is not None
