"""Statistics of review: agreement, strengths, preferences."""

import math

import numpy as np
import pytest

from evaluation.review.items import Choice, Item, Judgement, Kind, Origin
from evaluation.review.statistics import alpha_interval, bradley_terry, krippendorff_alpha
from evaluation.review.summary import differences, summarise


class Doubling:
    """Evidence that doubles with each difference, to see what is handed over."""

    def value(self, values: list[float]) -> float:
        return 2.0 ** len(values)


def judged(
    item_id: str,
    choice: Choice,
    rater: str = "ann",
    at_s: float = 0.0,
    *,
    left: bool = True,
    again: bool = False,
    origin: Origin = Origin.WANTED,
    needed: int = 1,
    names: tuple[str, str] = ("m@1", "m@2"),
) -> Judgement:
    expected = {Origin.GOLD: Choice.TIE, Origin.PLANTED: Choice.FIRST}.get(origin)
    item = Item(item_id, Kind.PAIR, origin, "p", *names, expected, needed=needed)
    return Judgement(item, rater, 2 if again else 1, choice, left, 2.0, at_s)


def test_alpha_of_krippendorffs_own_example() -> None:
    """The nominal example of Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", section C: 0.743."""
    rows = {
        "a": "1 2 3 3 2 1 4 1 2 * * *",
        "b": "1 2 3 3 2 2 4 1 2 5 * 3",
        "c": "* 3 3 3 2 3 4 2 2 5 1 *",
        "d": "1 2 3 3 2 4 4 1 2 5 1 *",
    }
    table = {rater: text.split() for rater, text in rows.items()}
    items = [{rater: row[i] for rater, row in table.items() if row[i] != "*"} for i in range(12)]
    assert krippendorff_alpha(items) == pytest.approx(0.743, abs=0.0006)


def test_alpha_is_one_zero_or_nothing() -> None:
    assert krippendorff_alpha([{"a": "x", "b": "x"}, {"a": "y", "b": "y"}]) == 1.0
    assert krippendorff_alpha([{"a": "x"}, {"b": "y"}]) is None
    assert krippendorff_alpha([{"a": "x", "b": "x"}] * 5) is None
    rng = np.random.default_rng(0)
    chance = [{"a": int(rng.integers(3)), "b": int(rng.integers(3))} for _ in range(2000)]
    assert krippendorff_alpha(chance) == pytest.approx(0.0, abs=0.06)
    low, high = alpha_interval(chance[:100]) or (1.0, 1.0)
    assert low < 0.0 < high


def test_strengths_are_recovered_with_their_intervals() -> None:
    """Davidson's model with known strengths: the truth is within ±3 standard errors (probability 99.7 % each)."""
    truth = {"a": 0.8, "b": 0.2, "c": -1.0}
    rng, rows = np.random.default_rng(1), []
    for _ in range(1500):
        one, other = rng.choice(list(truth), 2, replace=False)
        weights = np.exp([truth[one], 0.2 + (truth[one] + truth[other]) / 2, truth[other]])
        rows.append((str(one), str(other), float(rng.choice([1.0, 0.5, 0.0], p=weights / weights.sum()))))
    found = bradley_terry(rows)
    assert [strength.version for strength in found] == ["a", "b", "c"]
    for strength in found:
        error = (strength.high - strength.strength) / 1.96
        assert abs(strength.strength - truth[strength.version]) < 3 * error
        assert 0.02 < error < 0.2


def test_a_version_that_never_lost_stays_finite() -> None:
    found = bradley_terry([("a", "b", 1.0)] * 20)
    assert all(math.isfinite(s.strength) and s.low < s.strength < s.high for s in found)
    assert bradley_terry([]) == []


def test_checks_are_no_preferences_and_raters_are_watched() -> None:
    summary = summarise(
        [
            judged("1", Choice.FIRST, at_s=1),
            judged("1", Choice.SECOND, "bob", at_s=2, left=False),
            judged("1", Choice.FIRST, at_s=3, again=True),
            judged("2", Choice.TIE, at_s=4, origin=Origin.GOLD),
            judged("3", Choice.SECOND, at_s=5, origin=Origin.PLANTED),
            judged("4", Choice.CANNOT, at_s=6),
        ],
        Doubling(),  # type: ignore[arg-type]
    )
    (preference,) = summary.preferences
    assert (preference.wins_first, preference.wins_second, preference.ties) == (1, 1, 0)
    assert preference.evidence == 2.0
    checks = {what: (part, whole) for what, part, whole in summary.checks}
    assert checks["preferred the left side"] == (3, 4)
    assert checks["called the same picture twice a tie"] == (1, 1)
    assert checks["saw the planted bad one"] == (0, 1)
    assert checks["judged as before"] == (1, 1)
    assert "ann: first, bob: second" in summary.disagreements[0][1]


def test_an_item_counts_once_complete_and_its_value_never_changes() -> None:
    votes = [judged("1", Choice.FIRST, "ann", 1, needed=2), judged("2", Choice.SECOND, "ann", 2, needed=1)]
    assert differences(votes) == [-1.0]
    votes.append(judged("1", Choice.TIE, "bob", 3, needed=2))
    assert differences(votes) == [-1.0, 0.5]
    votes.append(judged("1", Choice.SECOND, "eve", 4, needed=2))
    assert differences(votes) == [-1.0, 0.5]


def test_nothing_judged_is_nothing_said() -> None:
    empty = summarise([], Doubling())  # type: ignore[arg-type]
    assert (empty.judged, empty.alpha, empty.median_s, list(empty.preferences)) == (0, None, None, [])
