"""The job that keeps the history small: seconds become minutes and hours, and what is past its time goes."""

from pathlib import Path
from typing import Any

from controlplane.jobs.context import JobContext


def run(context: JobContext, arguments: dict[str, Any]) -> dict[str, Any]:
    """Roll the history up; done twice, it changes nothing more. Returns how many rows there are of each resolution."""
    from sqlalchemy import func, select

    from contracts.clock import SystemClock
    from controlplane.settings import Settings
    from controlplane.store.history import COUNTS, History
    from controlplane.store.telemetry_database import reading

    history = History(Settings(Path(context.home)).history_uri)
    try:
        history.roll_up(SystemClock().now_s())
        rows = select(COUNTS.c.resolution_s, func.count()).group_by(COUNTS.c.resolution_s)
        with reading(history.engine) as connection:
            return {"rows": {f"{resolution_s} s": count for resolution_s, count in connection.execute(rows).all()}}
    finally:
        history.close()
