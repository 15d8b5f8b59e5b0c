"""Specs: the design's example is accepted, every mistake is told at once with its path and remedy."""

import json

import pytest

from contracts.errors import InvalidInput, SpecError
from contracts.schema import DOCUMENTS, export_schema
from contracts.specs.loading import load_service_spec, parse_yaml
from contracts.specs.rollout import RolloutSpec, Strategy
from contracts.specs.service import ServiceSpec
from contracts.specs.slo import AvailabilitySlo, LatencySlo, ScoreSlo

EXAMPLE = """
service: tags                     # what clients call
model: price-tags                 # MLflow registered model
lanes:
  draft: {steps: 8,  max_concurrency: 4, latency: {objective: 95%, threshold: 400ms}}
  final: {steps: 25, max_concurrency: 1, latency: {objective: 95%, threshold: 1500ms}}
route:                            # first match wins
  - {when: {prompt_words_below: 6}, lane: draft}
  - {when: {prompt_mentions: [brand, typography]}, lane: final}
slos:
  availability: {objective: 99.5%, window: 28d}
  typography:   {scorer: text-accuracy, objective: 97%, sample: 5%}
fallback: {on: [oom, overload], to: draft, retry_budget: 10%}
rollout:
  strategy: adaptive              # or: steps: [...]
  alpha: 1%
  beta: 1%
  harm_budget: 10
  warmup: {prompts: 8}
  mirror: {share: 20%, min_pairs: 64}
  bake: 10m
  max_duration: 4h
  on_timeout: pause
"""


def problems(text: str) -> dict[str, str]:
    with pytest.raises(SpecError) as refusal:
        load_service_spec(text)
    return {problem.path: f"{problem.message}; {problem.remedy}" for problem in refusal.value.problems}


def test_the_example_of_the_documentation_is_read() -> None:
    spec = load_service_spec(EXAMPLE)
    assert spec.slos["availability"].objective == 0.995
    assert isinstance(spec.slos["typography"], ScoreSlo)
    assert spec.slos["typography"].sample == 0.05
    assert spec.fallback is not None
    assert [reason.value for reason in spec.fallback.on] == ["oom", "overload"]
    assert spec.rollout.bake == 600
    assert spec.rollout.max_duration == 4 * 3600


def test_a_lane_with_a_latency_objective_gates_a_rollout() -> None:
    objectives = load_service_spec(EXAMPLE).objectives()
    assert isinstance(objectives["latency-draft"], LatencySlo)
    assert objectives["latency-draft"].threshold == 0.4
    assert set(objectives) == {"availability", "typography", "latency-draft", "latency-final"}


def test_an_objective_can_not_take_the_name_of_a_lanes_own() -> None:
    found = problems(EXAMPLE.replace("slos:", "slos:\n  latency-draft: {objective: 90%, threshold: 1s}"))
    assert any("latency-draft" in message for message in found.values())


def test_json_round_trip_is_exact() -> None:
    spec = load_service_spec(EXAMPLE)
    assert ServiceSpec.model_validate_json(spec.model_dump_json()) == spec


def test_three_mistakes_are_reported_together_with_path_value_and_remedy() -> None:
    text = EXAMPLE.replace("max_concurrency: 4", "max_concurency: 4")
    text = text.replace("objective: 99.5%", "objective: 150%").replace("to: draft", "to: daft")
    found = problems(text)
    assert set(found) == {"lanes.draft.max_concurency", "slos.availability.objective", "fallback.to"}
    assert "did you mean max_concurrency?" in found["lanes.draft.max_concurency"]
    assert "99.5%" in found["slos.availability.objective"]
    assert "draft, final" in found["fallback.to"]


def test_a_dangling_lane_alone_is_reported_too() -> None:
    assert set(problems(EXAMPLE.replace("lane: final", "lane: finale"))) == {"route.1.lane"}


def test_an_unknown_key_inside_an_objective_names_the_nearest() -> None:
    found = problems(EXAMPLE.replace("sample: 5%", "sampel: 5%"))
    assert found == {"slos.typography.sampel": "unknown key; did you mean sample?"}


def test_missing_parts_are_named() -> None:
    assert set(problems("service: tags")) == {"model", "slos"}


def test_margins_in_the_wrong_order_are_refused() -> None:
    found = problems(EXAMPLE.replace("sample: 5%", "margin: 7%"))
    assert "unacceptable_margin must be larger" in found["slos.typography"]


@pytest.mark.parametrize(
    "text",
    [
        "- a list",
        "",
        "a: [",
        "service: a\nservice: b",
        "a: &x 1\nb: *x",
        "{1: 2, [a]: 3}",
        "!!python/object:os.system {}",
    ],
)
def test_what_is_not_a_plain_mapping_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        load_service_spec(text)
    assert refusal.value.hint


def test_only_true_and_false_are_booleans() -> None:
    assert parse_yaml("{on: 1, off: yes, no: true, y: false}", "spec") == {
        "on": 1,
        "off": "yes",
        "no": True,
        "y": False,
    }


def test_steps_name_their_strategy_and_must_not_fall() -> None:
    spec = RolloutSpec.model_validate({"steps": [{"weight": "10%", "hold": "5m"}, {"weight": "50%"}]})
    assert spec.strategy is Strategy.STEPS
    with pytest.raises(ValueError, match="must not fall"):
        RolloutSpec.model_validate({"steps": [{"weight": "50%"}, {"weight": "10%"}]})
    with pytest.raises(ValueError, match="if and only if"):
        RolloutSpec.model_validate({"strategy": "steps"})


def test_the_kind_of_an_objective_is_told_by_its_keys() -> None:
    spec = load_service_spec(
        "{service: s, model: m, slos: {a: {objective: 99%}, b: {objective: 95%, threshold: 2s},"
        " c: {objective: 90%, scorer: clip}}}"
    )
    assert [type(slo) for slo in spec.slos.values()] == [AvailabilitySlo, LatencySlo, ScoreSlo]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_document_has_a_json_schema(name: str) -> None:
    schema = export_schema(name)
    assert schema["$schema"].endswith("2020-12/schema")
    assert schema["additionalProperties"] is False
    json.dumps(schema)
