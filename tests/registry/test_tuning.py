"""Tuning: objectives are read as written, and the search finds what is best among what may be."""

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.clock import FakeClock
from contracts.errors import InvalidInput, Unavailable
from contracts.wire.worker import GenerationDefaults
from controlplane.profiling.atelier import sampling_recipes
from controlplane.profiling.tuning import make_candidates
from registry.tuning.objective import Objective, parse_objective
from registry.tuning.search import Candidate, Found, Tried, search

DEFAULTS = GenerationDefaults(num_inference_steps=8, guidance_scale=2.0, height=32, width=64)


@dataclass
class FakeAtelier:
    """Quality by steps, latency by steps and recipe; ``broken`` recipes can't be made, ``fails`` can't be drawn."""

    clock: FakeClock = field(default_factory=FakeClock)
    broken: tuple[str, ...] = ()
    fails: tuple[Candidate, ...] = ()
    opened: list[str] = field(default_factory=list)
    asked: list[tuple[Candidate, int, int]] = field(default_factory=list)

    def open(self, recipe: str) -> None:
        self.opened.append(recipe)
        self.clock.advance(5.0)
        if recipe in self.broken:
            raise Unavailable(f"{recipe} is not installed")

    def attempt(self, candidate: Candidate, first: int, count: int) -> Tried:
        self.asked.append((candidate, first, count))
        if candidate in self.fails:
            raise Unavailable("out of memory")
        # The same prompt is as hard for everybody: paired.
        hardness = [random.Random(number).random() for number in range(first, first + count)]
        share = {1: 0.3, 2: 0.9, 4: 0.99, 8: 1.0}[candidate.steps]
        latency_s = 0.01 * candidate.steps * (0.5 if candidate.recipe else 1.0) * (1.4 if candidate.guidance > 1 else 1)
        self.clock.advance(latency_s * count)
        scores = tuple(float(hard < share) for hard in hardness)
        return Tried(scores, (latency_s,) * count, 10**9)


def run(atelier: FakeAtelier, objective: str, candidates: list[Candidate], budget_s: float = 1e6) -> Found:
    return search(
        atelier,
        candidates,
        parse_objective(objective),
        prompts=64,
        budget_s=budget_s,
        price_per_hour=0.36,
        clock=atelier.clock,
        tell=lambda message: None,
    )


def everything(recipes: tuple[str, ...] = ("",)) -> list[Candidate]:
    return [
        Candidate(recipe, steps, guidance) for recipe in recipes for steps in (1, 2, 4, 8) for guidance in (1.0, 2.0)
    ]


@pytest.mark.parametrize(
    ("objective", "best"),
    [
        ("min p95", Candidate("", 1, 1.0)),
        ("min p95 where quality >= 97%", Candidate("", 4, 1.0)),
        ("max quality where p95 <= 25ms", Candidate("", 2, 1.0)),
        ("min cost where quality >= 80%", Candidate("", 2, 1.0)),
    ],
)
def test_the_best_that_meets_the_conditions_is_found(objective: str, best: Candidate) -> None:
    found = run(FakeAtelier(), objective, everything())
    assert found.best is not None
    assert found.best.candidate == best
    assert found.best.prompts == 64
    assert not found.out_of_time


def test_half_is_dropped_each_time_and_everybody_draws_the_same_prompts() -> None:
    atelier = FakeAtelier()
    found = run(atelier, "min p95 where quality >= 97%", everything())
    assert sorted(trial.prompts for trial in found.trials) == [8, 8, 8, 8, 16, 16, 32, 64]
    windows = {(first, count) for _, first, count in atelier.asked}
    assert windows == {(0, 8), (8, 8), (16, 16), (32, 32)}


def test_settings_of_one_recipe_share_a_worker() -> None:
    atelier = FakeAtelier()
    run(atelier, "min p95 where quality >= 97%", everything(("", "onnx-fp32")))
    per_round = Counter(atelier.opened)
    assert per_round["onnx-fp32"] <= 4
    assert per_round[""] <= 4


