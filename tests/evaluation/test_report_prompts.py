"""Prompts as a whole in the weekly report: what was asked for against the same hours of the four weeks before."""

from collections.abc import Sequence

import numpy as np
import pytest

from contracts.errors import InvalidInput
from evaluation.drift.embeddings import check_windows
from evaluation.drift.prompt_embedding import DIMENSIONS, NGRAMS, embed_ngrams
from evaluation.drift.watch import Outcome
from evaluation.report.drift_section import judge_drift
from evaluation.report.facts import DAY_S, Facts, read_facts
from evaluation.report.html import render_html
from evaluation.report.prompt_drift import MOST_LIVE, MOST_USUAL, prompt_windows, prompts_of
from evaluation.report.source import ScoreRow
from evaluation.report.week import WEEK_S
from evaluation.report.weekly import make_report
from tests.evaluation.test_report_figures import NOW_S, WEEK, EmptyWeeks

ANIMALS = ("fox", "owl", "deer", "bear", "otter", "lynx")
PLACES = ("in the snow", "by a lake", "at night", "in a forest", "on a hill")
SIGNS = ("a shop sign that says OPEN", "a poster with the words SALE", "a menu that reads SOUP 5")


def ask(rng: np.random.Generator, signs: float) -> str:
    if rng.random() < signs:
        return SIGNS[rng.integers(len(SIGNS))]
    return f"a {ANIMALS[rng.integers(len(ANIMALS))]} {PLACES[rng.integers(len(PLACES))]}"


def rows(rng: np.random.Generator, start_s: float, n: int, signs: float, lane: str = "final") -> list[ScoreRow]:
    """One prompt every ten minutes, each judged by two scorers."""
    found = []
    for k in range(n):
        prompt, at_s = ask(rng, signs), start_s + 600.0 * k
        for metric in ("text", "alignment"):
            request = f"{start_s:.0f}-{lane}-{k}"
            found.append(ScoreRow(at_s, "tags", "m@1", lane, lane, metric, request, False, 0.9, "", "d", prompt))
    return found


class Weeks(EmptyWeeks):
    """Four weeks of animals with a tenth of signs, then a week with a share of signs to be told."""

    def __init__(self, signs: float, n: int = 400, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.rows = [row for back in range(4, 0, -1) for row in rows(rng, WEEK.start_s - back * WEEK_S, 400, 0.1)]
        self.rows += rows(rng, WEEK.start_s, n, signs)

    def scores(self, start_s: float, end_s: float) -> list[ScoreRow]:
        return [row for row in self.rows if start_s <= row.at_s < end_s]


def facts(source: Weeks) -> Facts:
    return read_facts(source, WEEK)


def test_other_prompts_than_usual_are_an_alarm_with_its_numbers_and_ask_for_somebody() -> None:
    report = make_report(Weeks(signs=0.4), WEEK, now_s=NOW_S)
    sections = {section.key: section for section in report.sections}
    table = next(t for t in sections["drift"].tables if t.title.startswith("Prompts as a whole"))
    (row,) = table.rows
    assert row[:3] == ("tags", "final", "drifted")
    assert row[3].n == 400  # type: ignore[union-attr]
    assert row[6].n == MOST_USUAL  # type: ignore[union-attr]
    assert "n-grams" in table.title
    assert any("prompts of tags" in str(action[0]) for action in sections["actions"].tables[0].rows)
    assert "Prompts as a whole" in render_html(report)


def test_the_same_prompts_in_other_numbers_are_none() -> None:
    """Five weeks without a shift: the month's budget of half a percent leaves none of them an alarm."""
    outcomes = [prompt_windows(facts(Weeks(0.1, 250, seed)), NGRAMS, alpha=0.005)[0].outcome for seed in range(5)]
    assert outcomes == [Outcome.STEADY] * 5


def test_few_prompts_are_not_enough_data() -> None:
    (window,) = judge_drift(facts(Weeks(0.9, n=199)), NGRAMS).windows
    assert window.outcome is Outcome.NO_DATA
    assert "199 prompts" in window.finding.sentence
    assert window.finding.n == 199


def test_each_request_counts_once_copies_never_and_only_the_same_hours_before() -> None:
    source = Weeks(0.1, n=100)
    source.rows.append(source.rows[-1]._replace(mirrored=True, request_id="copy", prompt="another"))
    (prompts,) = prompts_of(facts(source).scores, facts(source).earlier_scores)
    assert prompts.asked == 100
    # A hundred prompts, one every ten minutes, last until Monday at 16:30; so do those of each week before.
    assert prompts.asked_before == 4 * 102


def test_of_many_prompts_an_even_choice_over_the_time_is_judged() -> None:
    rng = np.random.default_rng(1)
    many = [row._replace(at_s=WEEK.start_s + k * 30.0) for k, row in enumerate(rows(rng, WEEK.start_s, 2000, 0.0))]
    late = [row._replace(prompt="late") if row.at_s > WEEK.start_s + DAY_S / 2 else row for row in many]
    (prompts,) = prompts_of(late, [])
    assert len(prompts.live) == MOST_LIVE
    late_share = np.mean([row.prompt == "late" for row in late])
    assert np.mean([prompt == "late" for prompt in prompts.live]) == pytest.approx(late_share, abs=0.01)


def test_points_are_of_one_length_repeatable_and_near_for_like_prompts() -> None:
    def near(one: str, other: str) -> float:
        points = embed_ngrams([one, other])
        return float(points[0] @ points[1])

    points = embed_ngrams(["a red fox", ""])
    assert points.shape == (2, DIMENSIONS)
    assert np.linalg.norm(points, axis=1) == pytest.approx([1.0, 0.0])
    assert near("a red fox in the snow", "a red fox in snow") > 0.8 > near("a red fox in the snow", "Speisekarte")
    assert (embed_ngrams(["a red fox"])[0] == points[0]).all()


def test_more_windows_than_permutations_can_tell_apart_are_refused_and_not_silently_steady() -> None:
    rng = np.random.default_rng(2)
    windows: Sequence[np.ndarray[tuple[int, ...], np.dtype[np.float64]]] = [rng.normal(size=(200, 4))]
    with pytest.raises(InvalidInput, match="permutations"):
        check_windows(rng.normal(size=(300, 4)), windows, planned=1000, alpha=0.01)
