"""Replies to changes that were asked for under a key: asked again, the same answer and no second change."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, select, update

from contracts.errors import Conflict
from controlplane.store.database import Database, insert_new
from controlplane.store.schema import REPLIES

KEPT_S = 86_400.0
STUCK_S = 120.0
"""After this somebody who began and never answered is taken for dead."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What was answered."""

    status: int
    body: str


class Replies:
    """The replies of one database, kept for a day."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, key: str, actor: str, request: str) -> Reply | None:
        """Return what was answered under a key, None when it is new: then it is the caller's to `finish` or `forget`.

        ``request`` is the digest of all that was asked.

        Raises:
            Conflict: when the key stands for another request, or for one that is still under way.
        """
        with self._database.write() as connection:
            now_s = self._database.now_s(connection)
            connection.execute(delete(REPLIES).where(REPLIES.c.at_s < now_s - KEPT_S))
            row = {"key": key, "actor": actor, "request": request, "status": None, "body": "", "at_s": now_s}
            if insert_new(connection, REPLIES, row):
                return None
            there = connection.execute(select(REPLIES).where(_one(key, actor)).with_for_update()).one()
            if there.request != request:
                raise Conflict(f"the key {key!r} was used for another request", hint="take a new key for each change")
            if there.status is not None:
                return Reply(there.status, there.body)
            if there.at_s > now_s - STUCK_S:
                raise Conflict(f"the request under the key {key!r} is still under way", hint="ask again in a moment")
            connection.execute(update(REPLIES).where(_one(key, actor)).values(at_s=now_s))
            return None

    def finish(self, key: str, actor: str, reply: Reply) -> None:
        """Keep what was answered."""
        with self._database.write() as connection:
            kept = {"status": reply.status, "body": reply.body}
            connection.execute(update(REPLIES).where(_one(key, actor)).values(kept))

    def forget(self, key: str, actor: str) -> None:
        """Let go of a key whose request changed nothing, so that it can be asked again."""
        with self._database.write() as connection:
            connection.execute(delete(REPLIES).where(_one(key, actor), REPLIES.c.status.is_(None)))


def _one(key: str, actor: str) -> ColumnElement[bool]:
    return (REPLIES.c.key == key) & (REPLIES.c.actor == actor)
