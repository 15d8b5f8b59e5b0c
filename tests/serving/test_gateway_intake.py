"""Prompt intake: normal form, policies within their time, what is stored is redacted."""

import time
import unicodedata
from importlib.metadata import EntryPoint
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.specs.service import Limits, PolicyVerdict, PromptIntake
from serving.gateway import policy
from serving.gateway.policy import ALLOWED, Rules, Ruling, normalise
from tests.serving.conftest import Bench, ScriptedRuntime


class StrictPolicy:
    """Denies what is shouted."""

    def judge(self, service: str, prompt: str) -> Ruling:
        return Ruling(PolicyVerdict.DENY, f"{service} is not shouted at") if prompt.isupper() else ALLOWED


class SlowPolicy:
    """Never answers in time."""

    def judge(self, service: str, prompt: str) -> Ruling:
        time.sleep(0.4)
        return ALLOWED


class BrokenPolicy:
    """Always fails."""

    def judge(self, service: str, prompt: str) -> Ruling:
        raise RuntimeError("broken")


@pytest.fixture
def policies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install three policies, as a package of somebody's would."""
    names = {"strict": "StrictPolicy", "slow": "SlowPolicy", "broken": "BrokenPolicy"}

    def installed(*, group: str, name: str) -> list[EntryPoint]:
        assert group == "roost.prompt_policies"
        return [EntryPoint(name, f"{__name__}:{names[name]}", group)] if name in names else []

    monkeypatch.setattr(policy, "entry_points", installed)


def intake(**settings: object) -> PromptIntake:
    return PromptIntake.model_validate(settings)


def ask(bench: Bench, prompt: str = "a tag") -> httpx.Response:
    return bench.http.post("/v1/images/generations", json={"model": "tags", "prompt": prompt})


def test_a_rule_denies_words_and_phrases_whatever_their_case(bench: Bench, champion: ScriptedRuntime) -> None:
    rule = {"mentions": ["Weapon", "real person"], "verdict": "deny", "reason": "not drawn here"}
    bench.route(intake=intake(rules=[rule]))
    for prompt in ("a WEAPON!", "the real  person, smiling"):
        answer = ask(bench, prompt)
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert (error["code"], error["message"]) == ("content_policy_violation", "prompt: not drawn here")
    for prompt in ("weaponless", "a real nice person"):
        assert ask(bench, prompt).status_code == 200
    refusals = [row for one in bench.client.pull().batches for row in one.refusals]
    assert [(row.service, row.reason, row.total) for row in refusals] == [("tags", "policy.denied", 2)]
    assert len(champion.asked) == 2


def test_review_answers_and_keeps_the_picture_for_a_person(bench: Bench) -> None:
    rule = {"mentions": ["child"], "verdict": "review", "reason": "a person looks at these"}
    bench.route(intake=intake(rules=[rule]))
    assert ask(bench, "a child's drawing").status_code == 200
    assert ask(bench, "a house").status_code == 200
    samples = bench.client.pull().samples
    assert [(sample.prompt, sample.review) for sample in samples] == [("a child's drawing", "a person looks at these")]


def test_the_strictest_rule_holds() -> None:
    rules = [
        {"mentions": ["tag"], "verdict": "allow", "reason": "fine"},
        {"mentions": ["price"], "verdict": "deny", "reason": "no"},
        {"mentions": ["crown"], "verdict": "review", "reason": "look"},
    ]
    judge = Rules(intake(rules=rules)).judge
    verdicts = [judge(prompt).verdict for prompt in ("tag crown", "crown price tag", "tag", "")]
    assert verdicts == [PolicyVerdict.REVIEW, PolicyVerdict.DENY, PolicyVerdict.ALLOW, PolicyVerdict.ALLOW]


def test_an_installed_policy_is_asked(bench: Bench, policies: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "BUDGET_S", 30.0)  # what it says is asked here, not how soon on a busy machine
    bench.route(intake=intake(policies=["strict"]))
    assert ask(bench, "a tag").status_code == 200
    refused = ask(bench, "A TAG")
    assert (refused.status_code, refused.json()["error"]["message"]) == (400, "prompt: tags is not shouted at")


@pytest.mark.parametrize("name", ["slow", "broken", "not-installed"])
@pytest.mark.parametrize(("on_failure", "status"), [("allow", 200), ("deny", 400)])
def test_a_policy_that_fails_or_is_late_counts_as_declared(
    bench: Bench, policies: None, name: str, on_failure: str, status: int
) -> None:
    bench.route(intake=intake(policies=[name], on_failure=on_failure))
    assert ask(bench).status_code == status
    reasons = {row.reason: row.total for one in bench.client.pull().batches for row in one.refusals}
    assert reasons["policy.failed"] == 1


def test_what_is_stored_is_redacted_and_the_model_gets_the_prompt(bench: Bench, champion: ScriptedRuntime) -> None:
    prompt = "a card for ann@example.org, tel. +44 20 7946 0958"
    bench.route(score_sample=1.0)
    ask(bench, prompt)
    bench.route(score_sample=1.0, intake=intake(redact=False))
    ask(bench, prompt)
    stored = [sample.prompt for sample in bench.client.pull().samples]
    assert stored == ["a card for [email], tel. [phone]", prompt]
    assert [request.prompt for request in champion.asked] == [prompt, prompt]


def test_prompts_reach_the_model_in_normal_form(bench: Bench, champion: ScriptedRuntime) -> None:
    bench.route(limits=Limits(max_prompt_chars=20))
    assert ask(bench, "cafe\u0301\u202e \x00tag\ufeff").status_code == 200
    assert champion.asked[0].prompt == "café tag"
    for prompt in ("\u200b\u202e", "x" * 21):
        assert ask(bench, prompt).status_code == 400


@given(st.text(max_size=200))
def test_normal_form_is_stable_and_composed(prompt: str) -> None:
    normal = normalise(prompt)
    assert normalise(normal) == normal
    assert unicodedata.is_normalized("NFC", normal)
    assert not any(unicodedata.category(sign) == "Cc" and sign not in "\t\n" for sign in normal)


def test_the_access_log_has_no_prompt_unless_asked_for(tmp_path: Path) -> None:
    from contracts.clock import SystemClock
    from serving.gateway.access_log import AccessLog

    log = AccessLog(tmp_path / "log", prompts=False)
    log.note_refusal("/v1/images/generations", 400, "input.invalid", SystemClock().now_s())
    log.flush()
    assert b"input.invalid" in (tmp_path / "log").read_bytes()
