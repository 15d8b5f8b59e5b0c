"""The outbox: what is to be told to the outside, written with what it tells of and sent at least once.

A message is an event as it happened, or addressed: one recipient's letter, whose topic begins with ``to/`` and which
holds several events when they came close together. An event is passed on to its recipients' letters once.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select, update

from controlplane.store.database import Database, insert_new
from controlplane.store.documents import canonical
from controlplane.store.schema import OUTBOX

FIRST_WAIT_S = 5.0
LONGEST_WAIT_S = 3600.0
MOST_ATTEMPTS = 12
MOST_EVENTS = 50
"""Events in one letter; the next begins another."""
TO = "to/"


@dataclass(frozen=True, slots=True)
class Message:
    """A message taken for sending; ``key`` is the receiver's idempotency key, ``fence`` the number of the take."""

    sequence: int
    key: str
    topic: str
    document: dict[str, Any]
    fence: int
    attempts: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many messages wait and were given up, and for how long the oldest has waited."""

    waiting: int = 0
    given_up: int = 0
    oldest_s: float = 0.0


class Outbox:
    """The outbox of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(
        self, connection: Connection, *, key: str, topic: str, document: Mapping[str, Any], wait_s: float = 0.0
    ) -> bool:
        """Write a message in the transaction of what it tells; tell whether its key is new, else nothing is written.

        It is due after ``wait_s``.
        """
        at_s = self._database.now_s(connection)
        row = {"key": key, "topic": topic, "document": canonical(document), "created_s": at_s, "due_s": at_s + wait_s}
        return insert_new(connection, OUTBOX, {**row, "fence": 0, "attempts": 0, "error": ""})

    def take(self, *, at_most: int = 20, length_s: float = 30.0, addressed: bool | None = None) -> list[Message]:
        """Take messages that are due, the oldest first; they are due again after ``length_s`` unless told of.

        ``addressed``: letters alone, or events alone; both when it isn't given.
        """
        with self._database.write() as connection:
            now_s = self._database.now_s(connection)
            due = select(OUTBOX).where(OUTBOX.c.due_s <= now_s).order_by(OUTBOX.c.sequence).limit(at_most)
            if addressed is not None:
                due = due.where(_is_letter() if addressed else ~_is_letter())
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

    def pass_on(self, message: Message, recipients: Mapping[str, float]) -> bool:
        """Put an event into the letters of its recipients; False when another has taken it meanwhile.

        ``recipients`` are topics of letters, each with how long a new letter waits for more of its topic. A letter that
        was tried once stays as it is, so that its key always means the same.
        """
        with self._database.write() as connection:
            sent = update(OUTBOX).where(_same(message)).values(sent_s=self._database.now(), due_s=None, error="")
            if connection.execute(sent).rowcount != 1:
                return False
            for topic, wait_s in recipients.items():
                self._add_to_letter(connection, topic, message, wait_s)
        return True

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

    def backlog(self) -> Backlog:
        """Return what has not been sent."""
        waits, lost = OUTBOX.c.due_s.is_not(None), OUTBOX.c.due_s.is_(None) & OUTBOX.c.sent_s.is_(None)
        unsent = select(
            func.count().filter(waits), func.count().filter(lost), func.min(OUTBOX.c.created_s).filter(waits)
        ).where(OUTBOX.c.sent_s.is_(None))
        with self._database.read() as connection:
            waiting, given_up, oldest_s = connection.execute(unsent).one()
            now_s = self._database.now_s(connection)
        return Backlog(waiting, given_up, 0.0 if oldest_s is None else max(now_s - oldest_s, 0.0))

    def given_up(self) -> list[Message]:
        """Return the messages that were never sent and won't be."""
        lost = select(OUTBOX).where(OUTBOX.c.due_s.is_(None), OUTBOX.c.sent_s.is_(None)).order_by(OUTBOX.c.sequence)
        with self._database.read() as connection:
            rows = connection.execute(lost).all()
        return [
            Message(row.sequence, row.key, row.topic, json.loads(row.document), row.fence, row.attempts) for row in rows
        ]

    def _add_to_letter(self, connection: Connection, topic: str, message: Message, wait_s: float) -> None:
        untried = (OUTBOX.c.topic == topic) & (OUTBOX.c.attempts == 0) & OUTBOX.c.due_s.is_not(None)
        open_one = select(OUTBOX.c.sequence, OUTBOX.c.document).where(untried).order_by(OUTBOX.c.sequence.desc())
        row = connection.execute(open_one.limit(1).with_for_update()).one_or_none()
        events = [] if row is None else json.loads(row.document)["events"]
        if row is not None and len(events) < MOST_EVENTS:
            document = canonical({"events": [*events, message.document]})
            connection.execute(update(OUTBOX).where(OUTBOX.c.sequence == row.sequence).values(document=document))
            return
        # Unlike a row's number it is the same in no other database, whose letters may go to the same recipient.
        key = f"{topic}:{hashlib.sha256(message.key.encode()).hexdigest()[:24]}"
        self.put(connection, key=key, topic=topic, document={"events": [message.document]}, wait_s=wait_s)


def _is_letter() -> ColumnElement[bool]:
    return OUTBOX.c.topic.startswith(TO, autoescape=True)


def _same(message: Message) -> ColumnElement[bool]:
    return (OUTBOX.c.sequence == message.sequence) & (OUTBOX.c.fence == message.fence)
