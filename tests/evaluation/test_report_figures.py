"""Figures of the report: intervals that hold, missing that is said, and one escaped, scriptless page."""

import io
import json
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from contracts.errors import InvalidInput
from contracts.sketch import bucket_of
from evaluation.report.charts import draw_chart
from evaluation.report.document import Chart, Line
from evaluation.report.facts import when
from evaluation.report.figures import count, difference, mean_score, missing, paired_mean, quantile, rate, wilson
from evaluation.report.html import render_html
from evaluation.report.markdown import render_markdown
from evaluation.report.pictures import choose_examples, thumbnail
from evaluation.report.source import (
    CountRow,
    DecisionRow,
    EventRow,
    Example,
    Objective,
    Records,
    ScoreRow,
    ServiceFacts,
)
from evaluation.report.week import Week, parse_week, week_of
from evaluation.report.weekly import make_report

WEEK = Week(2026, 46)
NOW_S = WEEK.end_s + 1


def png(colour: tuple[int, int, int] = (200, 10, 10), side: int = 400) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(out, "PNG")
    return out.getvalue()


class FakeWeeks:
    """Two weeks in memory: the second has failures, a rollback, an image that can't be decoded and hostile text."""

    hostile = "<script>alert(1)</script>"

    def counts(self, start_s: float, end_s: float) -> list[CountRow]:
        rows = []
        for week, bad in ((WEEK.before, 1.0), (WEEK, 30.0)):
            at_s = int(week.start_s) + 7200
            rows += [
                CountRow(at_s, "tags", "", "final", False, "requests", 1000.0),
                CountRow(at_s, "tags", "", "final", False, "requests-bad", bad),
                CountRow(at_s, "tags", "m@2", "final", False, "attempts", 1000.0),
                CountRow(at_s, "tags", "m@2", "final", False, "attempts-bad", bad),
                CountRow(at_s, "tags", "m@2", "final", False, "latency-sum-s", 500.0),
                CountRow(at_s, "tags", "m@2", "final", False, f"latency/{bucket_of(0.5)}", 1000.0 - bad),
                CountRow(at_s, "tags", "m@2", "", False, "replica/r1", 1940.0),
            ]
        return [row for row in rows if start_s <= row.start_s < end_s]

    def scores(self, start_s: float, end_s: float) -> list[ScoreRow]:
        rows = [
            ScoreRow(WEEK.before.start_s + i, "tags", "m@2", "final", "final", "text", f"a{i}", False, 1.0, "")
            for i in range(3000)
        ]
        rows += [
            ScoreRow(WEEK.start_s + i, "tags", "m@2", "final", "final", "text", f"b{i}", False, float(i % 10 > 0), "")
            for i in range(200)
        ]
        rows.append(
            ScoreRow(WEEK.start_s + 500, "tags", "m@2", "final", "final", "text", "c", False, None, "unreadable")
        )
        return [row for row in rows if start_s <= row.at_s < end_s]

    def examples(self, start_s: float, end_s: float) -> list[Example]:
        at_s = WEEK.start_s + 5
        kept = [
            Example(at_s, "tags", "m@2", "final", "text", "b0", 0.0, "shows 7", self.hostile, 1, png()),
            Example(at_s, "tags", "m@2", "final", "text", "b1", 0.0, "shows 8", "torn", 1, b"\x89PNG torn"),
            Example(at_s, "tags", "m@2", "final", "text", "b2", 1.0, "", "fine", 1, png((1, 2, 3))),
        ]
        return [example for example in kept if start_s <= example.at_s < end_s]

    def records(self, start_s: float, end_s: float) -> Records:
        verdict = {"gate": "text", "n": 45, "evidence": 950.0, "needed": 200.0}
        rows = []
        for number, (phase, reason) in enumerate(
            (("progressing", "ramp.raised"), ("rolling-back", "gate.harm-proven"), ("rolled-back", "rollback.shifting"))
        ):
            decision = {"phase": phase, "reason": reason, "sentence": "m@3 scores 0.7, the limit is 0.92",
                        "weight": 0.2, "verdicts": [verdict], "champion": "m@2", "challenger": "m@3"}  # fmt: skip
            rows.append(DecisionRow(number, WEEK.start_s + 60 * number, "tags-3-ab", "sha256:p", "d" * 64, decision))
        events = [EventRow(WEEK.start_s + 61, "gate.harm-proven", "rollout/tags-3-ab", "m@3 scores 0.7")]
        return Records(
            [row for row in rows if start_s <= row.at_s < end_s],
            [event for event in events if start_s <= event.at_s < end_s],
        )

    def services(self, at_s: float) -> list[ServiceFacts]:
        objectives = [
            Objective("availability", "availability", 0.995, 28 * 86400.0),
            Objective("text", "score", 0.97, 28 * 86400.0, scorer="text"),
            Objective("speed", "latency", 0.95, 28 * 86400.0, threshold_s=1.0),
            Objective("safety", "score", 0.99, 28 * 86400.0, scorer="nobody"),
        ]
        return [ServiceFacts("tags", "m", objectives, "sha256:spec")]


