"""Checks of pictures for themselves, near duplicates, denied words."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from contracts.errors import InvalidInput
from contracts.ids import VersionId
from contracts.wire.telemetry import SampledOutput
from evaluation.price_tags.grammar import TagText
from evaluation.price_tags.render import draw_tags
from evaluation.scorers.duplicates import UniquePictureScorer, dhash
from evaluation.scorers.images import Expectation, SoundPictureScorer, calibrate, measure_picture
from evaluation.scorers.kinds import ScorerChoice, make_scorer
from evaluation.scorers.picture import decode
from evaluation.scorers.price_tags import TagColourScorer, TagTextScorer
from evaluation.scorers.safety import DenyListScorer


def as_png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()


def sample(prompt: str, picture: Image.Image | bytes = b"") -> SampledOutput:
    return SampledOutput(
        service="s", version=VersionId("m", 1), request_id="r", lane="x", prompt=prompt, seed=0, at_s=0.0,
        image_png=as_png(picture) if isinstance(picture, Image.Image) else picture,
    )  # fmt: skip


def tag(digits: str, ink: str = "black", paper: str = "white", seed: int = 0) -> Image.Image:
    return Image.fromarray(draw_tags([TagText(digits, ink, paper)], "train", np.random.default_rng(seed))[0])


def scene(seed: int) -> Image.Image:
    """A smooth picture of its own, with grain."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).resize(
        (128, 96), Image.Resampling.BICUBIC
    )
    grain = np.asarray(coarse).astype(int) + rng.normal(0, 4, (96, 128, 3)).round().astype(int)
    return Image.fromarray(np.clip(grain, 0, 255).astype(np.uint8))


@pytest.mark.parametrize(
    ("picture", "told"),
    [
        (Image.new("RGB", (64, 64), "black"), "blank"),
        (Image.new("RGB", (64, 64), (200, 30, 90)), "blank"),
        (b"no picture", "decoded"),
        (as_png(scene(0))[:-200], "decoded"),
        (b"", "decoded"),
    ],
)
def test_a_picture_that_shows_nothing_scores_zero_and_says_why(picture: Image.Image | bytes, told: str) -> None:
    (found,) = SoundPictureScorer().score([sample("x", picture)])
    assert found.value == 0.0
    assert told in found.reason


def test_a_sound_picture_scores_one() -> None:
    assert (
        SoundPictureScorer().score([sample("x", scene(0)), sample("x", tag("4"))])
        == [SoundPictureScorer().score([sample("x", scene(1))])[0]] * 2
    )
    # Colours of one lightness show something although their grey does not.
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[::2], stripes[1::2] = (255, 0, 0), (0, 130, 0)
    assert SoundPictureScorer().score([sample("x", Image.fromarray(stripes))])[0].value == 1.0


def test_size_and_aspect() -> None:
    scorer = SoundPictureScorer(Expectation(width=128, height=64))
    assert "height 96 instead of 64" in scorer.score([sample("x", scene(0))])[0].reason
    assert SoundPictureScorer(Expectation(aspect=4 / 3)).score([sample("x", scene(0))])[0].value == 1.0
    assert SoundPictureScorer(Expectation(aspect=1.0)).score([sample("x", scene(0))])[0].value == 0.0


def test_sharpness_and_noise_are_measured() -> None:
    picture = scene(0)
    rng = np.random.default_rng(0)
    noisy = np.clip(np.asarray(picture).astype(int) + rng.normal(0, 30, (96, 128, 3)), 0, 255)
    plain, blurred = measure_picture(picture), measure_picture(picture.filter(ImageFilter.GaussianBlur(3)))
    assert blurred.sharpness < plain.sharpness / 5
    assert measure_picture(Image.fromarray(noisy.astype(np.uint8))).noise > 4 * plain.noise
    # On pure noise Immerkær's estimate is its standard deviation.
    grey = np.clip(rng.normal(128, 10, (256, 256)), 0, 255).astype(np.uint8)
    assert measure_picture(Image.fromarray(grey)).noise == pytest.approx(10, rel=0.05)


