"""Two versions side by side: the finding, when it stops, what missing scores and failures do, what is kept."""

import io
import json
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from PIL import Image

from contracts.errors import InvalidInput
from contracts.wire.telemetry import SampledOutput
from controlplane.evaluation.evidence import BettingEvidence
from evaluation.prompts.prompt_set import Prompt, PromptSet, make_prompt
from evaluation.scorers.port import Score
from evaluation.side_by_side.compare import Question, compare
from evaluation.side_by_side.page import render_page
from evaluation.side_by_side.ports import Claims, Drawing
from evaluation.side_by_side.precondition import ComparisonRecord, check_precondition
from evaluation.side_by_side.result import Comparison
from evaluation.side_by_side.verdicts import Finding, combine, judge

Rule = Callable[[Prompt], float | str | None]


class ScriptedPainter:
    """Draws a number that the scorer reads back; a text is a failure, None a picture that can't be judged."""

    def __init__(self, version: str, rule: Rule, latency_s: float = 0.1) -> None:
        self.version, self.digest = version, "sha256:" + version[-1] * 64
        self.rule, self.latency_s = rule, latency_s
        self.asked: list[tuple[str, int]] = []

    def draw(self, prompt: Prompt) -> Drawing:
        self.asked.append((prompt.text, prompt.seed))
        drawn = self.rule(prompt)
        if isinstance(drawn, str):
            return Drawing(None, self.latency_s, drawn)
        return Drawing(b"?" if drawn is None else str(drawn).encode(), self.latency_s)

    def peak_memory_bytes(self) -> int | None:
        return 2**20 if self.version.endswith("1") else None


class ReadBack:
    """Reads the number that was drawn."""

    name = "read-back"
    digest = "sha256:read-back"

    def score(self, samples: Sequence[SampledOutput]) -> list[Score]:
        found = [sample.image_png.decode() for sample in samples]
        return [Score(None, "can't be judged") if text == "?" else Score(float(text), "low") for text in found]


def prompt_set(n: int = 400) -> PromptSet:
    return PromptSet("scripted", 1, tuple(make_prompt(f"prompt {k}", prompt_id=f"p{k}") for k in range(n)))


def chance(prompt: Prompt, side: str) -> float:
    """A number in [0, 1) that depends on the prompt's seed and the side alone."""
    return float(np.random.default_rng([prompt.seed, len(side)]).uniform())


def flip(share: float, side: str = "other") -> Rule:
    return lambda prompt: float(chance(prompt, side) < share)


def run(one: Rule, other: Rule, n: int = 400, **settings: float) -> Comparison:
    question = Question(prompt_set(n), [ReadBack()], **settings)  # type: ignore[arg-type]
    return compare(ScriptedPainter("m@1", one), ScriptedPainter("m@2", other), question, BettingEvidence)


def test_a_worse_version_is_found_out_early() -> None:
    found = run(flip(0.99, "one"), flip(0.55))
    assert found.finding is Finding.WORSE
    assert found.n < 100
    read_back = next(result for result in found.measures if result.measure == "read-back")
    assert read_back.finding is Finding.WORSE
    assert (read_back.high or 0) < 0
    assert "worse in read-back" in found.sentence


def test_equal_versions_are_equivalent_before_the_prompts_end() -> None:
    found = run(flip(0.97), flip(0.97))
    assert found.finding is Finding.EQUIVALENT
    assert found.n < found.planned
    assert all(result.difference == 0 for result in found.measures)


def test_a_better_version_is_better() -> None:
    found = run(flip(0.5), flip(0.95))
    assert found.finding is Finding.BETTER
    assert "better in read-back" in found.sentence


def test_too_few_prompts_are_not_enough_evidence() -> None:
    found = run(flip(0.9, "one"), flip(0.9), n=24)
    assert found.finding is Finding.INCONCLUSIVE
    assert found.n == found.planned == 24