class EmptyWeeks(FakeWeeks):
    """A source that never saw anything."""

    def counts(self, start_s: float, end_s: float) -> list[CountRow]:
        return []

    def scores(self, start_s: float, end_s: float) -> list[ScoreRow]:
        return []

    def examples(self, start_s: float, end_s: float) -> list[Example]:
        return []

    def records(self, start_s: float, end_s: float) -> Records:
        return Records()

    def services(self, at_s: float) -> list[ServiceFacts]:
        return []


def test_the_report_says_what_happened() -> None:
    report = make_report(FakeWeeks(), WEEK, now_s=NOW_S)
    assert len(report.sentences) == 5
    assert "3 %" in report.sentences[0]
    assert "availability of tags" in report.sentences[1]
    assert "1 rolled back" in report.sentences[2]
    assert "text of m@2" in report.sentences[3]
    assert "1 alarm;" in report.sentences[3]
    assert [section.number for section in report.sections] == list(range(15))
    sections = {section.key: section for section in report.sections}
    states = {row[1]: row[-1] for row in sections["objectives"].tables[0].rows}
    assert states == {"availability": "act", "text": "act", "speed": "healthy", "safety": "no data"}
    assert any("m@3" in str(row[0]) for row in sections["actions"].tables[0].rows)
    assert "1 of them can't be decoded" in sections["examples"].sentence


def test_every_number_has_its_n_and_its_evidence() -> None:
    document = make_report(FakeWeeks(), WEEK, now_s=NOW_S).to_document()
    evidence = {source["id"] for source in document["evidence"]}
    figures = [
        cell
        for section in document["sections"]
        for table in section["tables"]
        for row in table["rows"]
        for cell in row
        if isinstance(cell, dict) and cell["value"] is not None
    ]
    assert len(figures) > 20
    assert all(figure["n"] > 0 or figure["value"] == 0 for figure in figures)
    assert [figure for figure in figures if figure["evidence"] not in evidence] == []
    json.dumps(document, allow_nan=False)


def test_the_page_has_no_script_fetches_nothing_and_escapes_what_users_wrote() -> None:
    page = render_html(make_report(FakeWeeks(), WEEK, now_s=NOW_S))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "http://" not in page
    assert "https://" not in page
    assert "default-src 'none'" in page
    assert "prefers-color-scheme:dark" in page
    assert "can&#x27;t be decoded" in page
    assert len(page) < 1_000_000
    links = set(re.findall(r'href="#([^"]+)"', page))
    ids = set(re.findall(r'id="([^"]+)"', page))
    assert links <= ids


def test_markdown_has_the_same_sentences_and_no_raw_html() -> None:
    report = make_report(FakeWeeks(), WEEK, now_s=NOW_S)
    text = render_markdown(report)
    assert "<script" not in text
    assert report.sentences[2] in text


def test_the_same_week_made_again_is_the_same_report() -> None:
    first, second = (make_report(FakeWeeks(), WEEK, now_s=NOW_S).to_document() for _ in range(2))
    assert first == second


