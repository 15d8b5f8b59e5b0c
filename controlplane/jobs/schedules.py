"""Schedules: each slot of time asks for one job, however many control planes look at the clock."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, func, select

from contracts.errors import InvalidInput
from contracts.units import parse_duration_s
from controlplane.jobs.store import Jobs
from controlplane.store.database import insert_new, upsert
from controlplane.store.schema import SCHEDULE_SLOTS, SCHEDULES

HOUR_S, DAY_S, WEEK_S = 3600, 86400, 604800
DAYS = ("thursday", "friday", "saturday", "sunday", "monday", "tuesday", "wednesday")
"""Days of the week from 1 January 1970 on."""
EVERY = re.compile(r"every (\S+)")
HOURLY = re.compile(r"hourly(?: at :([0-5]\d))?")
DAILY = re.compile(r"daily(?: at ([01]\d|2[0-3]):([0-5]\d))?")
WEEKLY = re.compile(rf"weekly on ({'|'.join(DAYS)})(?: at ([01]\d|2[0-3]):([0-5]\d))?")


@dataclass(frozen=True, slots=True)
class Rule:
    """When a schedule is due: every ``period_s`` seconds since 1970, ``offset_s`` later. All times are UTC."""

    period_s: int
    offset_s: int = 0

    @classmethod
    def parse(cls, text: str) -> "Rule":
        """Read ``every 15m``, ``hourly at :10``, ``daily at 02:30`` or ``weekly on monday at 06:00``.

        Raises:
            InvalidInput: when it is none of these.
        """
        words = " ".join(text.lower().split())
        if match := EVERY.fullmatch(words):
            period_s = parse_duration_s(match[1])
            if period_s >= 1 and period_s == int(period_s):
                return cls(int(period_s))
        elif match := HOURLY.fullmatch(words):
            return cls(HOUR_S, int(match[1] or 0) * 60)
        elif match := DAILY.fullmatch(words):
            return cls(DAY_S, int(match[1] or 0) * HOUR_S + int(match[2] or 0) * 60)
        elif match := WEEKLY.fullmatch(words):
            day_s = DAYS.index(match[1]) * DAY_S
            return cls(WEEK_S, day_s + int(match[2] or 0) * HOUR_S + int(match[3] or 0) * 60)
        raise InvalidInput(
            f"schedule: {text!r} is not a rule",
            hint="write: every 15m, hourly at :10, daily at 02:30, weekly on monday at 06:00",
        )

    def slot_s(self, now_s: float) -> int:
        """Return the last time at which it was due."""
        return int((now_s - self.offset_s) // self.period_s) * self.period_s + self.offset_s


class Schedules:
    """The schedules of one database. After a time without any control plane the last slot alone is made up for."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def declare(self, name: str, rule: str, kind: str, arguments: Mapping[str, Any] | None = None) -> None:
        """Set a schedule; one that is there keeps its past and takes the new rule.

        Raises:
            InvalidInput: when the rule can't be read, there is no such kind, or it takes other arguments.
        """
        Rule.parse(rule)
        asked = {"rule": rule, "kind": kind, "arguments": self._jobs.kinds.get(kind).write(arguments or {})}
        with self._jobs.database.write() as connection:
            there = connection.execute(select(SCHEDULES.c.since_s).where(SCHEDULES.c.name == name)).scalar_one_or_none()
            since_s = self._jobs.database.now_s(connection) if there is None else there
            upsert(connection, SCHEDULES, [{"name": name, "since_s": since_s, **asked}])

    def submit_due(self) -> list[str]:
        """Ask for the jobs of slots that have begun and have none yet; return their ids."""
        database = self._jobs.database
        with database.read() as connection:
            now_s = database.now_s(connection)
            known = connection.execute(select(SCHEDULES)).all()
            newest = select(SCHEDULE_SLOTS.c.schedule, func.max(SCHEDULE_SLOTS.c.slot_s).label("slot_s"))
            taken = {row.schedule: row.slot_s for row in connection.execute(newest.group_by(SCHEDULE_SLOTS.c.schedule))}
        slots = [(row, Rule.parse(row.rule).slot_s(now_s)) for row in known]
        due = [(row, slot_s) for row, slot_s in slots if slot_s >= row.since_s and slot_s > taken.get(row.name, -1)]
        return [job_id for row, slot_s in due if (job_id := self._submit(row, slot_s)) is not None]

    def _submit(self, row: Row[Any], slot_s: int) -> str | None:
        job_id = f"{row.name}-{slot_s}"
        with self._jobs.database.write() as connection:
            slot = {"schedule": row.name, "slot_s": slot_s, "job": job_id}
            if not insert_new(connection, SCHEDULE_SLOTS, slot):
                return None
            told = {"actor": f"schedule/{row.name}", "reason": row.rule}
            return self._jobs.put(connection, row.kind, json.loads(row.arguments), job_id=job_id, **told)
