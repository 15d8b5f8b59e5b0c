"""Wrappers: one bad sample takes nothing along, nothing is judged twice, a scorer that hangs gives no data."""

import io
import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from contracts.errors import Unavailable
from contracts.ids import VersionId
from contracts.wire.telemetry import SampledOutput
from evaluation.scorers.cache import CachedScorer, ScoreCache, digest_sample
from evaluation.scorers.careful import CarefulScorer
from evaluation.scorers.isolated import IsolatedScorer
from evaluation.scorers.port import Score
from evaluation.scorers.price_tags import TagTextScorer


def sample(prompt: str, image_png: bytes = b"") -> SampledOutput:
    return SampledOutput(
        service="s", version=VersionId("m", 1), request_id="r", lane="x", prompt=prompt, seed=0, at_s=0.0,
        image_png=image_png,
    )  # fmt: skip


class Scripted:
    """Does what the prompt says: gives a number, raises, hangs or dies."""

    name = "scripted"

    def __init__(self, digest: str = "sha256:a") -> None:
        self.digest = digest
        self.seen: list[str] = []

    def score(self, samples: Sequence[SampledOutput]) -> list[Score]:
        self.seen += [found.prompt for found in samples]
        return [self._one(found.prompt) for found in samples]

    def _one(self, prompt: str) -> Score:
        if prompt == "raise":
            raise ValueError("a bad sample")
        if prompt == "hang":
            time.sleep(60)
        if prompt == "die":
            os._exit(3)
        return Score(None, "nothing to see") if prompt == "none" else Score(float(prompt))


class Short(Scripted):
    def score(self, samples: Sequence[SampledOutput]) -> list[Score]:
        return []


def values(scores: Sequence[Score]) -> list[float | None]:
    return [score.value for score in scores]


def test_a_sample_that_raises_has_no_data_and_the_rest_is_scored() -> None:
    scores = CarefulScorer(Scripted()).score([sample(p) for p in ("0.5", "raise", "1", "none")])
    assert values(scores) == [0.5, None, 1.0, None]
    assert "a bad sample" in scores[1].reason
    assert scores[3].reason == "nothing to see"


@pytest.mark.parametrize("prompt", ["nan", "inf", "-0.1", "1.01"])
def test_what_is_no_score_is_no_data(prompt: str) -> None:
    (found,) = CarefulScorer(Scripted()).score([sample(prompt)])
    assert found.value is None
    assert found.reason


def test_a_scorer_that_gives_too_few_scores_gives_none() -> None:
    assert values(CarefulScorer(Short()).score([sample("1"), sample("0")])) == [None, None]
    assert CarefulScorer(Scripted()).score([]) == []


def test_nothing_is_judged_twice_by_one_digest(tmp_path: Path) -> None:
    one, other = Scripted(), Scripted("sha256:b")
    asked = [sample("1"), sample("0.25"), sample("1")]
    with ScoreCache(tmp_path / "scores.db") as cache:
        assert values(CachedScorer(one, cache).score(asked)) == [1.0, 0.25, 1.0]
    with ScoreCache(tmp_path / "scores.db") as cache:
        assert values(CachedScorer(one, cache).score(asked)) == [1.0, 0.25, 1.0]
        assert one.seen == ["1", "0.25"]
        CachedScorer(other, cache).score(asked)
    assert other.seen == ["1", "0.25"]


def test_no_data_is_tried_again(tmp_path: Path) -> None:
    inner = Scripted()
    with ScoreCache(tmp_path / "scores.db") as cache:
        for _ in range(2):
            assert values(CachedScorer(inner, cache).score([sample("none")])) == [None]
    assert inner.seen == ["none", "none"]


def test_the_cache_keeps_to_its_size_and_lets_go_of_what_was_unused_longest(tmp_path: Path) -> None:
    inner = Scripted()
    with ScoreCache(tmp_path / "scores.db", max_rows=3) as cache:
        cached = CachedScorer(inner, cache)
        for prompt in ("0.1", "0.2", "0.3"):
            cached.score([sample(prompt)])
        cached.score([sample("0.1")])
        cached.score([sample("0.4")])
        inner.seen.clear()
        cached.score([sample(p) for p in ("0.1", "0.3", "0.4")])
        assert inner.seen == []
        cached.score([sample("0.2")])
    assert inner.seen == ["0.2"]


def test_prompt_and_picture_both_make_a_sample() -> None:
    digests = {digest_sample(sample(*parts)) for parts in (("a", b"b"), ("ab", b""), ("", b"ab"), ("a", b"c"))}
    assert len(digests) == 4


def test_a_cache_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "scores.db").write_bytes(b"this is no database, and long enough to be found out as none" * 20)
    with pytest.raises(Unavailable, match=r"scores\.db"):
        ScoreCache(tmp_path / "scores.db")


def test_a_scorer_that_hangs_or_dies_loses_only_the_outputs_at_fault() -> None:
    with IsolatedScorer("scripted", Scripted, timeout_s=3, batch=4) as scorer:
        assert scorer.digest == "sha256:a"
        scores = scorer.score([sample(p) for p in ("0.5", "hang", "1", "raise", "die", "0")])
    assert values(scores) == [0.5, None, 1.0, None, None, 0.0]
    assert "3 s" in scores[1].reason
    assert "a bad sample" in scores[3].reason
    assert "died" in scores[4].reason


def _fail() -> Scripted:
    raise RuntimeError("no weights")


def test_a_scorer_that_can_not_start_gives_no_data_and_says_why() -> None:
    with IsolatedScorer("broken", _fail) as scorer:
        (found,) = scorer.score([sample("1")])
        assert found.value is None
        assert "no weights" in found.reason
        with pytest.raises(Unavailable, match="no weights"):
            _ = scorer.digest


def test_a_real_scorer_judges_in_its_own_process_as_in_this() -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 32), "white").save(file, format="PNG")
    asked = [sample("price tag 4 2", file.getvalue()), sample("a cat", file.getvalue()), sample("price tag 1", b"x")]
    with IsolatedScorer("text-accuracy", partial(TagTextScorer)) as scorer:
        assert scorer.score(asked) == TagTextScorer().score(asked)
        assert scorer.digest == TagTextScorer().digest