def test_both_versions_get_the_same_prompts_and_seeds() -> None:
    one, other = ScriptedPainter("m@1", lambda p: 1.0), ScriptedPainter("m@2", lambda p: 1.0)
    compare(one, other, Question(prompt_set(40), [ReadBack()]), BettingEvidence)
    assert one.asked == other.asked
    assert sorted(one.asked) == sorted((p.text, p.seed) for p in prompt_set(40).prompts)


def test_a_scorer_without_data_is_no_pass() -> None:
    found = run(lambda p: None, lambda p: None)
    assert found.finding is Finding.NO_DATA
    assert not found.finding.is_pass
    assert "no data from read-back" in found.sentence
    assert found.measures[1].unscored == found.n == found.planned


def test_prompts_that_no_side_can_be_judged_on_say_nothing_about_either() -> None:
    def half(prompt: Prompt) -> float | None:
        return None if chance(prompt, "judgeable") < 0.5 else 1.0

    found = run(half, half, n=800)
    assert found.finding is Finding.EQUIVALENT
    assert found.measures[1].unscored > 50


def test_scores_lost_on_one_side_alone_can_not_hide_harm() -> None:
    """The other version's bad pictures can't be judged: what is left looks as good as ever, and still doesn't pass."""

    def hiding(prompt: Prompt) -> float | None:
        return None if chance(prompt, "hide") < 0.3 else 1.0

    found = run(lambda p: 1.0, hiding)
    read_back = found.measures[1]
    assert read_back.mean_other == 1.0
    assert read_back.one_sided > 50
    assert found.finding is Finding.INCONCLUSIVE


def test_attempts_without_a_picture_count_against_their_version() -> None:
    def failing(prompt: Prompt) -> float | str:
        return "oom: too large" if chance(prompt, "oom") < 0.4 else 1.0

    found = run(lambda p: 1.0, failing)
    assert found.finding is Finding.WORSE
    assert "worse in drawn" in found.sentence
    assert found.other.failures == {"oom": sum(row.latencies_s[1] is None for row in found.rows)}
    assert found.one.failures == {}
    assert found.latency.n == found.measures[0].n - sum(row.latencies_s[1] is None for row in found.rows)


def test_harm_in_one_stratum_is_found_although_the_whole_is_within_tolerance() -> None:
    prompts = tuple(
        make_prompt(f"prompt {k}", prompt_id=f"p{k}", mentions=("brand",) if k % 10 == 0 else ()) for k in range(1500)
    )
    question = Question(PromptSet("s", 1, prompts), [ReadBack()], tolerance=0.2)
    other = ScriptedPainter("m@2", lambda prompt: 0.0 if prompt.mentions else 1.0)
    found = compare(ScriptedPainter("m@1", lambda p: 1.0), other, question, BettingEvidence)
    assert found.finding is Finding.WORSE
    assert "on mentions=brand" in found.sentence
    whole = found.measures[1]
    assert whole.finding is not Finding.WORSE


def test_the_worst_pairs_are_kept_and_no_more() -> None:
    found = run(lambda p: 1.0, lambda p: round(1 - chance(p, "score") / 3, 3), n=64, tolerance=0.2)
    assert found.n == 64
    differences = [shown.difference for shown in found.gallery]
    lost = sorted(row.scores["read-back"][1] - 1.0 for row in found.rows)  # type: ignore[operator]
    assert differences == pytest.approx(lost[: len(differences)])
    assert len(differences) == 24


def test_latency_is_told_side_by_side() -> None:
    question = Question(prompt_set(16), [ReadBack()])
    one = ScriptedPainter("m@1", lambda p: 1.0, latency_s=0.2)
    other = ScriptedPainter("m@2", lambda p: 1.0, latency_s=0.1)
    found = compare(one, other, question, BettingEvidence)
    assert found.latency.ratio == pytest.approx(0.5)
    assert found.latency.p50_one_s == pytest.approx(0.2)
    assert (found.one.peak_memory_bytes, found.other.peak_memory_bytes) == (2**20, None)


