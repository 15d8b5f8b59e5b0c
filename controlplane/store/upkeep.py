"""Upkeep of the database: what nobody asks for any more goes. Decisions, audit and revisions are kept for ever."""

from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, delete, func, select

from controlplane.store.database import Database
from controlplane.store.schema import JOB_SIGNALS, JOB_STEPS, JOBS, OUTBOX, REPLIES, SCHEDULE_SLOTS

BATCH = 1000
"""Rows removed in one transaction: the loop writes each second, and is not kept waiting."""


def remove_messages(database: Database, age_s: float) -> int:
    """Remove messages that were sent, or given up, and are older than that; return how many.

    The newest stays: streams count from its number.
    """
    with database.read() as connection:
        before_s = database.now_s(connection) - age_s
        newest = connection.execute(select(func.max(OUTBOX.c.sequence))).scalar() or 0
    done = OUTBOX.c.due_s.is_(None) & (OUTBOX.c.created_s < before_s) & (OUTBOX.c.sequence < newest)
    return _remove(database, OUTBOX, OUTBOX.c.sequence, done)


def remove_jobs(database: Database, age_s: float) -> int:
    """Remove jobs that ended longer ago than that, with their steps and signals; return how many.

    Slots of schedules go with them, but for the newest of each: what it stands for is not asked for again.
    """
    with database.read() as connection:
        before_s = database.now_s(connection) - age_s
    ended, removed = select(JOBS.c.id).where(JOBS.c.ended_s < before_s).limit(BATCH), 0
    while names := _names(database, ended):
        with database.write() as connection:
            for table in (JOB_STEPS, JOB_SIGNALS):
                connection.execute(delete(table).where(table.c.job.in_(names)))
            removed += connection.execute(delete(JOBS).where(JOBS.c.id.in_(names))).rowcount
    with database.write() as connection:
        _remove_slots(connection, before_s)
    return removed


def remove_replies(database: Database, age_s: float) -> int:
    """Remove answers that were kept for requests asked again, once older than that; return how many."""
    with database.read() as connection:
        before_s = database.now_s(connection) - age_s
    return _remove(database, REPLIES, REPLIES.c.key, REPLIES.c.at_s < before_s)


def _remove_slots(connection: Connection, before_s: float) -> None:
    slots = SCHEDULE_SLOTS.alias()
    newest = select(func.max(slots.c.slot_s)).where(slots.c.schedule == SCHEDULE_SLOTS.c.schedule).scalar_subquery()
    old = (SCHEDULE_SLOTS.c.slot_s < before_s) & (SCHEDULE_SLOTS.c.slot_s < newest)
    connection.execute(delete(SCHEDULE_SLOTS).where(old))


def _remove(database: Database, table: Table, key: ColumnElement[object], old: ColumnElement[bool]) -> int:
    removed = 0
    while names := _names(database, select(key).where(old).limit(BATCH)):
        with database.write() as connection:
            removed += connection.execute(delete(table).where(old, key.in_(names))).rowcount
    return removed


def _names(database: Database, wanted: Select[Any]) -> list[object]:
    with database.read() as connection:
        return list(connection.execute(wanted).scalars())
