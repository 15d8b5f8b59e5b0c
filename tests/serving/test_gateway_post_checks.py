"""Post-checks: a picture that fails is drawn again elsewhere, and counted against the version that drew it."""

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest
from PIL import Image

from contracts.specs.loading import load_service_spec
from contracts.specs.service import Fallback, FallbackReason, Lane
from contracts.wire.worker import FailureReason, GenerateRequest
from serving.worker.runtimes.port import AfterStep, DrawFailure, Picture
from tests.serving.conftest import Bench, ScriptedRuntime

CHECK = """
class NoCats:
    def judge(self, service, prompt, png):
        if prompt == "raise":
            raise RuntimeError("the check is broken")
        return "shows a cat" if "cat" in prompt else ""
"""


class Painter(ScriptedRuntime):
    """Draws stripes, or with fewer than ``enough_steps`` steps a black picture."""

    enough_steps = 0

    def draw(self, requests: Sequence[GenerateRequest], after_step: AfterStep) -> list[Picture]:
        self.asked.extend(requests)
        if self.failure is not None:
            raise DrawFailure(self.failure, "scripted")
        return [self._paint((request.steps or 1) >= self.enough_steps).getvalue for request in requests]

    def _paint(self, drawn: bool) -> io.BytesIO:
        picture, file = Image.new("RGB", (16, 16)), io.BytesIO()
        if drawn:
            picture.paste((200, 30, 30), (0, 0, 8, 16))
        picture.save(file, format="PNG")
        return file


@pytest.fixture
def champion() -> Painter:
    return Painter()


@pytest.fixture
def challenger() -> Painter:
    return Painter()


def ask(bench: Bench, prompt: str = "a tag") -> httpx.Response:
    return bench.http.post("/v1/images/generations", json={"model": "tags", "prompt": prompt, "seed": 1})


def to_champion(*reasons: FallbackReason) -> Fallback:
    return Fallback(on=reasons or (FallbackReason.REJECTED,), to="champion", retry_budget=0.1)


def test_a_black_picture_of_the_challenger_is_drawn_again_by_the_champion(bench: Bench, challenger: Painter) -> None:
    challenger.enough_steps = 99
    bench.route(1.0, post_checks=["blank"], fallback=to_champion(), score_sample=1.0)
    answer = ask(bench)
    assert answer.status_code == 200
    assert answer.headers["x-roost-version"] == "m@1"
    assert answer.headers["x-roost-fallback"] == "m@2 rejected"
    told = bench.client.pull()
    bad = {str(row.version): row.bad for batch in told.batches for row in batch.attempts}
    assert bad == {"m@2": {"rejected": 1}, "m@1": {}}
    assert [(row.bad, row.fell_back) for batch in told.batches for row in batch.requests] == [(0, 1)]
    assert len(told.samples) == 2, "the scorers judge what was rejected, too"


def test_a_failing_picture_of_a_quick_lane_is_drawn_on_a_better_one(bench: Bench, champion: Painter) -> None:
    champion.enough_steps = 20
    lanes = {"draft": Lane(steps=2), "final": Lane(steps=25)}
    fallback = Fallback(on=(FallbackReason.REJECTED,), to="final", retry_budget=0.1)
    bench.route(lanes=lanes, post_checks=["blank"], fallback=fallback)
    assert ask(bench).headers["x-roost-fallback"] == "m@1 rejected"
    assert [request.steps for request in champion.asked] == [2, 25]


@pytest.mark.parametrize("reason", [FallbackReason.OOM, FallbackReason.REJECTED])
def test_a_rejected_picture_is_given_for_want_of_a_better_one_and_counts_as_bad(
    bench: Bench, champion: Painter, challenger: Painter, reason: FallbackReason
) -> None:
    challenger.enough_steps = 99
    champion.failure = FailureReason.ERROR
    bench.route(1.0, post_checks=["blank"], fallback=to_champion(reason))
    answer = ask(bench)
    assert answer.status_code == 200
    assert answer.headers["x-roost-rejected"] == "blank: it is blank"
    assert answer.headers["x-roost-version"] == "m@2"
    requests = [row for batch in bench.client.pull().batches for row in batch.requests]
    assert [(row.bad, row.reasons) for row in requests] == [(1, {"rejected": 1})]


def test_installed_checks_are_asked_and_a_broken_one_costs_nobody_a_picture(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cat_checks.py").write_text(CHECK)
    info = tmp_path / "cat_checks-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cat-checks\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[roost.post_checks]\nno-cats = cat_checks:NoCats\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("cat_checks", None)
    bench.route(post_checks=["no-cats", "not-installed"])
    assert ask(bench, "a cat").headers["x-roost-rejected"] == "no-cats: shows a cat"
    assert "x-roost-rejected" not in ask(bench, "a dog").headers
    assert "x-roost-rejected" not in ask(bench, "raise").headers
    refusals = [row for batch in bench.client.pull().batches for row in batch.refusals]
    assert {(row.reason, row.total) for row in refusals} == {("post-check.failed", 3)}


def test_without_checks_nothing_is_looked_at(bench: Bench, challenger: Painter) -> None:
    challenger.enough_steps = 99
    bench.route(1.0, fallback=to_champion())
    assert "x-roost-fallback" not in ask(bench).headers


def test_the_spec_takes_checks_and_the_fallback_for_them() -> None:
    spec = load_service_spec("""
service: tags
model: m
lanes: {draft: {steps: 4}, final: {steps: 25}}
slos: {availability: {objective: 99%}}
post_checks: [blank]
fallback: {on: [rejected], to: final}
""")
    assert spec.post_checks == ("blank",)
