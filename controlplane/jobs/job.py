"""One job as its row tells."""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from sqlalchemy import Row


class JobState(StrEnum):
    """Where a job stands; ``waiting`` for a worker, for a time or for a signal."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


OVER = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED})


@dataclass(frozen=True, slots=True)
class Job:
    """One job.

    ``fence`` grows with each claim: who holds an older number can write nothing. ``due_s`` is when it may be claimed,
    None when only the signal ``awaited`` makes it due. ``until_s`` is the end of the worker's lease. ``progress`` is in
    [0, 1]. ``cancel`` tells that somebody asked for its end. ``error`` has code, message and hint of the last failure.
    """

    id: str
    kind: str
    queue: str
    arguments: dict[str, Any]
    actor: str
    reason: str
    priority: int
    state: JobState
    fence: int
    worker: str
    until_s: float | None
    due_s: float | None
    awaited: str
    attempts: int
    max_attempts: int
    progress: float
    message: str
    cancel: bool
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    created_s: float
    started_s: float | None
    heartbeat_s: float | None
    ended_s: float | None

    @property
    def is_over(self) -> bool:
        """Tell whether nothing more will happen to it."""
        return self.state in OVER

    @classmethod
    def read(cls, row: Row[Any]) -> Self:
        """Read a row of the table."""
        values = {name: getattr(row, name) for name in cls.__dataclass_fields__}
        values["state"] = JobState(row.state)
        for name in ("arguments", "result", "error"):
            values[name] = None if values[name] is None else json.loads(values[name])
        return cls(**values)
