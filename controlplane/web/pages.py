"""The pages: which view each address shows, with which template, and which parts of it are kept live."""

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

    def _page(self, name: str, title: str, context: dict[str, Any], regions: tuple[str, ...] = ()) -> Page:
        """Return a page of now, with what every page is told."""
        problem = self._home.problem
        shared = {
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
        home, table = self._home, self._home.routing()
        recorded, served = await home.telemetry.read(), await home.serving.served()
        seen = view_replicas(table, await home.workers.look())
        view = fleet.view_fleet(self._chronicle, table, home.shelf.known, seen, traffic.view_traffic(served))
        objectives = slos.view_slos(recorded)
        signs = Signs(view.active, objectives, seen, traffic.count_oom(served), recorded, home.problem)
        needs = view_attention(signs, home.now_s())
        sentence = fleet.summarise(view, len(needs), objectives)
        context = {"fleet": view, "attention": needs, "sentence": sentence}
        return self._page("fleet", "Fleet", context, ("fleet",))

    async def _rollouts(self, query: QueryParams) -> Page:
        phase, words = query.get("phase", ""), query.get("q", "")
        view = rollouts.view_rollouts(self._chronicle, phase=phase, words=words)
        return self._page("rollouts", "Rollouts", {"list": view, "only": phase, "words": words}, ("rollouts",))

    async def _rollout(self, rollout_id: str, query: QueryParams) -> Page:
        at = _number(query, "at")
        story = find_story(self._home, rollout_id, at)
        context = await tell_rollout(self._home, story, at)
        page = self._page("rollout", rollout_id, context, ROLLOUT_REGIONS)
        busy = not story.is_over and at is None
        state = {**page.state, "asof": story.last.at_s, "busy": busy, "phase": story.last.phase.value}
        series = partial(chart_series, story)
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
        view = models.view_model(await self._home.shelf.read(), self._chronicle, name, self._home.now_s())
        return self._page("model", name, {"model": view}, ("model",))

    async def _slos(self, query: QueryParams) -> Page:
        view = slos.view_slos(await self._home.telemetry.read())
        return self._page("slos", "SLOs", {"slos": view}, ("slos",))

    async def _quality(self, query: QueryParams) -> Page:
        home = self._home
        view = quality.view_quality(await home.telemetry.read(), await home.specs.known(), await home.serving.spreads())
        newest = next(self._chronicle.newest(), None)
        pairs = await tell_pairs(home, newest) if newest is not None else None
        context = {"quality": view, "pairs": pairs, "newest": newest.rollout_id if newest is not None else ""}
        return self._page("quality", "Quality", context, ("quality",))

    async def _reports(self, query: QueryParams) -> Page:
        context = {"reports": recorded_weeks(self._chronicle), "recorded": self._home.telemetry.exists}
        return self._page("reports", "Reports", context, ("reports",))

    async def _report(self, week: str, query: QueryParams) -> Page:
        report = await make_weekly(self._home.settings, week, self._home.now_s())
        return self._page("report", f"Week {report.week}", {"report": report})

    async def _decisions(self, query: QueryParams) -> Page:
        wanted = read_filter(query)
        view = decisions.view_decisions(self._chronicle, wanted, before=_number(query, "before"))
        kept = {key: query[key] for key in ("q", "rollout", "reason", "every") if query.get(key)}
        context = {"list": view, "wanted": wanted, "kept": urlencode(kept), "before": query.get("before", "")}
        return self._page("decisions", "Decisions", context, ("decisions",))

    async def _decision(self, number: str, query: QueryParams) -> Page:
        if not number.isdecimal() or len(number) > 15:
            raise NotFound(f"there is no decision {number!r}", hint="decisions are numbered from 0")
        entry = decisions.find_decision(self._home.feed.ledger, int(number))
        return self._page("decision", f"Decision {number}", {"entry": entry})

    async def _search(self, query: QueryParams) -> Page:
        words = query.get("q", "")
        found = search(self._chronicle, self._home.shelf.known, words)
        return self._page("search", "Search", {"words": words, "found": found})


def read_filter(query: QueryParams) -> decisions.Wanted:
    """Return which decisions a query asks for."""
    return decisions.Wanted(
        words=query.get("q", ""),
        rollout=query.get("rollout", ""),
        reason=query.get("reason", ""),
        every=query.get("every", "") == "1",
    )


def _number(query: QueryParams, key: str) -> int | None:
    text = query.get(key, "")
    if not text:
        return None
    if not text.isdecimal() or len(text) > 15:
        raise InvalidInput(f"{key}: {text!r} is not the number of a decision", hint="numbers begin at 0")
    return int(text)
