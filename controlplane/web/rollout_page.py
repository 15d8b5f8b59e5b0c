"""What the page of one rollout is told: its story, its traffic's latency and outputs, and what comes next."""

from collections.abc import Sequence
from typing import Any

from contracts.errors import InvalidInput, NotFound
from controlplane.web.sources.home import Home
from controlplane.web.views.burn import view_burns
from controlplane.web.views.charts import (
    caption_check,
    chart_burn,
    chart_check,
    chart_latency,
    chart_traffic,
    chart_weights,
)
from controlplane.web.views.comparison import compare_rollouts
from controlplane.web.views.latency import view_latency
from controlplane.web.views.pairs import PairList, view_pairs
from controlplane.web.views.period import EVER, Span
from controlplane.web.views.prospect import view_prospects
from controlplane.web.views.rollout import view_decisions, view_rollout
from controlplane.web.views.series import chart_series
from controlplane.web.views.story import Story


async def tell_rollout(home: Home, story: Story, at: int | None, span: Span) -> dict[str, Any]:
    """Return the context of a rollout's page, as of decision ``at`` or now, drawn over a time."""
    chronicle = home.feed.chronicle
    rows = [row for row in chronicle.rows if (at is None or row.sequence <= at) and span.holds(row.at_s)]
    order = list(chronicle.stories)
    place = order.index(story.rollout_id)
    spec = (await home.specs.known()).get(story.service)
    versions = (story.champion, story.challenger)
    window = (max(story.started_s, span.since_s), min(story.last.at_s, span.until_s))
    timed = await home.serving.timed(story.service, versions, *window) if window[0] <= window[1] else None
    view, latency = view_rollout(story), view_latency(story, timed, spec)
    burns = view_burns(story, spec, span)
    begin_s = story.started_s
    return {
        "rollout": view,
        "traffic_chart": chart_traffic(begin_s),
        "check_charts": [(check.gate, chart_check(check, begin_s), caption_check(check)) for check in view.checks],
        "latency_chart": chart_latency(latency, begin_s) if latency is not None else None,
        "burn_charts": [chart_burn(burn, begin_s) for burn in burns],
        "rows": view_decisions(story, rows),
        "at": at,
        "older": order[place - 1] if place else None,
        "newer": order[place + 1] if place + 1 < len(order) else None,
        "series": chart_series(story, span=span),
        "prospects": view_prospects(story, spec.rollout if spec is not None else None),
        "burns": burns,
        "latency": latency,
        "pairs": await tell_pairs(home, story, span),
    }


async def tell_pairs(home: Home, story: Story, span: Span = EVER) -> PairList | None:
    """Return the outputs of a rollout's versions that were kept while it ran."""
    versions = (story.champion, story.challenger)
    drawn = await home.serving.drawn(story.service, versions, story.started_s, story.last.at_s)
    return view_pairs([one for one in drawn or () if span.holds(one.at_s)], *versions)


def find_story(home: Home, rollout_id: str, at: int | None) -> Story:
    """Return a rollout as it is, or as it was after a decision: folded again from the ledger.

    Raises:
        NotFound: when there is no such rollout, or it began later.
    """
    chronicle = home.feed.chronicle
    story = chronicle.stories.get(rollout_id)
    if story is None:
        known = ", ".join(story.rollout_id for story in chronicle.newest())[:200]
        raise NotFound(f"the ledger has no rollout {rollout_id!r}", hint=f"it has: {known or 'none'}")
    if at is None:
        return story
    ledger = home.feed.ledger
    entries = (e for e in ledger.entries(rollout_id) if e.sequence <= at) if ledger else iter(())
    first = next(entries, None)
    if first is None:
        raise NotFound(f"{rollout_id} began after decision {at}", hint="leave out ?at= to see it now")
    past = Story(first)
    for entry in entries:
        past.fold(entry)
    return past


def tell_comparison(home: Home, rollout_ids: Sequence[str]) -> dict[str, Any]:
    """Return the context of the page that puts two rollouts beside one another.

    Raises:
        InvalidInput: when it is not two that are asked for.
        NotFound: when one of them is not there.
    """
    if len(set(rollout_ids)) != 2:
        raise InvalidInput("compare: choose two rollouts", hint="tick two of them on the page of rollouts")
    stories = [find_story(home, rollout_id, None) for rollout_id in rollout_ids]
    chart = chart_weights(*(story.rollout_id for story in stories))
    return {"comparison": compare_rollouts(*stories), "weights_chart": chart}
