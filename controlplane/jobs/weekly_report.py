"""The job that writes a week's quality report."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from controlplane.jobs.arguments import Arguments
from controlplane.jobs.context import JobContext


class WeeklyReportArguments(Arguments):
    """Which week, such as 2026-W46; the week before this one otherwise."""

    week: Annotated[str, Field(pattern=r"^\d{4}-W\d{2}$")] | None = None


def run(context: JobContext, arguments: dict[str, Any]) -> dict[str, Any]:
    """Write the report of a week below the home's reports."""
    from contracts.clock import SystemClock
    from controlplane.reporting import Wishes, report_week, write_report
    from controlplane.settings import Settings
    from evaluation.report.week import WEEK_S, parse_week, week_of

    asked = WeeklyReportArguments.model_validate(arguments)
    now_s = SystemClock().now_s()
    week = parse_week(asked.week, now_s) if asked.week is not None else week_of(now_s - WEEK_S)
    context.report(0.1, f"reading {week}")
    report = report_week(Settings(Path(context.home)), week, now_s=now_s, wishes=Wishes())
    context.report(0.8, "writing")
    out = Path(context.home) / "reports" / f"report-{week}.html"
    return {"file": str(out), "bytes": write_report(report, out)}
