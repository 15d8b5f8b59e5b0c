"""The pages: which view each address shows, with which template, and which parts of it are kept live."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from contracts.errors import InvalidInput, NotFound
from controlplane.web.rollout_page import find_story, tell_comparison, tell_pairs, tell_rollout
from controlplane.web.sources.home import Home
from controlplane.web.sources.reports import compare_weekly, make_weekly, recorded_weeks
from controlplane.web.views import decisions, fleet, models, quality, rollouts, slos, traffic
from controlplane.web.views.attention import Signs, view_attention
from controlplane.web.views.charts import chart_slo
from controlplane.web.views.freezes import view_rules
from controlplane.web.views.period import ALL_TIME, Period, parse_period
from controlplane.web.views.replicas import view_replicas
from controlplane.web.views.rollout import STALE_AFTER_S
from controlplane.web.views.search import search
from controlplane.web.views.series import Columns, chart_series
from controlplane.web.views.story import Chronicle

Series = Callable[[int], dict[str, Columns]]
ROLLOUT_REGIONS = ("verdict", "traffic", "checks", "charts", "serving", "pairs", "journal")


@dataclass(frozen=True)
class Page:
    """A page as templates are given it; ``regions`` are kept live, ``series`` returns chart rows after a decision.

    ``sequence`` is the newest decision it shows; ``is_live`` is false for a moment of the past.
    """

    name: str
    title: str
    context: dict[str, Any]
    sequence: int
    regions: tuple[str, ...] = ()
    series: Series | None = None
    state: dict[str, Any] = field(default_factory=dict)
    is_live: bool = True


class Pages:
    """Builds the pages of one home; ``acts`` tells whether people can ask for something on them."""

    def __init__(self, home: Home, *, acts: bool) -> None:
        self._home, self._acts = home, acts

    async def build(self, path: str, query: QueryParams) -> Page:
        """Return the page at an address.

        Raises:
            NotFound: when there is none, or nothing of that name.
            InvalidInput: when the query says what can't be.
        """
        head, _, rest = path.strip("/").partition("/")
        builders = {
            ("", False): self._fleet,
            ("rollouts", False): self._rollouts,
            ("models", False): self._models,
            ("slos", False): self._slos,
            ("quality", False): self._quality,
            ("reports", False): self._reports,
            ("decisions", False): self._decisions,
            ("search", False): self._search,
        }
        named = {
            "rollouts": self._rollout,
            "models": self._model,
            "decisions": self._decision,
            "reports": self._report,
            "compare": self._compare,
        }
        if not rest and (head, False) in builders:
            return await builders[head, False](query)
        if rest and head in named:
            return await named[head](rest, query)
        raise NotFound(f"there is no page {path}", hint="the links at the top name all pages")

    @property
    def _chronicle(self) -> Chronicle:
        return self._home.feed.chronicle

    def _page(
        self,
        name: str,
        title: str,
        context: dict[str, Any],
        regions: tuple[str, ...] = (),
        period: Period = ALL_TIME,
    ) -> Page:
        """Return a page of now, with what every page is told."""
        problem = self._home.problem
        shared = {
            "period": period,
            "home": self._home.name,
            "begun": self._home.exists,
            "acts": self._acts,
            "now_s": self._home.now_s(),
            "problem": problem,
            "stale_after_s": STALE_AFTER_S,
        }
        state = {"asof": self._chronicle.newest_s, "busy": self._is_busy(), "problem": str(problem or "")}
        return Page(name, title, {**shared, **context}, self._chronicle.sequence, regions, state=state)

    def _is_busy(self) -> bool:
        """Tell whether decisions are to be expected: some rollout has not ended."""
        return any(not story.is_over for story in self._chronicle.stories.values())

    async def _fleet(self, query: QueryParams) -> Page:
        home, table, by = self._home, self._home.routing(), query.get("by", "")
        recorded, served = await home.telemetry.read(), await home.serving.served()
        seen = view_replicas(table, await home.workers.look())
        asked = await home.specs.asked()
        objectives = slos.view_slos(recorded)
        served_by = traffic.view_traffic(served)
        view = fleet.view_fleet(self._chronicle, table, home.shelf.known, seen, served_by)
        view = fleet.choose(view, by, asked.owners, asked.starters) if by else view
        memory = traffic.count_oom(served)
        signs = Signs(view.active, objectives, seen, memory, recorded, home.problem, frozenset(asked.silences))
        needs = view_attention(signs, home.now_s())
        sentence = fleet.summarise(view, len(needs), objectives)
        rules = view_rules(asked.specs, objectives, home.now_s())
        context = {"fleet": view, "attention": needs, "sentence": sentence, "rules": rules, "by": by}
        return self._page("fleet", "Fleet", context, ("fleet",))

    async def _rollouts(self, query: QueryParams) -> Page:
        period = parse_period(query.get("t", ""))
        wanted = rollouts.RolloutFilter(
            phase=query.get("phase", ""),
            model=query.get("model", ""),
            words=query.get("q", ""),
            by=query.get("by", ""),
            span=period.span(self._chronicle.newest_s),
        )
        view = rollouts.view_rollouts(self._chronicle, wanted, (await self._home.specs.asked()).starters)
        return self._page(
            "rollouts",
            "Rollouts",
            {"told": view.sentence, "list": view, "wanted": wanted},
            ("told", "rollouts"),
            period,
        )

    async def _rollout(self, rollout_id: str, query: QueryParams) -> Page:
        at, period = _number(query, "at"), parse_period(query.get("t", ""))
        story = find_story(self._home, rollout_id, at)
        span = period.span(story.last.at_s)
        context = await tell_rollout(self._home, story, at, span)
        page = self._page("rollout", rollout_id, context, ROLLOUT_REGIONS, period)
        busy = not story.is_over and at is None
        state = {**page.state, "asof": story.last.at_s, "busy": busy, "phase": story.last.phase.value}
        series = partial(chart_series, story, span=span)
        return replace(page, sequence=story.last.sequence, series=series, state=state, is_live=at is None)

    async def _compare(self, kind: str, query: QueryParams) -> Page:
        if kind == "rollouts":
            return self._page("compare_rollouts", "Compare", tell_comparison(self._home, query.getlist("id")))
        if kind == "reports":
            context = await compare_weekly(
                self._home.settings, query.get("week", ""), query.get("with", ""), self._home.now_s()
            )
            return self._page("compare_reports", "Compare", context)
        raise NotFound(f"{kind!r} can't be compared", hint="rollouts and reports can")

    async def _models(self, query: QueryParams) -> Page:
        shelf = await self._home.shelf.read()
        return self._page("models", "Models", {"list": models.view_models(shelf)}, ("models",))

    async def _model(self, name: str, query: QueryParams) -> Page:
        period, now_s = parse_period(query.get("t", "")), self._home.now_s()
        view = models.view_model(await self._home.shelf.read(), self._chronicle, name, now_s, period.span(now_s))
        return self._page("model", name, {"told": view.sentence, "model": view}, ("told", "model"), period)

    async def _slos(self, query: QueryParams) -> Page:
        period = parse_period(query.get("t", ""))
        view = slos.view_slos(await self._home.telemetry.read(), period)
        charts = {row.key: chart_slo(row) for row in view.rows} if view is not None else {}
        context = {"slos": view, "charts": charts, "silences": (await self._home.specs.asked()).silences}
        return self._page("slos", "SLOs", context, ("slos",), period)

    async def _quality(self, query: QueryParams) -> Page:
        home, period = self._home, parse_period(query.get("t", ""))
        recorded = await home.telemetry.read()
        span = period.span(recorded.newest_s if recorded is not None else None)
        ends = (end if math.isfinite(end) else None for end in (span.since_s, span.until_s))
        spreads = await home.serving.spreads(*ends)
        newest = next(self._chronicle.newest(), None)
        pair = frozenset((newest.champion, newest.challenger)) if newest is not None else frozenset[str]()
        view = quality.view_quality(recorded, await home.specs.known(), spreads, span, pair)
        pairs = await tell_pairs(home, newest) if newest is not None else None
        context = {
            "quality": view,
            "pairs": pairs,
            "newest": newest.rollout_id if newest is not None else "",
            "silences": (await home.specs.asked()).silences,
        }
        return self._page("quality", "Quality", context, ("quality",), period)

    async def _reports(self, query: QueryParams) -> Page:
        context = {"reports": recorded_weeks(self._chronicle), "recorded": self._home.telemetry.exists}
        return self._page("reports", "Reports", context, ("reports",))

    async def _report(self, week: str, query: QueryParams) -> Page:
        report = await make_weekly(self._home.settings, week, self._home.now_s())
        return self._page("report", f"Week {report.week}", {"report": report})

    async def _decisions(self, query: QueryParams) -> Page:
        wanted = read_filter(query, self._chronicle.newest_s)
        view = decisions.view_decisions(self._chronicle, wanted, before=_number(query, "before"))
        kept = {key: query[key] for key in ("q", "rollout", "reason", "every", "t") if query.get(key)}
        context = {
            "told": view.sentence,
            "list": view,
            "wanted": wanted,
            "kept": urlencode(kept),
            "before": query.get("before", ""),
        }
        return self._page("decisions", "Decisions", context, ("told", "decisions"), parse_period(query.get("t", "")))

    async def _decision(self, number: str, query: QueryParams) -> Page:
        if not number.isdecimal() or len(number) > 15:
            raise NotFound(f"there is no decision {number!r}", hint="decisions are numbered from 0")
        entry = decisions.find_decision(self._home.feed.ledger, int(number))
        return self._page("decision", f"Decision {number}", {"entry": entry})

    async def _search(self, query: QueryParams) -> Page:
        words = query.get("q", "")
        found = search(self._chronicle, self._home.shelf.known, words)
        return self._page("search", "Search", {"words": words, "found": found})


def read_filter(query: QueryParams, newest_s: float | None) -> decisions.Wanted:
    """Return which decisions a query asks for.

    Raises:
        InvalidInput: when its time is none.
    """
    return decisions.Wanted(
        words=query.get("q", ""),
        rollout=query.get("rollout", ""),
        reason=query.get("reason", ""),
        every=query.get("every", "") == "1",
        span=parse_period(query.get("t", "")).span(newest_s),
    )


def _number(query: QueryParams, key: str) -> int | None:
    text = query.get(key, "")
    if not text:
        return None
    if not text.isdecimal() or len(text) > 15:
        raise InvalidInput(f"{key}: {text!r} is not the number of a decision", hint="numbers begin at 0")
    return int(text)