def test_the_page_holds_pictures_and_escapes_what_comes_from_outside() -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, format="PNG")

    class Red(ScriptedPainter):
        def draw(self, prompt: Prompt) -> Drawing:
            return Drawing(file.getvalue(), 0.1)

    class Zero(ReadBack):
        def score(self, samples: Sequence[SampledOutput]) -> list[Score]:
            return [Score(0.0, "<img src=x onerror=alert(1)>") for _ in samples]

    prompts = PromptSet("evil", 1, (make_prompt("<script>alert('x')</script> & \"more\""),))
    one, other = (Red(f"m@{k}", lambda p: 1.0) for k in (1, 2))
    page = render_page(compare(one, other, Question(prompts, [Zero()]), BettingEvidence))
    assert "data:image/png;base64," in page
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;" in page
    assert "default-src 'none'" in page
    assert "http://" not in page
    assert "https://" not in page


def test_the_document_is_json_that_says_what_was_compared_by_what() -> None:
    found = run(flip(0.9), flip(0.9), n=16)
    document = json.loads(json.dumps(found.to_document()))
    assert document["finding"] == "not-enough-evidence"
    assert document["prompts"]["digest"] == prompt_set(16).digest
    assert {row["measure"]: row["digest"] for row in document["measures"]}["read-back"] == ReadBack.digest
    assert document["one"]["digest"] == "sha256:" + "1" * 64


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"tolerance": 0.0}, "tolerance"), ({"alpha": 0.7}, "alpha"), ({"max_pairs": 0}, "max_pairs")],
)
def test_questions_that_make_no_sense_are_refused(settings: dict[str, float], told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        Question(prompt_set(8), [ReadBack()], **settings)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="twice"):
        Question(prompt_set(8), [ReadBack(), ReadBack()])


def test_findings_combine_to_the_worst() -> None:
    assert combine([]) is Finding.NO_DATA
    assert combine([Finding.BETTER, Finding.EQUIVALENT]) is Finding.BETTER
    assert combine([Finding.EQUIVALENT, Finding.NOT_WORSE]) is Finding.NOT_WORSE
    assert combine([Finding.BETTER, Finding.INCONCLUSIVE]) is Finding.INCONCLUSIVE
    assert combine([Finding.NO_DATA, Finding.INCONCLUSIVE, Finding.BETTER]) is Finding.NO_DATA
    assert combine([Finding.NO_DATA, Finding.WORSE]) is Finding.WORSE
    assert judge(Claims(not_worse=True), 50) is Finding.NOT_WORSE
    assert judge(Claims(), 0) is Finding.NO_DATA


class Records:
    def __init__(self, *records: ComparisonRecord) -> None:
        self.records = list(records)

    def keep(self, comparison: Comparison, page: str) -> ComparisonRecord:
        raise NotImplementedError

    def find(self, one_digest: str, other_digest: str) -> list[ComparisonRecord]:
        return [r for r in self.records if (r.one_digest, r.other_digest) == (one_digest, other_digest)]


def record(finding: Finding, prompts: str = "p", scorer: str = "s", at_s: float = 0.0) -> ComparisonRecord:
    return ComparisonRecord("m@1", "m@2", "a", "b", prompts, {"text": scorer}, finding, 100, "so it is", "run", at_s)


def test_a_precondition_stands_on_a_comparison_of_these_very_bytes() -> None:
    assert check_precondition(Records(record(Finding.EQUIVALENT)), "a", "b").is_met
    assert not check_precondition(Records(record(Finding.EQUIVALENT)), "b", "a").is_met
    assert not check_precondition(Records(), "a", "b").is_met
    for finding in (Finding.WORSE, Finding.INCONCLUSIVE, Finding.NO_DATA):
        assert not check_precondition(Records(record(finding)), "a", "b").is_met


def test_other_prompts_and_other_scorers_answer_another_question() -> None:
    kept = Records(record(Finding.BETTER, "other"), record(Finding.WORSE, "p"), record(Finding.BETTER, "p", "old"))
    assert not check_precondition(kept, "a", "b", prompts_digest="p").is_met
    assert check_precondition(kept, "a", "b", prompts_digest="other").is_met
    assert check_precondition(kept, "a", "b", prompts_digest="p", scorers={"text": "old"}).is_met
    assert not check_precondition(kept, "a", "b", scorers={"text": "never"}).is_met
