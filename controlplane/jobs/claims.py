"""What a worker writes about the job that it claimed: each write holds only under the claim's number."""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, select, update

from contracts.errors import Conflict
from controlplane.jobs.job import Job, JobState
from controlplane.store.database import Database, insert_new
from controlplane.store.documents import canonical
from controlplane.store.schema import JOB_SIGNALS, JOB_STEPS, JOBS

FIRST_WAIT_S = 2.0
LONGEST_WAIT_S = 600.0


class Claim:
    """One worker's hold on one job."""

    def __init__(self, database: Database, job: Job) -> None:
        self._database, self.job = database, job

    def beat(self, length_s: float, progress: float, message: str) -> bool:
        """Make the lease longer and tell how far the job is; return whether somebody asked for its end.

        Raises:
            Conflict: when the lease has ended, or the job has gone to another worker.
        """
        with self._database.write() as connection:
            now = self._database.now()
            mine = self._mine() & (JOBS.c.until_s >= now)
            told = {"until_s": now + length_s, "heartbeat_s": now, "progress": progress, "message": message}
            row = connection.execute(update(JOBS).where(mine).values(told).returning(JOBS.c.cancel)).one_or_none()
        if row is None:
            raise self._lost()
        return bool(row.cancel)

    def step(self, name: str) -> tuple[bool, Any]:
        """Return whether a step was done in an earlier attempt, and its result."""
        with self._database.read() as connection:
            return _find_step(connection, self.job.id, name)

    def keep_step(self, name: str, result: object) -> Any:
        """Record a step's result once and return the one that stands.

        Raises:
            Conflict: when the job has gone to another worker.
        """
        with self._database.write() as connection:
            self._require(connection)
            at_s = self._database.now_s(connection)
            row = {"job": self.job.id, "name": name, "result": json.dumps(result), "fence": self.job.fence}
            insert_new(connection, JOB_STEPS, {**row, "at_s": at_s})
            return _find_step(connection, self.job.id, name)[1]

    def signal(self, name: str) -> dict[str, Any] | None:
        """Return what the job was told under a name, None when it wasn't yet."""
        with self._database.read() as connection:
            return _find_signal(connection, self.job.id, name)

    def finish(self, result: Mapping[str, Any]) -> None:
        """Record that the job is done; told again after a lost answer, it stands as it was.

        Raises:
            Conflict: when the job has gone to another worker.
        """
        self._end(JobState.DONE, result=canonical(result), error=None, progress=1.0, message="")

    def cancelled(self) -> None:
        """Record that the job was ended as somebody asked."""
        self._end(JobState.CANCELLED)

    def fail(self, error: Mapping[str, str], *, again: bool) -> None:
        """Record a failed attempt: the job is due again later, or has failed for good."""
        if not again or self.job.attempts >= self.job.max_attempts:
            self._end(JobState.FAILED, error=canonical(error))
            return
        wait_s = min(FIRST_WAIT_S * 2 ** (self.job.attempts - 1), LONGEST_WAIT_S)
        with self._database.write() as connection:
            self._require(connection)
            due_s = self._database.now_s(connection) + wait_s
            self._lay_down(connection, due_s=due_s, awaited="", error=canonical(error), attempts=self.job.attempts)

    def wait(self, *, until_s: float | None = None, signal: str = "") -> None:
        """Give the job's place back until a time, a signal, or whichever comes first; it isn't an attempt."""
        with self._database.write() as connection:
            self._require(connection)
            if signal and _find_signal(connection, self.job.id, signal) is not None:
                until_s = self._database.now_s(connection)
            self._lay_down(connection, due_s=until_s, awaited=signal, error=None, attempts=self.job.attempts - 1)

    def _lay_down(self, connection: Connection, **values: object) -> None:
        state = {"state": JobState.WAITING.value, "until_s": None, "worker": ""}
        connection.execute(update(JOBS).where(self._mine()).values(**state, **values))

    def _end(self, state: JobState, **values: object) -> None:
        with self._database.write() as connection:
            ended = {"state": state.value, "ended_s": self._database.now(), "until_s": None, "due_s": None}
            if connection.execute(update(JOBS).where(self._mine()).values(**ended, **values)).rowcount:
                return
            row = connection.execute(select(JOBS.c.state, JOBS.c.fence).where(JOBS.c.id == self.job.id)).one()
        if (row.state, row.fence) != (state.value, self.job.fence):
            raise self._lost()

    def _require(self, connection: Connection) -> None:
        held = connection.execute(select(JOBS.c.id).where(self._mine()).with_for_update()).one_or_none()
        if held is None:
            raise self._lost()

    def _mine(self) -> ColumnElement[bool]:
        running = JOBS.c.state == JobState.RUNNING.value
        return (JOBS.c.id == self.job.id) & (JOBS.c.fence == self.job.fence) & running

    def _lost(self) -> Conflict:
        return Conflict(
            f"job {self.job.id} is no longer ours under number {self.job.fence}: nothing was written",
            hint="another worker has taken it over, or it has ended",
        )


def _find_step(connection: Connection, job_id: str, name: str) -> tuple[bool, Any]:
    same = (JOB_STEPS.c.job == job_id) & (JOB_STEPS.c.name == name)
    found = connection.execute(select(JOB_STEPS.c.result).where(same)).scalar_one_or_none()
    return (False, None) if found is None else (True, json.loads(found))


def _find_signal(connection: Connection, job_id: str, name: str) -> dict[str, Any] | None:
    same = (JOB_SIGNALS.c.job == job_id) & (JOB_SIGNALS.c.name == name)
    found = connection.execute(select(JOB_SIGNALS.c.document).where(same)).scalar_one_or_none()
    if found is None:
        return None
    document: dict[str, Any] = json.loads(found)
    return document
