"""Quality: what people judged, and the weekly reports."""

import json
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel

from controlplane.api.context import Context
from controlplane.api.paging import Cursor, Limit, Page, cut
from controlplane.api.principal import Viewer
from controlplane.api.route import GuardedRoute
from controlplane.api.telling import finite
from evaluation.report.week import WEEK_S, Week, parse_week, week_of

router = APIRouter(route_class=GuardedRoute, tags=["quality"])
MOST_WEEKS = 520


class ReviewDocument(BaseModel):
    """What human judgements come to; all null and empty where nobody was ever asked."""

    judged: int
    raters: int
    summary: dict[str, Any] | None


class WeekDocument(BaseModel):
    """One ISO week in UTC."""

    week: str
    start_s: float
    end_s: float


class ReportDocument(WeekDocument):
    """A week's report: its sentences, and all its numbers."""

    sentences: list[str]
    report: dict[str, Any]


@router.get("/reviews")
def show_reviews(who: Viewer, context: Context) -> ReviewDocument:
    """Show what people preferred, how far they agree, and how attentive they were."""
    from controlplane.reviewing.results import summarise_reviews

    found = summarise_reviews(context.settings)
    if found is None:
        return ReviewDocument(judged=0, raters=0, summary=None)
    return ReviewDocument(judged=found.judged, raters=found.raters, summary=finite(asdict(found)))


@router.get("/reports")
def list_reports(who: Viewer, context: Context, cursor: Cursor = None, limit: Limit = 100) -> Page[WeekDocument]:
    """List the weeks that can be reported on, from the first decision on, the newest first."""
    first = next(iter(context.stores.ledger.entries()), None)
    if first is None:
        return Page(items=[], next=None)
    week, weeks = week_of(context.clock.now_s()), list[WeekDocument]()
    while week >= week_of(first.at_s) and len(weeks) < MOST_WEEKS:
        weeks.append(WeekDocument(**_tell(week)))
        week = week_of(week.start_s - WEEK_S / 2)
    return cut(weeks, cursor, limit)


@router.get("/reports/{week}")
def show_report(
    week: Annotated[str, Path(pattern=r"^[0-9]{4}-W[0-9]{2}$", examples=["2026-W46"])], who: Viewer, context: Context
) -> ReportDocument:
    """Make a week's quality report anew from what was recorded."""
    from controlplane.reporting import Wishes, report_week

    now_s = context.clock.now_s()
    found = parse_week(week, now_s)
    report = report_week(context.settings, found, now_s=now_s, wishes=Wishes())
    document = json.loads(json.dumps(finite(report.to_document())))
    return ReportDocument(**_tell(found), sentences=list(report.sentences), report=document)


def _tell(week: Week) -> dict[str, Any]:
    return {"week": str(week), "start_s": week.start_s, "end_s": week.end_s}
