"""Jobs in the database: claimed under a lease with a fencing number, and recorded once.

A worker that dies needs no detector: its lease ends, and the next claim takes the job over under a greater number. One
that was only asleep finds every write of its own refused.
"""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, update

from contracts.errors import Conflict, NotFound
from controlplane.jobs.job import Job, JobState
from controlplane.jobs.kinds import JobKinds
from controlplane.store.audit import Audit
from controlplane.store.database import Database, insert_new, upsert
from controlplane.store.documents import canonical
from controlplane.store.schema import JOB_SIGNALS, JOBS, QUEUES

WORKER_DIED = {
    "code": "unavailable",
    "message": "its worker died or was stopped in the last attempt that it had",
    "hint": "read its log; is there enough memory?",
}


class Jobs:
    """What people and schedules ask for, and workers claim."""

    def __init__(self, database: Database, kinds: JobKinds) -> None:
        self.database, self.kinds, self._audit = database, kinds, Audit(database)

    def submit(
        self,
        kind: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        actor: str,
        reason: str = "",
        priority: int = 0,
        job_id: str | None = None,
        due_s: float | None = None,
    ) -> Job:
        """Ask for a job and return it; under an id that is there already, the job that is there.

        Raises:
            InvalidInput: when there is no such kind, or the arguments are not what it takes: nothing is queued.
            Conflict: when the id is another job's.
        """
        with self.database.write() as connection:
            found = self.put(
                connection, kind, arguments, actor=actor, reason=reason, priority=priority, job_id=job_id, due_s=due_s
            )
            return self._get(connection, found)

    def put(
        self,
        connection: Connection,
        kind: str,
        arguments: Mapping[str, Any] | None,
        *,
        actor: str,
        reason: str = "",
        priority: int = 0,
        job_id: str | None = None,
        due_s: float | None = None,
    ) -> str:
        """Ask for a job in the caller's transaction and return its id; see `submit`."""
        what = self.kinds.get(kind)
        document = what.write(arguments or {})
        job_id = job_id or f"{kind}-{secrets.token_hex(4)}"
        now_s = self.database.now_s(connection)
        upsert(connection, QUEUES, [{"name": what.queue, "at_once": what.at_once}])
        row = {"id": job_id, "kind": kind, "queue": what.queue, "arguments": document, "actor": actor}
        asked = {"reason": reason, "priority": priority, "max_attempts": what.max_attempts, "created_s": now_s}
        blank = {
            "fence": 0,
            "worker": "",
            "awaited": "",
            "attempts": 0,
            "progress": 0.0,
            "message": "",
            "cancel": False,
        }
        due = {"state": JobState.WAITING.value, "due_s": now_s if due_s is None else due_s}
        if not insert_new(connection, JOBS, {**row, **asked, **blank, **due}):
            there = self._get(connection, job_id)
            if (there.kind, canonical(there.arguments)) != (kind, document):
                raise Conflict(f"job {job_id} is there and asks for something else", hint="choose another id")
        return job_id

    def get(self, job_id: str) -> Job:
        """Return one job.

        Raises:
            NotFound: when there is none.
        """
        with self.database.read() as connection:
            return self._get(connection, job_id)

    def list(self, *, states: Sequence[JobState] = (), kind: str | None = None, at_most: int = 100) -> list[Job]:
        """Return jobs, the newest first."""
        found = select(JOBS).order_by(JOBS.c.sequence.desc()).limit(at_most)
        if states:
            found = found.where(JOBS.c.state.in_([state.value for state in states]))
        if kind is not None:
            found = found.where(JOBS.c.kind == kind)
        with self.database.read() as connection:
            return [Job.read(row) for row in connection.execute(found)]

    def cancel(self, job_id: str, *, actor: str, reason: str) -> Job:
        """Ask for a job's end: at once while it waits, at its worker's next heartbeat while it runs.

        Asked again, or of a job that is over, it changes nothing and is not written down.

        Raises:
            NotFound: when there is none.
        """
        with self.database.write() as connection:
            now = self.database.now()
            mine = update(JOBS).where(JOBS.c.id == job_id, JOBS.c.cancel.is_(False))
            waiting = mine.where(JOBS.c.state == JobState.WAITING.value)
            ended = {"state": JobState.CANCELLED.value, "cancel": True, "ended_s": now, "due_s": None}
            changed = connection.execute(waiting.values(ended)).rowcount
            running = mine.where(JOBS.c.state == JobState.RUNNING.value)
            changed += connection.execute(running.values(cancel=True)).rowcount
            if changed:
                self._audit.write(connection, actor=actor, action="job.cancel", subject=f"job/{job_id}", reason=reason)
            return self._get(connection, job_id)

    def signal(self, job_id: str, name: str, document: Mapping[str, Any], *, actor: str) -> bool:
        """Tell a job something that it waits for, such as an approval; the first word stands, a second changes nothing.

        Raises:
            NotFound: when there is no such job.
        """
        with self.database.write() as connection:
            self._get(connection, job_id, lock=True)
            now = self.database.now()
            known = {"job": job_id, "name": name, "document": canonical(document), "actor": actor}
            is_new = insert_new(connection, JOB_SIGNALS, {**known, "at_s": self.database.now_s(connection)})
            awaiting = (JOBS.c.id == job_id) & (JOBS.c.state == JobState.WAITING.value) & (JOBS.c.awaited == name)
            connection.execute(update(JOBS).where(awaiting).values(due_s=now, awaited=""))
        return is_new

    def claim(self, worker: str, length_s: float, queues: Sequence[str] | None = None) -> Job | None:
        """Return the job that is due first, now running under a new number, or None.

        One queue's claims wait for each other, so that its limit holds over all workers.
        """
        names = sorted({kind.queue for kind in self.kinds}) if queues is None else queues
        kinds = [kind.name for kind in self.kinds]
        for name in names:
            with self.database.write() as connection:
                job_id = self._pick(connection, name, kinds)
                if job_id is None:
                    continue
                now_s = self.database.now_s(connection)
                lease = {"worker": worker, "until_s": now_s + length_s, "heartbeat_s": now_s, "due_s": None}
                number = {"fence": JOBS.c.fence + 1, "attempts": JOBS.c.attempts + 1, "awaited": ""}
                begun = {"state": JobState.RUNNING.value, "started_s": func.coalesce(JOBS.c.started_s, now_s)}
                connection.execute(update(JOBS).where(JOBS.c.id == job_id).values(**lease, **number, **begun))
                return self._get(connection, job_id)
        return None

    def _pick(self, connection: Connection, queue: str, kinds: Sequence[str]) -> str | None:
        limit = connection.execute(
            select(QUEUES.c.at_once).where(QUEUES.c.name == queue).with_for_update()
        ).scalar_one_or_none()
        if limit is None:
            return None
        now_s = self.database.now_s(connection)
        here = JOBS.c.queue == queue
        running = here & (JOBS.c.state == JobState.RUNNING.value)
        self._bury(connection, running & (JOBS.c.until_s < now_s), now_s)
        live = select(func.count()).select_from(JOBS).where(running, JOBS.c.until_s >= now_s)
        if connection.execute(live).scalar_one() >= limit:
            return None
        due = or_(
            and_(JOBS.c.state == JobState.WAITING.value, JOBS.c.due_s <= now_s),
            and_(JOBS.c.state == JobState.RUNNING.value, JOBS.c.until_s < now_s),
        )
        first = select(JOBS.c.id).where(here, due, JOBS.c.kind.in_(kinds))
        ordered = first.order_by(JOBS.c.priority.desc(), JOBS.c.sequence).limit(1)
        found = connection.execute(ordered.with_for_update(skip_locked=True)).scalar_one_or_none()
        return None if found is None else str(found)

    @staticmethod
    def _bury(connection: Connection, dead: ColumnElement[bool], now_s: float) -> None:
        """End the jobs of dead workers that nobody shall take over: those to be cancelled, those out of attempts."""
        ended = {"ended_s": now_s, "until_s": None}
        wanted = update(JOBS).where(dead, JOBS.c.cancel.is_(True))
        connection.execute(wanted.values(state=JobState.CANCELLED.value, **ended))
        spent = update(JOBS).where(dead, JOBS.c.attempts >= JOBS.c.max_attempts)
        connection.execute(spent.values(state=JobState.FAILED.value, error=canonical(WORKER_DIED), **ended))

    @staticmethod
    def _get(connection: Connection, job_id: str, *, lock: bool = False) -> Job:
        found = select(JOBS).where(JOBS.c.id == job_id)
        row = connection.execute(found.with_for_update() if lock else found).one_or_none()
        if row is None:
            raise NotFound(f"there is no job {job_id}", hint="roost job list")
        return Job.read(row)
