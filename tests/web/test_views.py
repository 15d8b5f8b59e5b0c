"""View models: what pages and answers say, without a server."""

import asyncio
import csv
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.ids import VersionId
from controlplane.settings import Settings
from controlplane.store.migrate import open_store
from controlplane.store.sql_ledger import SqlLedger
from controlplane.web.drawing import show_points
from controlplane.web.protection import host_name
from controlplane.web.rendering import show_measure, to_island
from controlplane.web.sources.home import Home
from controlplane.web.views.decisions import Wanted, export_csv, view_decisions
from controlplane.web.views.difference import DifferenceCourse
from controlplane.web.views.models import _reigns
from controlplane.web.views.rollout import view_rollout
from controlplane.web.views.series import MOST_ROWS, chart_series
from controlplane.web.views.story import Chronicle
from registry.journal import Move
from rollout.phases import Phase
from tests.web.writer import Writer, next_rollout


def chronicle_of(writer: Writer) -> Chronicle:
    chronicle = Chronicle()
    assert writer.ledger is not None
    chronicle.fold(writer.ledger.entries())
    return chronicle


def test_a_rollback_shows_where_it_stopped_and_what_decided(tmp_path: Path) -> None:
    writer = Writer(tmp_path, score=0.5)
    assert writer.finish() is Phase.ROLLED_BACK
    view = view_rollout(chronicle_of(writer).stories[writer.rollout_id])
    assert view.outlook == "bad"
    assert "scores" in view.decided
    stopped = next(step for step in view.steps if step.state == "stopped")
    assert stopped.phase == "progressing"
    assert "50 %" in stopped.note or "%" in stopped.note
    assert [step.phase for step in view.steps if step.state == "ahead"] == ["promoting", "baking", "promoted"]
    text = next(check for check in view.checks if check.gate == "text")
    assert text.evidence >= text.needed
    assert text.value is not None
    assert text.low is not None
    assert text.value == pytest.approx(text.challenger)
    assert text.tolerance == pytest.approx((text.limit or 0.0) - 1.0)


def test_counts_of_the_page_are_those_of_the_gate(tmp_path: Path) -> None:
    writer = Writer(tmp_path, bad=0.01)
    for _ in range(12):
        writer.tick()
    assert writer.state.phase is Phase.PROGRESSING
    view = view_rollout(chronicle_of(writer).stories[writer.rollout_id])
    check = next(check for check in view.checks if check.gate == "availability")
    assert check.challenger == pytest.approx(check.value)
    assert view.challenger_n == check.n
    assert view.measured == pytest.approx(view.challenger_n / (view.challenger_n + view.champion_n))


def test_a_difference_lies_in_its_band_at_all_times() -> None:
    """In at most 5 % of runs the true difference may ever leave the band; 99 % upper limit of 200 runs: 18."""
    missed = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        mine, theirs = rng.binomial(20, 0.10, 60).cumsum(), rng.binomial(20, 0.04, 60).cumsum()
        totals = 20 * np.arange(1, 61)
        rows = [tuple(int(n) for n in row) for row in zip(mine, totals, theirs, totals, strict=True)]
        readings = DifferenceCourse().advance_counts(rows)  # type: ignore[arg-type]
        missed += any(not (r.low or 0) <= 0.06 <= (r.high or 0) for r in readings)
    assert missed <= 18


def test_mirrored_pairs_tell_the_difference() -> None:
    course = DifferenceCourse()
    last = course.advance_scores([((), (1.0,), (-0.5, -0.5)), ((), (), (-0.5,) * 60)])[-1]
    assert last.difference == pytest.approx(-0.5)
    assert last.low is not None
    assert last.high is not None
    assert last.low < -0.5 < last.high < 0


def test_a_course_goes_on_where_it_ended() -> None:
    rows = [(1, 20, 0, 20), (2, 40, 1, 40), (2, 60, 1, 60)]
    course = DifferenceCourse()
    course.advance_counts(rows[:1])
    assert course.advance_counts(rows) == DifferenceCourse().advance_counts(rows)


def test_charts_leave_rows_out_but_never_the_largest_evidence(tmp_path: Path) -> None:
    writer = Writer(tmp_path, bad=0.012, rate=3)
    for _ in range(2 * MOST_ROWS + 7):
        writer.tick(0.1)
    story = chronicle_of(writer).stories[writer.rollout_id]
    series = chart_series(story)
    shown = series["availability/evidence"]
    course = story.gates["availability"]
    assert len(shown["s"]) <= MOST_ROWS + 2
    assert max(shown["harm"]) == pytest.approx(max(course.evidence), rel=1e-3)
    assert set(series["traffic"]["s"]) <= {tick.sequence for tick in story.ticks}
    later = chart_series(story, after=story.last.sequence - 3)
    assert later["traffic"]["s"] == [tick.sequence for tick in story.ticks[-3:]]


