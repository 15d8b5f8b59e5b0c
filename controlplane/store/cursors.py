"""Cursors: how far each gateway's telemetry has been counted, written with what was made of it.

A batch is counted exactly once because its number is stored in the transaction of the steps that it led to: a leader
that falls in between leaves neither, and the gateway hands the batch over again.
"""

from collections.abc import Mapping

from sqlalchemy import Connection, delete, select

from controlplane.store.database import Database, upsert
from controlplane.store.schema import CURSORS


class Cursors:
    """The cursors of one database: by gateway and boot, the last batch and the last sample that were counted."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, gateway: str) -> dict[str, tuple[int, int]]:
        """Return a gateway's boots with the numbers of the last batch and the last sample that were counted."""
        mine = select(CURSORS).where(CURSORS.c.gateway == gateway)
        with self._database.read() as connection:
            return {row.boot: (row.batches, row.samples) for row in connection.execute(mine)}

    def write(
        self, connection: Connection, gateway: str, counted: Mapping[str, tuple[int, int]], *, fence: int
    ) -> None:
        """Replace a gateway's cursors; boots that are not named are over."""
        connection.execute(delete(CURSORS).where(CURSORS.c.gateway == gateway, CURSORS.c.boot.not_in(list(counted))))
        rows = [
            {"gateway": gateway, "boot": boot, "batches": batches, "samples": samples, "fence": fence}
            for boot, (batches, samples) in counted.items()
        ]
        upsert(connection, CURSORS, rows)
