"""The kinds of jobs that there are, and when they run by themselves."""

from controlplane.jobs.compare import CompareArguments
from controlplane.jobs.evaluate import EvaluateArguments
from controlplane.jobs.kinds import JobKind, JobKinds
from controlplane.jobs.optimise import OptimiseArguments
from controlplane.jobs.profile import ProfileArguments
from controlplane.jobs.scan import ScanArguments
from controlplane.jobs.schedules import Schedules
from controlplane.jobs.train_demo import TrainDemoArguments
from controlplane.jobs.weekly_report import WeeklyReportArguments

HEAVY = "heavy"
"""The queue of what fills a machine, or must have it to itself to measure: one at a time."""

KINDS = JobKinds(
    [
        JobKind("checkpoint", "controlplane.jobs.checkpoint:run", queue="upkeep", is_trusted=True),
        JobKind("tidy", "controlplane.jobs.tidy:run", queue="upkeep", is_trusted=True),
        JobKind("roll-up", "controlplane.jobs.roll_up:run", queue="upkeep"),
        JobKind(
            "weekly-report",
            "controlplane.jobs.weekly_report:run",
            queue="reports",
            arguments=WeeklyReportArguments,
            is_trusted=True,
        ),
        JobKind("scan", "controlplane.jobs.scan:run", queue="scans", at_once=2, arguments=ScanArguments),
        JobKind("optimise", "controlplane.jobs.optimise:run", queue=HEAVY, arguments=OptimiseArguments),
        JobKind("profile", "controlplane.jobs.profile:run", queue=HEAVY, arguments=ProfileArguments),
        JobKind("evaluate", "controlplane.jobs.evaluate:run", queue=HEAVY, arguments=EvaluateArguments),
        JobKind("compare", "controlplane.jobs.compare:run", queue=HEAVY, arguments=CompareArguments),
        JobKind("train-demo", "controlplane.jobs.train_demo:run", queue=HEAVY, arguments=TrainDemoArguments),
    ]
)


def declare_schedules(schedules: Schedules) -> None:
    """Sign a checkpoint, tidy up and roll the history up every hour, and report each week on Monday morning."""
    schedules.declare("checkpoint", "hourly at :05", "checkpoint")
    schedules.declare("tidy", "hourly at :35", "tidy")
    schedules.declare("roll-up", "hourly at :20", "roll-up")
    schedules.declare("weekly-report", "weekly on monday at 06:00", "weekly-report")
