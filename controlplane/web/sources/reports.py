"""Weekly reports of a home, made when somebody asks: any week that was recorded can be made again."""

import asyncio
import base64
import hashlib
import re
from dataclasses import dataclass
from typing import Any

from contracts.errors import InvalidInput, NotFound
from controlplane.settings import Settings
from controlplane.web.views.story import Chronicle
from controlplane.web.views.weeks import compare_weeks
from evaluation.report.document import Report
from evaluation.report.week import WEEK_S, Week, parse_week, week_of

STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)
MOST_WEEKS = 60


@dataclass(frozen=True)
class WeeklyReport:
    """A week's sentences, and the whole as one page with the policy under which a browser may show it."""

    week: Week
    sentences: tuple[str, ...]
    html: str

    @property
    def policy(self) -> str:
        """A content security policy that allows the report's own style, named by its digest, and nothing else."""
        digests = [hashlib.sha256(style.encode()).digest() for style in STYLE.findall(self.html)]
        styles = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
        return f"default-src 'none'; style-src {styles}; img-src data:; frame-ancestors 'self'; sandbox"


def recorded_weeks(chronicle: Chronicle) -> list[Week]:
    """Return the weeks from the first decision to the last, newest first."""
    if not chronicle.rows:
        return []
    first, current = week_of(chronicle.rows[0].at_s), week_of(chronicle.rows[-1].at_s)
    weeks: list[Week] = []
    while current >= first and len(weeks) < MOST_WEEKS:
        weeks.append(current)
        current = week_of(current.start_s - WEEK_S / 2)
    return weeks


async def make_weekly(settings: Settings, text: str, now_s: float) -> WeeklyReport:
    """Make a week's report.

    Raises:
        InvalidInput: when it is no week, or one to come.
        NotFound: when the home holds no history.
    """
    week = parse_week(text, now_s)
    report = await _make(settings, week, now_s)
    from evaluation.report.html import render_html

    html = await asyncio.to_thread(render_html, report)
    return WeeklyReport(week, tuple(report.sentences), html)


async def compare_weekly(settings: Settings, first: str, second: str, now_s: float) -> dict[str, Any]:
    """Make two weeks' reports and put them beside one another, the earlier one first.

    Raises:
        InvalidInput: when one is no week, or they are the same.
        NotFound: when the home holds no history.
    """
    weeks = sorted({parse_week(first, now_s), parse_week(second, now_s)})
    if len(weeks) == 1:
        raise InvalidInput(f"with: {second} is the same week", hint="name two weeks")
    reports = [await _make(settings, week, now_s) for week in weeks]
    return {"weeks": weeks, "reports": reports, "groups": compare_weeks(*reports)}


async def _make(settings: Settings, week: Week, now_s: float) -> Report:
    if not (settings.home / "history.db").is_file():
        raise NotFound(
            f"{settings.home} holds no history to report on", hint="`roost demo run --home FOLDER` makes one"
        )
    from controlplane.reporting import Wishes, report_week

    return await asyncio.to_thread(report_week, settings, week, now_s=now_s, wishes=Wishes())
