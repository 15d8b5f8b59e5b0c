"""The job that writes a week's quality report."""

from pathlib import Path
from typing import Any

from controlplane.jobs.context import JobContext


def run(context: JobContext, arguments: dict[str, Any]) -> dict[str, Any]:
    """Write the report of ``week`` (such as 2026-W46; the week before this one otherwise) below the home's reports."""
    from contracts.clock import SystemClock
    from controlplane.reporting import Wishes, report_week, write_report
    from controlplane.settings import Settings
    from evaluation.report.week import WEEK_S, parse_week, week_of

    now_s = SystemClock().now_s()
    week = parse_week(arguments["week"], now_s) if "week" in arguments else week_of(now_s - WEEK_S)
    context.report(0.1, f"reading {week}")
    report = report_week(Settings(Path(context.home)), week, now_s=now_s, wishes=Wishes())
    context.report(0.8, "writing")
    out = Path(context.home) / "reports" / f"report-{week}.html"
    return {"file": str(out), "bytes": write_report(report, out)}
