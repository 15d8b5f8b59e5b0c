"""The outbox: what is to be told to the outside, written with what it tells of and sent at least once."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, select, update

from controlplane.store.database import Database, insert_new
from controlplane.store.documents import canonical
from controlplane.store.schema import OUTBOX

FIRST_WAIT_S = 5.0
LONGEST_WAIT_S = 3600.0
MOST_ATTEMPTS = 12


@dataclass(frozen=True, slots=True)
class Message:
    """A message taken for sending; ``key`` is the receiver's idempotency key, ``fence`` the number of the take."""

    sequence: int
    key: str
    topic: str
    document: dict[str, Any]
    fence: int
    attempts: int


class Outbox:
    """The outbox of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, connection: Connection, *, key: str, topic: str, document: Mapping[str, Any]) -> bool:
        """Write a message in the transaction of what it tells; tell whether its key is new, else nothing is written."""
        at_s = self._database.now_s(connection)
        row = {"key": key, "topic": topic, "document": canonical(document), "created_s": at_s, "due_s": at_s}
        return insert_new(connection, OUTBOX, {**row, "fence": 0, "attempts": 0, "error": ""})

    def take(self, *, at_most: int = 20, length_s: float = 30.0) -> list[Message]:
        """Take messages that are due, the oldest first; they are due again after ``length_s`` unless told of."""
        with self._database.write() as connection:
            now_s = self._database.now_s(connection)
            due = select(OUTBOX).where(OUTBOX.c.due_s <= now_s).order_by(OUTBOX.c.sequence).limit(at_most)
            rows = connection.execute(due.with_for_update(skip_locked=True)).all()
            taken = OUTBOX.c.sequence.in_([row.sequence for row in rows])
            connection.execute(
                update(OUTBOX)
                .where(taken)
                .values(fence=OUTBOX.c.fence + 1, attempts=OUTBOX.c.attempts + 1, due_s=now_s + length_s)
            )
        return [
            Message(row.sequence, row.key, row.topic, json.loads(row.document), row.fence + 1, row.attempts + 1)
            for row in rows
        ]

    def mark_sent(self, message: Message) -> bool:
        """Note that a message was sent; False when another has taken it meanwhile."""
        with self._database.write() as connection:
            sent = update(OUTBOX).where(_same(message)).values(sent_s=self._database.now(), due_s=None, error="")
            return connection.execute(sent).rowcount == 1

    def mark_failed(self, message: Message, error: str) -> bool:
        """Note why a message could not be sent; it is due again later and later, and given up after 12 attempts."""
        wait_s = min(FIRST_WAIT_S * 2 ** (message.attempts - 1), LONGEST_WAIT_S)
        with self._database.write() as connection:
            due = None if message.attempts >= MOST_ATTEMPTS else self._database.now() + wait_s
            failed = update(OUTBOX).where(_same(message)).values(due_s=due, error=error)
            return connection.execute(failed).rowcount == 1

    def given_up(self) -> list[Message]:
        """Return the messages that were never sent and won't be."""
        lost = select(OUTBOX).where(OUTBOX.c.due_s.is_(None), OUTBOX.c.sent_s.is_(None)).order_by(OUTBOX.c.sequence)
        with self._database.read() as connection:
            rows = connection.execute(lost).all()
        return [
            Message(row.sequence, row.key, row.topic, json.loads(row.document), row.fence, row.attempts) for row in rows
        ]


def _same(message: Message) -> ColumnElement[bool]:
    return (OUTBOX.c.sequence == message.sequence) & (OUTBOX.c.fence == message.fence)
