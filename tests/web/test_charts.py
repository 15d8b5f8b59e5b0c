"""What charts show before and without scripts, over which time; and freezes by rule."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contracts.errors import InvalidInput
from contracts.specs.watch import FreezeSpec
from controlplane.web.drawing import HEIGHT, WIDTH, draw_chart
from controlplane.web.views.charts import Chart, Line, Number, chart_traffic
from controlplane.web.views.freezes import view_rules
from controlplane.web.views.period import EVER, Span, parse_period
from controlplane.web.views.rollouts import RolloutFilter, view_rollouts
from controlplane.web.views.series import Columns, chart_series
from controlplane.web.views.slos import show_left
from rollout.phases import Phase
from tests.web.conftest import XSS
from tests.web.test_views import chronicle_of
from tests.web.writer import Writer, load_spec, next_rollout

ORIGIN_S = datetime(2026, 11, 21, 10, tzinfo=UTC).timestamp()


def paths(drawing: str) -> list[str]:
    """Return the lines' paths."""
    return re.findall(r'class="line [^"]*" d="([^"]+)"', drawing)


def test_a_drawing_steps_where_shares_step_and_leaves_gaps_where_nothing_is_known() -> None:
    columns: Columns = {"s": [0, 1, 2, 3], "t": [0.0, 10.0, 20.0, 40.0], "asked": [0.0, 0.1, 0.1, 0.0]}
    columns["measured"] = [None, 0.05, None, 0.1]
    drawing = str(draw_chart(chart_traffic(ORIGIN_S), columns))
    asked, measured = paths(drawing)
    assert re.fullmatch(rf"M0 {HEIGHT}H250V\d+H1000V{HEIGHT}H{WIDTH}", asked)
    assert measured.count("M") == 2
    assert "from 2026-11-21 10:00:00 to 2026-11-21 10:00:40 UTC" in drawing
    assert "asked 0 %, measured 10 %" in drawing


def test_a_drawing_shows_no_more_points_than_it_has_room_for_and_the_last() -> None:
    count = 5000
    columns: Columns = {
        "s": list(range(count)),
        "t": [float(n) for n in range(count)],
        "a": [float(n % 7) for n in range(count)],
    }
    chart = Chart("x", XSS, Number.SCORE, (Line(XSS, "a", "mine"),), None)
    drawing = str(draw_chart(chart, columns))
    (line,) = paths(drawing)
    assert line.count("L") <= 100
    assert f"L{WIDTH} " in line
    assert XSS not in drawing


def test_nothing_is_drawn_of_nothing() -> None:
    assert draw_chart(chart_traffic(ORIGIN_S), {"s": [], "t": [], "asked": [], "measured": []}) == ""


@pytest.mark.parametrize(
    ("text", "since_s", "until_s"),
    [
        ("1h", ORIGIN_S - 3600, float("inf")),
        ("2026-11-21T09:00/2026-11-21T10:00", ORIGIN_S - 3600, ORIGIN_S),
        ("2026-11-21T09:00Z/", ORIGIN_S - 3600, float("inf")),
        ("/2026-11-21T11:00+01:00", float("-inf"), ORIGIN_S),
    ],
)
def test_a_time_counts_back_from_the_newest_value_or_lies_between_two_moments(
    text: str, since_s: float, until_s: float
) -> None:
    assert parse_period(text).span(ORIGIN_S) == Span(since_s, until_s)


@pytest.mark.parametrize("text", ["soon", "1", "-1h", "a/b", "2026-11-21/2026-11-20", f"{XSS}/", "9" * 300])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="t: "):
        parse_period(text)


def test_without_a_time_everything_is_shown() -> None:
    assert parse_period(" ").span(ORIGIN_S) == EVER


def test_charts_keep_to_the_time_and_to_what_is_new(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    assert writer.finish() is Phase.PROMOTED
    story = chronicle_of(writer).stories[writer.rollout_id]
    every = chart_series(story)
    middle = story.ticks[len(story.ticks) // 2]
    later = chart_series(story, span=Span(since_s=middle.at_s))
    assert later["traffic"]["s"] == [s for s in every["traffic"]["s"] if s >= middle.sequence]
    for name, columns in later.items():
        assert all(t >= round(middle.at_s - story.started_s, 1) for t in columns["t"]), name
    fresh = chart_series(story, middle.sequence + 3, span=Span(since_s=middle.at_s))
    assert fresh["traffic"]["s"][0] == middle.sequence + 4
    assert chart_series(story, span=Span(until_s=story.started_s - 1))["traffic"]["s"] == []


def test_rollouts_are_found_by_who_started_them(tmp_path: Path) -> None:
    first = Writer(tmp_path)
    first.tick()
    second = next_rollout(first, number=3)
    second.tick()
    chronicle = chronicle_of(first)
    starters = {first.rollout_id: "eva", second.rollout_id: XSS}

    def found(by: str = "", model: str = "") -> list[str]:
        rows = view_rollouts(chronicle, RolloutFilter(by=by, model=model), starters).rows
        return [row.rollout.rollout_id for row in rows]

    assert found(by="eva") == [first.rollout_id]
    assert found(by=XSS) == [second.rollout_id]
    assert found(by="bob") == []
    assert found(model="price-tags") == [second.rollout_id, first.rollout_id]
    assert found(model="price") == []


def test_freezes_by_rule_tell_whether_they_hold_and_until_when() -> None:
    friday = datetime(2026, 11, 20, 18, tzinfo=UTC).timestamp()
    freeze = FreezeSpec(weekly=("fri 16:00 - mon 08:00", "wed 10:00 - wed 12:00"), budget_below="10%")
    rules = view_rules({"tags": load_spec().model_copy(update={"freeze": freeze})}, None, friday)
    assert [rule.holds for rule in rules] == [True, False, False]
    assert rules[0].changes_s == datetime(2026, 11, 23, 8, tzinfo=UTC).timestamp()
    assert rules[1].changes_s == datetime(2026, 11, 25, 10, tzinfo=UTC).timestamp()
    assert "no budget has data yet" in rules[2].sentence
    assert view_rules({"tags": load_spec()}, None, friday) == ()


def test_a_budget_is_never_rounded_up() -> None:
    assert show_left(0.999779) == "99.9 %"
    assert show_left(1.0) == "100 %"
    assert show_left(0.0004) == "0 %"