class ChangedScorer(FakeWeeks):
    """The scorer's weights changed between the weeks."""

    def scores(self, start_s: float, end_s: float) -> list[ScoreRow]:
        rows = super().scores(start_s, end_s)
        return [row._replace(digest="new" if row.at_s >= WEEK.start_s else "old") for row in rows]


def test_scores_of_another_digest_are_never_compared() -> None:
    sections = {s.key: s for s in make_report(ChangedScorer(), WEEK, now_s=NOW_S).sections}
    row = sections["quality"].tables[0].rows[0]
    assert "another version of the scorer" in str(row[5])
    assert "no data" in render_html(make_report(ChangedScorer(), WEEK, now_s=NOW_S))
    assert {cells[3] for cells in sections["drift"].tables[0].rows} == {"not-enough-data"}


def test_a_week_without_data_says_so() -> None:
    report = make_report(EmptyWeeks(), WEEK, now_s=NOW_S)
    assert "No request was counted" in report.sentences[0]
    assert "Nothing was recorded" in report.sections[0].sentence
    assert "no service is known" in render_html(report)


@pytest.mark.parametrize("text", ["W46", "2026-46", "2026-W54", "2026-W00", "last", "2026-W461", ""])
def test_a_week_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="week"):
        parse_week(text, NOW_S)


def test_weeks_are_iso_and_utc() -> None:
    assert when(WEEK.start_s).startswith("Mon 09 Nov 00:00:00")
    assert parse_week("2026w46", NOW_S) == WEEK
    assert parse_week("2020-W53", NOW_S).end_s == Week(2021, 1).start_s
    assert week_of(WEEK.start_s) == WEEK
    assert week_of(WEEK.start_s - 1) == WEEK.before
    with pytest.raises(InvalidInput, match="has not begun"):
        parse_week("2026-W48", NOW_S)


@given(st.integers(1, 500), st.data())
def test_a_rate_lies_within_its_interval(total: int, data: st.DataObject) -> None:
    part = data.draw(st.integers(0, total))
    low, high = wilson(part, total)
    assert 0 <= low <= part / total <= high <= 1
    assert rate(part, total).n == total


def test_what_is_missing_is_said_and_never_a_zero() -> None:
    assert rate(0, 0).text == "no data"
    assert mean_score(np.array([])).value is None
    assert difference(rate(1, 2), missing("no")).value is None
    assert quantile({}, 0.5).value is None
    assert paired_mean(np.array([])).value is None
    assert count(0).text == "0"


def test_a_mean_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """95 %: of 300 at most 32 misses (probability below 0.1 % otherwise)."""
    rng = np.random.default_rng(0)
    misses = 0
    for _ in range(300):
        figure = mean_score((rng.random(80) < 0.9).astype(float))
        misses += not (figure.low or 0.0) <= 0.9 <= (figure.high or 0.0)
    assert misses <= 32


def test_an_example_that_cannot_be_decoded_costs_only_its_picture() -> None:
    uri, why = thumbnail(b"nonsense")
    assert uri is None
    assert "decoded" in why
    uri, _ = thumbnail(png(side=900))
    assert uri is not None
    assert uri.startswith("data:image/png;base64,")


def test_examples_are_the_worst_first_and_none_twice() -> None:
    chosen = choose_examples(FakeWeeks().examples(0, math.inf))
    assert [(shown.kind, shown.example.request_id) for shown in chosen] == [
        ("worst", "b0"), ("worst", "b1"), ("best", "b2")
    ]  # fmt: skip


def test_a_chart_leaves_gaps_open_and_says_its_numbers() -> None:
    points = [(0.0, 0.1, 0.2, 0.3, 9), None, (2.0, 0.2, 0.3, 0.4, 8)]
    svg = draw_chart(Chart("t", "score", [Line("v", points)], ("Mon", "Tue", "Wed"), 0.25))
    path = svg.split('class="line c0" d="')[1].split('"')[0]
    assert path.count("M") == 2
    assert "L" not in path
    assert "Mon 0.2 (n 9), Wed 0.3 (n 8)" in svg
    assert "no data" in draw_chart(Chart("t", "score", [Line("v", [None])], ("Mon",)))
