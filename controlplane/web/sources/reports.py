"""Weekly reports of a home, made when somebody asks: any week that was recorded can be made again."""

import asyncio
import base64
import hashlib
import re
from dataclasses import dataclass

from contracts.errors import NotFound
from controlplane.settings import Settings
from controlplane.web.views.story import Chronicle
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
    if not (settings.home / "history.db").is_file():
        raise NotFound(
            f"{settings.home} holds no history to report on", hint="`roost demo run --home FOLDER` makes one"
        )
    return await asyncio.to_thread(_make, settings, week, now_s)


def _make(settings: Settings, week: Week, now_s: float) -> WeeklyReport:
    from controlplane.reporting import Wishes, report_week
    from evaluation.report.html import render_html

    report = report_week(settings, week, now_s=now_s, wishes=Wishes())
    return WeeklyReport(week, tuple(report.sentences), render_html(report))