def test_what_is_usual_is_learnt_from_the_champion() -> None:
    usual = calibrate([scene(seed) for seed in range(80)])
    scorer = SoundPictureScorer(usual)
    fresh = [sample("x", scene(seed)) for seed in range(100, 160)]
    # 99 % of the champion's own on four figures: about 4 % of fresh ones fall outside, and eighty teach it roughly.
    assert np.mean([score.value for score in scorer.score(fresh)]) > 0.8
    blurred = scorer.score([sample("x", scene(200).filter(ImageFilter.GaussianBlur(4)))])[0]
    assert blurred.value == 0.0
    assert "sharpness" in blurred.reason
    assert scorer.digest != SoundPictureScorer().digest
    with pytest.raises(InvalidInput, match="usual"):
        calibrate([scene(0)] * 10)


def test_a_folder_of_sound_pictures_says_what_is_usual(tmp_path: Path) -> None:
    for seed in range(60):
        scene(seed).save(tmp_path / f"{seed:03}.png")
    (tmp_path / "torn.png").write_bytes(b"no picture")
    scorer = make_scorer(ScorerChoice.parse(f"image-sound:like={tmp_path}"))
    blurred = scorer.score([sample("x", scene(200).filter(ImageFilter.GaussianBlur(4)))])[0]
    assert blurred.value == 0.0
    assert "sharpness" in blurred.reason


def test_a_bomb_is_refused_before_it_unpacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(InvalidInput, match="too large"):
        decode(as_png(Image.new("RGB", (40, 40))))


def test_one_picture_for_two_prompts_is_found_out() -> None:
    scorer = UniquePictureScorer()
    again = scene(1).resize((96, 72)).resize((128, 96))
    scores = scorer.score(
        [sample("a", scene(1)), sample("b", scene(2)), sample("a", scene(1)), sample("c", again), sample("d", b"x")]
    )
    assert [score.value for score in scores] == [1.0, 1.0, 1.0, 0.0, None]
    assert "'a'" in scores[3].reason
    # It remembers across batches.
    assert scorer.score([sample("e", scene(2))])[0].value == 0.0


def test_blank_pictures_are_not_called_duplicates() -> None:
    found = UniquePictureScorer().score([sample(str(k), Image.new("RGB", (64, 64), "red")) for k in range(2)])
    assert [score.value for score in found] == [None, None]


def test_the_hash_outlasts_what_does_not_change_a_picture() -> None:
    assert (dhash(scene(1)) ^ dhash(scene(1).resize((256, 192)))).bit_count() <= 8
    assert (dhash(scene(1)) ^ dhash(scene(2))).bit_count() > 60


def test_denied_words_are_found_whole_and_through_disguise(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("gore\nred square  # a place\n\n# comment\n")
    scorer = DenyListScorer.from_file(file)
    asked = ["a GORE scene", "category of gored bulls", "in Red   Square", "g.o.r.e", "a fox"]
    assert [score.value for score in scorer.score([sample(text) for text in asked])] == [0.0, 1.0, 0.0, 0.0, 1.0]
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(InvalidInput, match="empty"):
        DenyListScorer.from_file(tmp_path / "empty.txt")


def test_tag_scorers_tell_digits_from_colours() -> None:
    right, wrong_ink = tag("4", "red", "yellow"), tag("4", "blue", "yellow")
    prompt = "price tag 4 in red ink on yellow paper"
    colours = TagColourScorer().score([sample(prompt, right), sample(prompt, wrong_ink), sample("a cat", right)])
    assert [score.value for score in colours] == [1.0, 0.5, None]
    assert colours[1].reason == "ink blue instead of red"
    digits = TagTextScorer().score([sample(prompt, right), sample(prompt, wrong_ink), sample(prompt, b"x")])
    assert [score.value for score in digits] == [1.0, 1.0, None]