def test_a_recipe_that_can_not_be_made_is_told_and_the_rest_is_searched() -> None:
    atelier = FakeAtelier(broken=("onnx-fp32",))
    found = run(atelier, "min p95 where quality >= 97%", everything(("", "onnx-fp32")))
    assert found.best is not None
    assert found.best.candidate == Candidate("", 4, 1.0)
    failed = [trial for trial in found.trials if trial.failure]
    assert {trial.candidate.recipe for trial in failed} == {"onnx-fp32"}
    assert len(failed) == 8
    assert atelier.opened.count("onnx-fp32") == 1


def test_a_candidate_that_can_not_be_served_is_never_the_best() -> None:
    fails = (Candidate("", 4, 1.0),)
    found = run(FakeAtelier(fails=fails), "min p95 where quality >= 97%", everything())
    assert found.best is not None
    assert found.best.candidate == Candidate("", 4, 2.0)


def test_nothing_that_meets_the_objective_is_no_best() -> None:
    found = run(FakeAtelier(), "min p95 where quality >= 99.9% and p95 <= 10ms", everything())
    assert found.best is None
    assert all(trial.prompts for trial in found.trials)


def test_when_time_runs_out_what_was_seen_is_told() -> None:
    atelier = FakeAtelier()
    found = run(atelier, "min p95", everything(), budget_s=5.5)
    assert found.out_of_time
    assert found.best is not None
    assert found.best.prompts == 8
    assert any(trial.prompts == 0 for trial in found.trials)


@pytest.mark.parametrize(
    "text",
    [
        "min p95",
        "min p95 where quality >= 97 % and memory <= 1 GiB",
        "max quality where p95 <= 400ms and cost <= 0.02",
    ],
)
def test_an_objective_is_read_as_written(text: str) -> None:
    assert str(parse_objective(text)) == text
    assert parse_objective(str(parse_objective(text))) == parse_objective(text)


@pytest.mark.parametrize(
    "text",
    ["", "p95", "min", "min speed", "min p95 where", "min p95 where quality > 97%", "min p95 where quality >= 970%",
     "min p95 where memory <= 1", "min p95 where p95 <= 3", "min cost where cost <= -1", "min p95 where cost <= nan",
     "min p95 and quality >= 97%"],
)  # fmt: skip
def test_an_objective_with_a_mistake_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidInput, match="objective") as refusal:
        parse_objective(text)
    assert refusal.value.hint


@given(value=st.floats(0, 1), bound=st.floats(0, 1))
def test_no_data_meets_no_condition(value: float, bound: float) -> None:
    objective: Objective = parse_objective(f"min p95 where quality >= {bound:.6f}")
    assert not objective.is_met({"quality": None})
    assert objective.is_met({"quality": value}) == (value >= objective.conditions[0].bound)
    assert objective.rank({}) == float("inf")


def test_candidates_are_the_versions_own_and_what_is_named() -> None:
    usual = make_candidates(DEFAULTS, [], [], [])
    assert Candidate("", 8, 2.0) in usual
    assert {one.steps for one in usual} == {1, 2, 4, 8}
    assert {one.guidance for one in usual} == {1.0, 1.5, 2.0}
    named = make_candidates(DEFAULTS, ["onnx-fp32"], [4], [1.0])
    assert set(named) == {Candidate("", 4, 1.0), Candidate("onnx-fp32", 4, 1.0), Candidate("", 8, 2.0)}
    for wrong in (["steps=4"], ["no-such-recipe"]):
        with pytest.raises(InvalidInput, match="recipe"):
            make_candidates(DEFAULTS, wrong, [], [])
    with pytest.raises(InvalidInput, match="steps"):
        make_candidates(DEFAULTS, [], [0], [])
    with pytest.raises(InvalidInput, match="candidates"):
        make_candidates(DEFAULTS, [], list(range(1, 150)), [1.0, 2.0])


def test_a_winner_is_written_as_recipes() -> None:
    assert sampling_recipes(Candidate("", 8, 2.0), DEFAULTS) == ""
    assert sampling_recipes(Candidate("onnx-fp32", 4, 1.5), DEFAULTS) == "onnx-fp32+steps=4+guidance=1.5"