def test_only_what_changed_is_listed_unless_all_is_asked_for(tmp_path: Path) -> None:
    writer = Writer(tmp_path, rate=4)
    writer.finish()
    chronicle = chronicle_of(writer)
    changes, every = (view_decisions(chronicle, Wanted(every=every)) for every in (False, True))
    assert every.found == len(chronicle.rows) > changes.found > 3
    older = view_decisions(chronicle, Wanted(every=True), before=every.older)
    assert older.rows[0].sequence == every.rows[-1].sequence - 1


def test_the_phase_changes_are_all_listed(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.finish()
    listed = {row.phase for row in view_decisions(chronicle_of(writer), Wanted()).rows}
    assert listed == {"warming", "progressing", "promoting", "baking", "promoted"}


def test_a_spreadsheet_runs_nothing_of_an_export(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    for _ in range(5):
        writer.tick()
    writer.pause('=HYPERLINK("http://evil")')
    text = "".join(export_csv(chronicle_of(writer), Wanted(every=True)))
    last = list(csv.DictReader(io.StringIO(text)))[-1]
    assert last["why"] == '\'=HYPERLINK("http://evil")'
    assert last["actor"] == "alice"


def test_what_served_when_counts_done_moves_only() -> None:
    one, two = VersionId("m", 1), VersionId("m", 2)
    moves = [
        Move(1, 10.0, "m", "champion", "intended", None, one, "a", ""),
        Move(2, 10.1, "m", "champion", "moved", None, one, "a", "first"),
        Move(3, 20.0, "m", "challenger", "moved", None, two, "a", ""),
        Move(4, 30.0, "m", "champion", "intended", one, two, "rollout/r-1", ""),
        Move(5, 30.1, "m", "champion", "moved", one, two, "rollout/r-1", "proven"),
        Move(6, 40.0, "m", "champion", "undone", two, one, "bob", "undo"),
    ]
    reigns = _reigns(moves)
    assert [(reign.version, reign.since_s, reign.until_s) for reign in reigns] == [
        ("m@1", 10.1, 30.1),
        ("m@2", 30.1, 40.0),
        ("m@1", 40.0, None),
    ]
    assert reigns[1].rollout_id == "r-1"


async def _followed(home: Home) -> int:
    while await home.feed.catch_up():
        pass
    return home.feed.chronicle.sequence


def run(home: Home) -> int:
    return asyncio.run(_followed(home))


def test_the_ledger_is_followed_from_a_file_into_the_database(tmp_path: Path) -> None:
    home = Home(Settings(tmp_path))
    assert run(home) == -1
    assert list(tmp_path.iterdir()) == []
    file = Writer(tmp_path)
    for _ in range(3):
        file.tick()
    assert run(home) == 2
    database = open_store(Settings(tmp_path).database_url)
    assert run(home) == 2
    writer = Writer(tmp_path, number=9, ledger=SqlLedger(database, code_version="0.1.0"))
    for _ in range(2):
        writer.tick()
    assert run(home) == 1
    assert list(home.feed.chronicle.stories) == ["tags-9-abc9"]
    next_rollout(writer, number=10).tick()
    assert run(home) == 2
    assert list(home.feed.chronicle.stories) == ["tags-9-abc9", "tags-10-abc10"]
    database.close()


@given(st.text())
@settings(max_examples=60)
def test_an_island_can_not_be_left(text: str) -> None:
    import json

    island = str(to_island({"text": text}))
    assert "<" not in island
    assert json.loads(island) == {"text": text}


def test_numbers_have_their_units() -> None:
    assert show_measure(0.0182, "burn") == "1.82 %"
    assert show_measure(1.5, "relative") == "1.5×"
    assert show_measure(None, "score") == "–"
    assert show_points(-0.0031, "burn") == "−0.31 pp"
    assert show_points(0.031, "score") == "+0.031"


@pytest.mark.parametrize(
    ("host", "name"), [("127.0.0.1:8600", "127.0.0.1"), ("[::1]:1", "::1"), ("LOCALHOST", "localhost"), ("", "")]
)
def test_a_host_is_read_without_its_port(host: str, name: str) -> None:
    assert host_name(host) == name
