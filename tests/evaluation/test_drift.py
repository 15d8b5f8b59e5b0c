"""Drift: the stated false-alarm rate holds, shifts are found, and what can't be told is said."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import InvalidInput, NotFound
from evaluation.drift.detector import Detector, Range, Side
from evaluation.drift.embeddings import check_windows, fit_pca
from evaluation.drift.features import fit_streams, guess_language
from evaluation.drift.records import Record, read_records
from evaluation.drift.reference import frozen_reference, hour_of_week, lower_bound, match
from evaluation.drift.watch import Against, Budget, Outcome, Verdict, Watch, expected_false_alarms

MONTH_VALUES = 43_200
SD = 0.1


def scores(rng: np.random.Generator, n: int, mean: float = 0.7) -> np.ndarray:
    return np.clip(rng.normal(mean, SD, n), 0, 1)


def records(
    rng: np.random.Generator, n: int, mean: float = 0.7, start_s: float = 0.0, step_s: float = 60.0
) -> list[Record]:
    values = scores(rng, n, mean)
    return [
        Record(start_s + step_s * i, "m@1", ("short", "long")[i % 2], scores={"quality": float(values[i])})
        for i in range(n)
    ]


def of(verdicts: list[Verdict], metric: str) -> list[Verdict]:
    return [verdict for verdict in verdicts if verdict.metric == metric]


@given(st.lists(st.floats(0, 1), max_size=200), st.integers(1, 7))
def test_values_in_pieces_are_the_same_as_all_at_once(values: list[float], pieces: int) -> None:
    at_once = Detector(Range(0.45, 0.55, 0.1), 50.0)
    in_pieces = Detector(Range(0.45, 0.55, 0.1), 50.0)
    array = np.array(values)
    together = at_once.update(array)
    one_by_one = [alarm for piece in np.array_split(array, pieces) for alarm in in_pieces.update(piece)]
    assert [(a.side, a.at, a.since) for a in together] == [(a.side, a.at, a.since) for a in one_by_one]
    assert in_pieces.log_evidence == pytest.approx(at_once.log_evidence, abs=1e-6)


def test_a_stored_detector_goes_on_as_if_it_had_never_stopped() -> None:
    rng = np.random.default_rng(1)
    values = scores(rng, 3000, 0.66)
    detector = Detector(Range(0.69, 0.71, SD), 1e6)
    detector.update(values[:100])
    stored = json.loads(json.dumps(detector.to_document()))
    again = Detector.from_document(stored)
    assert [vars_of(a) for a in again.update(values[100:])] == [vars_of(a) for a in detector.update(values[100:])]
    with pytest.raises(InvalidInput, match="not the state of a detector"):
        Detector.from_document({"range": [1]})


def vars_of(alarm: object) -> tuple[object, ...]:
    return tuple(getattr(alarm, name) for name in ("side", "at", "since"))


@pytest.mark.parametrize("side", list(Side))
def test_a_shift_is_found_with_its_side_and_about_its_onset(side: Side) -> None:
    rng = np.random.default_rng(2)
    mean = 0.66 if side is Side.BELOW else 0.74
    detector = Detector(Range(0.697, 0.703, SD), 1e6)
    alarms = detector.update(np.concatenate([scores(rng, 1000), scores(rng, 1000, mean)]))
    assert alarms[0].side is side
    assert 1000 < alarms[0].at < 1500
    assert abs(alarms[0].since - 1000) < 200


def test_nan_is_no_value_and_what_is_no_score_is_refused() -> None:
    detector = Detector(Range(0.4, 0.6, SD), 100.0)
    detector.update(np.array([math.nan, 0.5, math.nan]))
    assert detector.seen == 1
    with pytest.raises(InvalidInput, match="outside"):
        detector.update(np.array([0.5, 1.5]))
    assert detector.seen == 1


@pytest.mark.parametrize("kind", ["normal", "binary", "constant", "skewed"])
def test_the_reference_bound_fails_as_rarely_as_it_says(kind: str) -> None:
    """At level 5 % over 400 references: at most 33 failures have probability above 0.1 % (binomial)."""
    rng = np.random.default_rng(3)
    draw: dict[str, tuple[Callable[[], np.ndarray], float]] = {
        "normal": (lambda: scores(rng, 300), 0.7),
        "binary": (lambda: (rng.random(300) < 0.97).astype(float), 0.97),
        "constant": (lambda: np.ones(300), 1.0),
        "skewed": (lambda: rng.beta(0.2, 2.0, 300), 0.2 / 2.2),
    }
    sample, mean = draw[kind]
    failures = sum(lower_bound(sample(), 0.05) > mean for _ in range(400))
    assert failures <= 33


@pytest.mark.slow
def test_a_month_without_a_shift_raises_an_alarm_in_at_most_one_of_a_hundred() -> None:
    """100 months of 43 200 values: at a true rate of 1 % more than 5 alarms have probability 0.1 %."""
    alarmed = 0
    for seed in range(100):
        rng = np.random.default_rng([4, seed])
        binary = seed % 2
        draw = (lambda n, r=rng: (r.random(n) < 0.97).astype(float)) if binary else (lambda n, r=rng: scores(r, n))
        budget = Budget(MONTH_VALUES)
        reference = frozen_reference(draw(10_000), 0.2 * budget.alpha)
        assert reference is not None
        detector = Detector(reference.range, budget.average_run_length(is_exact=False))
        alarmed += bool(detector.update(draw(MONTH_VALUES)))
    assert alarmed <= 5


@pytest.mark.slow
def test_a_fifth_of_a_deviation_takes_at_most_half_as_many_values_again_as_the_best_fixed_test() -> None:
    """The fixed test: one look at 541 values, known mean and deviation, α = 1 % once and 99 % power."""
    fixed = ((2.3263 + 2.3263) / 0.2) ** 2
    delays = []
    for seed in range(120):
        rng = np.random.default_rng([5, seed])
        budget = Budget(MONTH_VALUES)
        reference = frozen_reference(scores(rng, MONTH_VALUES), 0.2 * budget.alpha)
        assert reference is not None
        detector = Detector(reference.range, budget.average_run_length(is_exact=False))
        detector.update(scores(rng, 1000))
        alarms = detector.update(scores(rng, 6000, 0.7 - 0.2 * SD))
        delays.append(alarms[0].at - 1000 if alarms else 6000)
    assert np.mean(delays) <= 1.5 * fixed


def test_a_watch_tells_drifted_from_steady_and_from_too_little() -> None:
    rng = np.random.default_rng(6)
    watch = Watch(records(rng, 20_000), Budget(50_000))
    assert {v.outcome for v in watch.check(records(rng, 5000))} == {Outcome.STEADY}
    drifted = watch.check(records(rng, 4000, 0.66, start_s=1e6))
    assert {v.outcome for v in drifted} == {Outcome.DRIFTED}
    assert all(v.since_s is not None and v.since_s < 1e6 + 60 * 400 for v in drifted)
    assert all(v.low < v.mean < v.high < v.reference_mean for v in drifted)
    assert {v.outcome for v in watch.check(records(rng, 60))} == {Outcome.NO_DATA}
    assert expected_false_alarms(drifted) <= 0.01


def test_a_reference_that_is_too_small_is_said() -> None:
    rng = np.random.default_rng(7)
    tiny = Watch(records(rng, 60), Budget(1000)).check(records(rng, 3000))
    assert all(v.outcome is Outcome.NO_DATA and "100 are the least" in v.sentence for v in tiny)
    small = Watch(records(rng, 400), Budget(1000)).check(records(rng, 3000))
    assert all(v.outcome is Outcome.NO_DATA and "leaves its mean open" in v.sentence for v in small)
    with pytest.raises(InvalidInput, match="there is no record"):
        Watch(records(rng, 400), Budget(1000)).check([])


def test_a_daily_season_alarms_a_frozen_mean_and_not_the_same_hour_of_the_week() -> None:
    rng = np.random.default_rng(8)

    def week(number: int) -> list[Record]:
        times = (np.arange(4000) * 7 * 86400 / 4000 + number * 7 * 86400).tolist()
        swing = [0.7 + 0.05 * math.sin(2 * math.pi * t / 86400) for t in times]
        return [
            Record(t, "m@1", "all", scores={"quality": float(np.clip(rng.normal(m, SD), 0, 1))})
            for t, m in zip(times, swing, strict=True)
        ]

    reference = [record for number in range(4) for record in week(number)]
    budget = Budget(20_000)
    assert Watch(reference, budget).check(week(4))[0].outcome is Outcome.DRIFTED
    assert Watch(reference, budget, Against.SEASON).check(week(4))[0].outcome is Outcome.STEADY


def test_a_concurrent_control_is_not_misled_by_what_moves_both() -> None:
    rng = np.random.default_rng(9)
    moved = [0.7] * 2000 + [0.6] * 3000

    def arm(shift: float) -> list[Record]:
        return [
            Record(60.0 * i, "m@1", "all", scores={"quality": float(np.clip(rng.normal(m + shift, SD), 0, 1))})
            for i, m in enumerate(moved)
        ]

    budget = Budget(20_000)
    assert Watch(arm(0.0), budget, Against.CONTROL).check(arm(0.0))[0].outcome is Outcome.STEADY
    worse = Watch(arm(0.0), budget, Against.CONTROL).check(arm(-0.04))[0]
    assert worse.outcome is Outcome.DRIFTED
    assert worse.high < 0.0


@given(st.lists(st.floats(0, 1), max_size=30), st.lists(st.floats(0, 1), max_size=30))
def test_matching_uses_each_control_value_at_most_once(live: list[float], control: list[float]) -> None:
    matched = match(np.array(live), [0] * len(live), np.array(control), [0] * len(control))
    assert len(matched.differences) == min(len(live), len(control))
    assert matched.unmatched == max(len(live) - len(control), 0)
    assert np.allclose(matched.differences, [(x - y + 1) / 2 for x, y in zip(live, control, strict=False)])


def test_monday_midnight_is_hour_zero() -> None:
    assert hour_of_week(1_762_732_800.0) == 0  # 2025-11-10 00:00 UTC, a Monday
    assert hour_of_week(1_762_732_800.0 - 1) == 167


def test_prompts_and_parameters_are_streams_that_shift() -> None:
    rng = np.random.default_rng(10)

    def made(n: int, words: list[str], steps: tuple[int, int], sampler: str) -> list[Record]:
        return [
            Record(
                60.0 * i,
                prompt=" ".join(rng.choice(words, size=int(rng.integers(3, 8)))),
                parameters={"steps": float(rng.integers(*steps)), "sampler": sampler if i % 5 else "euler"},
            )
            for i in range(n)
        ]

    watch = Watch(made(8000, ["a", "red", "tag", "with", "ink"], (6, 12), "ddim"), Budget(200_000))
    steady = watch.check(made(3000, ["a", "red", "tag", "with", "ink"], (6, 12), "ddim"))
    assert not [v.metric for v in steady if v.outcome is Outcome.DRIFTED]
    moved = watch.check(made(3000, ["ein", "und", "rotes", "der", "mit"], (8, 14), "dpm"))
    drifted = {v.metric for v in moved if v.outcome is Outcome.DRIFTED}
    assert {"prompt vocabulary", "prompt language en", "prompt language other", "parameter steps"} <= drifted
    assert {"parameter sampler ddim", "parameter sampler other"} <= drifted


@pytest.mark.parametrize(
    ("prompt", "language"),
    [("the red tag with a number", "en"), ("das Schild mit einer Zahl und der Tinte", "de"), ("ценник", "cyrillic"),
     ("値札", "cjk"), ("427", "unknown")],
)  # fmt: skip
def test_language_is_guessed_by_script_and_small_words(prompt: str, language: str) -> None:
    assert guess_language(prompt) == language


def test_streams_are_fitted_on_one_half_and_measured_on_the_other() -> None:
    rng = np.random.default_rng(11)
    reference = [Record(float(i), parameters={"steps": float(rng.integers(1, 30))}) for i in range(500)]
    streams = fit_streams(reference)
    assert len(streams.reference_values("parameter steps", reference)) == 250
    assert np.isnan(streams.values("parameter steps", [Record(0.0)])).all()


def test_embeddings_that_move_are_confirmed_and_those_that_stay_are_not() -> None:
    rng = np.random.default_rng(12)
    reference = rng.normal(size=(1000, 48))
    windows = [rng.normal(size=(200, 48)) for _ in range(8)] + [rng.normal(size=(200, 48)) + 0.25]
    found = check_windows(reference, windows, planned=30)
    assert [finding.drifted for finding in found] == [False] * 8 + [True]
    assert found[-1].p_confirm is not None
    assert found[-1].p_confirm <= 0.01 / 30


def test_embeddings_that_cannot_be_used_are_said() -> None:
    rng = np.random.default_rng(13)
    reference = rng.normal(size=(400, 8))
    small = check_windows(reference, [rng.normal(size=(50, 8))], planned=5)[0]
    assert "200 are the least" in small.sentence
    assert not small.drifted
    with pytest.raises(InvalidInput, match="200 are the least"):
        fit_pca(rng.normal(size=(50, 8)))
    with pytest.raises(InvalidInput, match="all alike"):
        fit_pca(np.ones((300, 8)))
    with pytest.raises(InvalidInput, match="planned"):
        check_windows(reference, [reference, reference], planned=1)


@pytest.mark.slow
def test_unmoved_embeddings_alarm_as_rarely_as_stated() -> None:
    """50 series of 4 windows at α = 10 % in all: more than 12 alarmed series have probability 0.1 %."""
    rng = np.random.default_rng(14)
    alarmed = 0
    for _ in range(50):
        reference = rng.normal(size=(600, 16)) ** 3
        windows = [rng.normal(size=(200, 16)) ** 3 for _ in range(4)]
        alarmed += any(f.drifted for f in check_windows(reference, windows, planned=4, alpha=0.1))
    assert alarmed <= 12


def test_records_are_read_and_what_is_wrong_is_told(tmp_path: Path) -> None:
    lines = [
        '{"at_s": 2, "version": "m@1", "lane": "final", "scores": {"q": 0.5, "r": null}, "parameters": {"steps": 8}}',
        '{"at_s": 1, "scores": {"q": 1.5}}',
        "not json",
        '{"at_s": "soon", "scores": {}}',
        '{"at_s": 1, "scores": {"q": NaN}}',
    ]
    file = tmp_path / "w.jsonl"
    file.write_text("\n".join(lines))
    reading = read_records(file)
    assert [record.at_s for record in reading.records] == [1.0, 2.0]
    assert math.isnan(reading.records[1].scores["r"])
    assert [problem.split(":")[0] for problem in reading.problems] == [f"w.jsonl, line {n}" for n in (2, 3, 4)]
    table = tmp_path / "w.csv"
    table.write_text("at_s,version,lane,score.q,parameter.sampler\n5,m@1,draft,0.25,ddim\n6,m@1,draft,,\n")
    assert read_records(table).records[0].parameters == {"sampler": "ddim"}
    assert read_records(table).records[1].scores == {}


def test_files_that_hold_nothing_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    with pytest.raises(InvalidInput, match="no record can be used"):
        read_records(empty)
    with pytest.raises(NotFound):
        read_records(tmp_path / "none.jsonl")
    other = tmp_path / "x.parquet"
    other.touch()
    with pytest.raises(InvalidInput, match="neither"):
        read_records(other)
