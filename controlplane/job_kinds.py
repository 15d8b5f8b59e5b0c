"""The kinds of jobs that there are, and when they run by themselves."""

from controlplane.jobs.kinds import JobKind, JobKinds
from controlplane.jobs.schedules import Schedules

KINDS = JobKinds(
    [
        JobKind("checkpoint", "controlplane.jobs.checkpoint:run", queue="upkeep"),
        JobKind("weekly-report", "controlplane.jobs.weekly_report:run", queue="reports"),
    ]
)


def declare_schedules(schedules: Schedules) -> None:
    """Sign a checkpoint every hour, and report each week on Monday morning."""
    schedules.declare("checkpoint", "hourly at :05", "checkpoint")
    schedules.declare("weekly-report", "weekly on monday at 06:00", "weekly-report")
