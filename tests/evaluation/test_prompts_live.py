"""Prompts from live traffic: personal data go, strata keep their share, the choice is the same each time."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import InvalidInput
from contracts.ids import VersionId
from contracts.redaction import passes_iban, passes_luhn, redact
from contracts.wire.telemetry import SampledOutput
from evaluation.price_tags.grammar import figure_prompts
from evaluation.prompts.prompt_set import PromptSet, make_prompt
from evaluation.prompts.redaction import redact_set
from evaluation.prompts.sampling import sample_live


def output(prompt: str, *, lane: str = "draft", seed: int = 1, mirrored: bool = False) -> SampledOutput:
    return SampledOutput(
        service="tags", version=VersionId("m", 1), request_id="r", lane=lane, prompt=prompt, seed=seed, at_s=0.0,
        mirrored=mirrored, image_png=b"",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("a card for jane.doe+x@mail.example.org please", "a card for [email] please"),
        ("call +44 20 7946 0958 now", "call [phone] now"),
        ("call (030) 123 456 78", "call [phone]"),
        ("pay with 4111 1111 1111 1111", "pay with [card]"),
        ("pay to DE89 3704 0044 0532 0130 00 today", "pay to [iban] today"),
        ("server 192.168.1.20 rack", "server [ip] rack"),
        ("my id is 078-05-1120", "my id is [ssn]"),
        ("key sk-abcdefghij0123456789", "key [secret]"),
        ("open https://joe:hunter2@host.example/x", "open [url]"),
    ],
)
def test_personal_data_are_taken_out(text: str, clean: str) -> None:
    assert redact(text).text == clean
    assert sum(redact(text).removed.values()) == 1


@pytest.mark.parametrize(
    "text",
    [
        "price tag 4 2 7 1 in red ink",
        "a poster for the 1984 show, 2026-11-21, 18:30",
        "4111 1111 1111 1112 is no card",
        "300.300.1.1 is no address",
        "8k, 35mm, f/1.8, iso 400, 1024x1024",
        "shot @home in 24 hours",
    ],
)
def test_what_is_harmless_stays(text: str) -> None:
    assert redact(text).text == text


def test_the_demo_prompts_stay_as_they_are() -> None:
    assert [redact(text).text for text in figure_prompts(300)] == figure_prompts(300)


@given(digits=st.text("0123456789", min_size=12, max_size=18))
def test_exactly_one_check_digit_makes_a_card(digits: str) -> None:
    assert sum(passes_luhn(digits + str(check)) for check in range(10)) == 1


@given(text=st.text(max_size=80))
def test_redaction_is_done_once(text: str) -> None:
    assert redact(redact(text).text).text == redact(text).text


def test_known_account_numbers() -> None:
    assert passes_iban("GB82 WEST 1234 5698 7654 32")
    assert not passes_iban("GB82 WEST 1234 5698 7654 33")


def test_a_set_is_redacted_with_its_seeds_kept() -> None:
    made = PromptSet("a", 1, (make_prompt("for a@b.org", seed=5), make_prompt("a fox", seed=6)))
    clean, removed = redact_set(made)
    assert [(prompt.text, prompt.seed) for prompt in clean.prompts] == [("for [email]", 5), ("a fox", 6)]
    assert removed == {"email": 1}


def test_live_prompts_keep_the_share_of_their_lane_and_are_distinct() -> None:
    traffic = [output(f"draft {k % 60}") for k in range(600)]
    traffic += [output(f"final number {k} " + "word " * 30, lane="final") for k in range(20)]
    traffic += [output(f"mirrored {k}", mirrored=True) for k in range(50)]
    found = sample_live(traffic, 16, name="live")
    assert found.seen == 80
    assert Counter(prompt.lane for prompt in found.prompts.prompts) == {"draft": 12, "final": 4}
    assert len({prompt.text for prompt in found.prompts.prompts}) == 16
    assert found.prompts.digest == sample_live(reversed(traffic), 16, name="live").prompts.digest


def test_a_rare_stratum_has_one_prompt_at_least() -> None:
    traffic = [output(f"draft {k}") for k in range(200)] + [output("the only one", lane="final")]
    assert {prompt.lane for prompt in sample_live(traffic, 10, name="live").prompts.prompts} == {"draft", "final"}


def test_live_prompts_are_redacted_and_keep_their_seed() -> None:
    found = sample_live([output("for joe@mail.org", seed=77)], 5, name="live")
    assert [(prompt.text, prompt.seed) for prompt in found.prompts.prompts] == [("for [email]", 77)]
    assert found.removed == {"email": 1}


def test_without_live_output_there_is_no_set() -> None:
    with pytest.raises(InvalidInput, match="no live output"):
        sample_live([output("x", mirrored=True)], 5, name="live")
    with pytest.raises(InvalidInput, match="n: 0"):
        sample_live([output("x")], 0, name="live")
