"""Watches over serving versions as they stand, written by the leader alone."""

from collections.abc import Mapping

from sqlalchemy import Connection, select

from controlplane.store.database import Database, upsert
from controlplane.store.schema import WATCHES
from rollout.serving_watch import ServingWatch

Key = tuple[str, str]
"""A service and a version."""


class Watches:
    """The watches of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self) -> dict[Key, ServingWatch]:
        """Return all watches, by service and version.

        Raises:
            InvalidInput: when another release wrote one.
        """
        with self._database.read() as connection:
            return {
                (row.service, row.version): ServingWatch.from_json(row.state)
                for row in connection.execute(select(WATCHES))
            }

    def write(self, connection: Connection, watches: Mapping[Key, ServingWatch], *, fence: int) -> None:
        """Write watches, in the transaction that counts the telemetry that they saw."""
        rows = [
            {
                "service": service,
                "version": version,
                "since_s": watch.since_s,
                "fence": fence,
                "state": watch.to_json(),
                "updated_s": watch.at_s,
            }
            for (service, version), watch in watches.items()
        ]
        upsert(connection, WATCHES, rows)
