"""Decisions and rollouts read from their ends: what happened last, page by page backwards."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, func, select

from contracts.errors import NotFound
from controlplane.store.database import Database
from controlplane.store.ledger import Entry
from controlplane.store.rollouts import StoredRollout
from controlplane.store.schema import DECISIONS, ROLLOUTS
from rollout.phases import Phase


class Journal:
    """The decisions and rollouts of one database, the newest first."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def newest(self, rollout_id: str) -> Entry | None:
        """Return the last decision on a rollout, None before the first."""
        found = self.page(rollout_id, at_most=1)
        return found[0] if found else None

    def newest_of(self, rollout_ids: Sequence[str]) -> dict[str, Entry]:
        """Return the last decision on each of these rollouts that has one."""
        last = select(func.max(DECISIONS.c.sequence)).where(DECISIONS.c.subject.in_(rollout_ids))
        found = select(DECISIONS).where(DECISIONS.c.sequence.in_(last.group_by(DECISIONS.c.subject)))
        with self._database.read() as connection:
            return {row.subject: _entry(row) for row in connection.execute(found)}

    def rollouts(
        self, *, service: str | None = None, phase: Phase | None = None, skip: int = 0, at_most: int = 100
    ) -> list[StoredRollout]:
        """Return rollouts of a service or of all, in one phase or in any."""
        wanted = select(ROLLOUTS).order_by(ROLLOUTS.c.created_s.desc(), ROLLOUTS.c.id).offset(skip).limit(at_most)
        if service is not None:
            wanted = wanted.where(ROLLOUTS.c.service == service)
        if phase is not None:
            wanted = wanted.where(ROLLOUTS.c.phase == phase.value)
        with self._database.read() as connection:
            return [StoredRollout(**row) for row in connection.execute(wanted).mappings()]

    def page(self, rollout_id: str | None = None, *, before: int | None = None, at_most: int = 100) -> list[Entry]:
        """Return decisions of one rollout or of all, the newest first, those with a lower sequence than ``before``."""
        return [_entry(row) for row in self._rows(rollout_id, before, at_most)]

    def get(self, sequence: int) -> Entry:
        """Return one decision.

        Raises:
            NotFound: when there is none of that number.
        """
        found = self._rows(None, sequence + 1, 1)
        if not found or found[0].sequence != sequence:
            raise NotFound(f"there is no decision {sequence}", hint="decisions are numbered from 0")
        return _entry(found[0])

    def _rows(self, subject: str | None, before: int | None, at_most: int) -> list[Row[Any]]:
        wanted = select(DECISIONS).order_by(DECISIONS.c.sequence.desc()).limit(at_most)
        if subject is not None:
            wanted = wanted.where(DECISIONS.c.subject == subject)
        if before is not None:
            wanted = wanted.where(DECISIONS.c.sequence < before)
        with self._database.read() as connection:
            return list(connection.execute(wanted))


def _entry(row: Row[Any]) -> Entry:
    return Entry(**json.loads(row.body), digest=row.digest)
