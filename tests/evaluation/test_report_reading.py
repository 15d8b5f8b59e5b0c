"""The weekly report as somebody reads it: sentences that lead on, incidents with their course, legible figures."""

import itertools
import re
from dataclasses import replace
from typing import Any

import pytest

from evaluation.report.charts import LABEL_HEIGHT, draw_chart
from evaluation.report.document import Chart, Line, Section
from evaluation.report.figures import Figure
from evaluation.report.html import render_html
from evaluation.report.source import DecisionRow, EventRow, Records
from evaluation.report.weekly import make_report
from tests.evaluation.test_report_figures import NOW_S, WEEK, FakeWeeks

HARM = {"gate": "text", "n": 45, "evidence": 950.0, "needed": 200.0, "sentence": "m@3 scores 0.7, the limit is 0.92"}
BLAMELESS = {"gate": "latency", "n": 45, "evidence": 3e14, "needed": 200.0, "sentence": "m@3 fails 40 % of requests"}


class Told(FakeWeeks):
    """The same weeks with another ledger and other events."""

    def __init__(self, *decisions: dict[str, Any], events: tuple[EventRow, ...] = ()) -> None:
        self.rows = [
            DecisionRow(k, WEEK.start_s + 60.0 * k, "tags-3", "sha256:p", "d" * 64, {"challenger": "m@3", **decision})
            for k, decision in enumerate(decisions)
        ]
        self.events = events

    def records(self, start_s: float, end_s: float) -> Records:
        return Records([row for row in self.rows if start_s <= row.at_s < end_s], self.events)


def sections(source: FakeWeeks) -> dict[str, Section]:
    return {section.key: section for section in make_report(source, WEEK, now_s=NOW_S).sections}


def test_the_page_names_its_services_and_each_first_sentence_leads_to_its_section() -> None:
    page = render_html(make_report(FakeWeeks(), WEEK, now_s=NOW_S))
    assert "<h1>Week 2026-W46: tags (m)</h1>" in page
    first = page.split('<ol class="first">')[1].split("</ol>")[0]
    leads = re.findall(r'href="#([a-z]+)"', first)
    assert leads == ["served", "objectives", "rollouts", "quality", "actions"]
    assert all(f'<section id="{key}">' in page for key in leads)


def test_quality_is_told_over_all_versions_with_its_change_before_the_lowest() -> None:
    sentence = sections(FakeWeeks())["quality"].sentence
    assert sentence.startswith("Over all versions text of tags 0.900, -0.100 on last week (200 outputs).")
    assert "Lowest: text of m@2 on final at 0.900" in sentence


def test_an_incident_is_what_happened_to_one_thing_told_by_its_gravest_line() -> None:
    source = Told(
        {"phase": "progressing", "reason": "hold.burn", "sentence": "the last minutes burn"},
        {"phase": "rolling-back", "reason": "gate.harm-proven", "sentence": HARM["sentence"]},
        {"phase": "rolled-back", "reason": "rollout.rolled-back", "sentence": "all traffic is back"},
        events=(EventRow(WEEK.start_s + 7, "alarm.no-data", "service/tags", "silent for 40 s"),),
    )
    found = sections(source)["incidents"]
    assert found.sentence == "2 incidents."
    rollout, service = found.tables[0].rows
    assert (rollout[0], rollout[3], rollout[4]) == ("rollout/tags-3", "gate.harm-proven", HARM["sentence"])
    assert isinstance(rollout[2], Figure)
    assert rollout[2].value == 120.0
    assert service[0] == "service/tags"
    times = [str(row[0]) for row in found.tables[2].rows]
    assert times == sorted(times)
    assert len(times) == 4


def test_the_evidence_beside_a_rollout_is_that_of_the_verdict_that_decided() -> None:
    decision = {"phase": "rolling-back", "reason": "gate.harm-proven", "sentence": HARM["sentence"],
                "verdicts": [BLAMELESS, HARM]}  # fmt: skip
    (row,) = sections(Told(decision))["rollouts"].tables[0].rows
    assert isinstance(row[4], Figure)
    assert (row[4].value, row[4].n, row[4].text) == (950.0, 45, "950")
    assert replace(row[4], value=3.2e14).text == "10^14"
    nobody = {"phase": "aborted", "reason": "manual.aborted", "verdicts": [{**HARM, "n": 0}]}
    (row,) = sections(Told(nobody))["rollouts"].tables[0].rows
    assert isinstance(row[4], Figure)
    assert row[4].value is None


def test_what_was_not_proven_in_time_asks_for_time_and_not_for_mending() -> None:
    late = {"phase": "rolled-back", "reason": "timeout.rolled-back", "sentence": "no proof either way within 5m"}
    what = [str(row[0]) for row in sections(Told(late))["actions"].tables[0].rows]
    assert "Give m@3 more time or traffic (tags-3)" in what


@pytest.mark.parametrize(
    ("value", "text"), [(0.25, "25 %"), (-0.99275362, "-99.3 %"), (-5.42793196, "-543 %"), (1.0, "100 %")]
)
def test_a_share_is_legible_also_when_the_budget_is_overspent(value: float, text: str) -> None:
    assert Figure(value, 9, unit="share").text == text


def test_what_a_thousand_answers_cost_comes_first() -> None:
    from evaluation.report.extras import Extras

    priced = {s.key: s for s in make_report(FakeWeeks(), WEEK, now_s=NOW_S, extras=Extras(usd_per_hour=2.0)).sections}
    # 1 940 replica-seconds for 970 good answers: 2 000 a thousand, at 2 dollars an hour.
    assert priced["cost"].sentence.startswith("A thousand good answers cost $ 1.11 on tags, final, at $ 2 per replica")
    assert sections(FakeWeeks())["cost"].sentence.startswith("A thousand good answers cost 33m20s on tags, final:")


def test_names_at_the_ends_of_lines_do_not_lie_on_each_other() -> None:
    lines = [Line(f"m@{k}", [(0.0, 0.0, 0.001 * k, 0.01, 9), None]) for k in range(6)]
    svg = draw_chart(Chart("shares", "share", lines, ("Mon", "Tue")))
    heights = sorted(float(y) for y in re.findall(r'<text class="c\d" x="[\d.]+" y="([\d.]+)"', svg))
    assert len(heights) == 6
    assert all(below - above >= LABEL_HEIGHT - 0.2 for above, below in itertools.pairwise(heights))


def test_versions_and_short_cells_are_never_broken_into_lines() -> None:
    page = render_html(make_report(FakeWeeks(), WEEK, now_s=NOW_S))
    assert '<span class="whole">m@3</span>' in page
    assert '<td class="whole">rolled-back</td>' in page
