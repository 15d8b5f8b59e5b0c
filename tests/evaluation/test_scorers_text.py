"""Text accuracy by real OCR, on pictures whose text is known."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from contracts.errors import Unavailable
from contracts.ids import VersionId
from contracts.wire.telemetry import SampledOutput
from evaluation.scorers.text.agreement import compare_texts, edit_distance, likeness
from evaluation.scorers.text.asked import find_asked
from evaluation.scorers.text.calibration import STYLES, draw_known, measure_ceiling
from evaluation.scorers.text.ocr import OcrReader, find_tessdata, prepare
from evaluation.scorers.text.scorer import MEASURES, OcrDesk, OcrScorer

words = st.text("abcdef", max_size=8)


@pytest.mark.parametrize(
    ("prompt", "asked"),
    [
        ("a sign that says 'OPEN NOW'", ("OPEN NOW",)),
        ('a cup with "best dad" and "no. 1" on it', ("best dad", "no. 1")),
        ("it's a dog's life", ()),
        ("the dogs' toys and 'don't panic' on a towel", ("don't panic",)),
        ("“smart” and ‘single’ and «là-bas»", ("smart", "single", "là-bas")),
        ("a frame of 5' x 6'", ()),
        ("a wall that says '!!!'", ()),
        ("", ()),
    ],
)
def test_what_a_prompt_quotes_is_asked_for(prompt: str, asked: tuple[str, ...]) -> None:
    assert find_asked(prompt) == asked


@given(one=words, other=words, third=words)
def test_the_edit_distance_is_a_distance(one: str, other: str, third: str) -> None:
    assert edit_distance(one, other) == edit_distance(other, one)
    assert (edit_distance(one, other) == 0) == (one == other)
    assert edit_distance(one, third) <= edit_distance(one, other) + edit_distance(other, third)
    assert abs(len(one) - len(other)) <= edit_distance(one, other) <= max(len(one), len(other))
    assert 0 <= likeness(one, other) <= 1


def test_known_edit_distances() -> None:
    assert edit_distance("kitten", "sitting") == 3
    assert edit_distance("", "abc") == 3


def test_a_wrong_letter_is_told_from_no_text_at_all() -> None:
    wrong = compare_texts(["winter sale"], ["WINTER SALF"])
    assert (wrong.words, wrong.lines) == (0.5, 0.0)
    assert wrong.edits == pytest.approx(10 / 11)
    nothing = compare_texts(["winter sale"], [])
    assert (nothing.words, nothing.lines, nothing.edits) == (0.0, 0.0, 0.0)
    right = compare_texts(["Winter Sale!"], ["shop", "winter", "sale"])
    assert (right.words, right.lines) == (1.0, 0.0)
    assert compare_texts(["winter sale"], ["winter", "sale"]).lines == 1.0


def test_words_are_counted_with_their_repetitions() -> None:
    assert compare_texts(["ho ho ho"], ["ho ho"]).words == pytest.approx(2 / 3)


@pytest.fixture(scope="module")
def desk() -> OcrDesk:
    pytest.importorskip("tesserocr", reason="roost[ocr] is not installed")
    try:
        return OcrDesk(OcrReader())
    except Unavailable as error:
        pytest.skip(error.message)


def as_sample(prompt: str, picture: Image.Image | bytes) -> SampledOutput:
    if isinstance(picture, Image.Image):
        file = io.BytesIO()
        picture.save(file, format="PNG")
        picture = file.getvalue()
    return SampledOutput(
        service="s", version=VersionId("m", 1), request_id="r", lane="x", prompt=prompt, seed=0, at_s=0.0,
        image_png=picture,
    )  # fmt: skip


def test_right_text_scores_one_and_wrong_text_less(desk: OcrDesk) -> None:
    (text, picture) = draw_known("plain", 1)[0]
    right, wrong = as_sample(f"a poster that says '{text}'", picture), as_sample("a poster that says 'zebra'", picture)
    blank = as_sample("a poster that says 'zebra'", Image.new("RGB", (512, 512), "white"))
    for measure in MEASURES:
        scorer = OcrScorer(measure, desk)
        scores = scorer.score([right, wrong, blank])
        assert scores[0].value == 1.0
        assert scores[1].value is not None
        assert scores[1].value < 0.5
        assert text.split()[0] in scores[1].reason.lower()
        assert scores[2].value == 0.0
        assert "nothing" in scores[2].reason


def test_what_can_not_be_judged_has_no_data(desk: OcrDesk) -> None:
    scores = OcrScorer("words", desk).score(
        [as_sample("a fox", Image.new("L", (64, 64))), as_sample("a 'fox'", b"no picture")]
    )
    assert [score.value for score in scores] == [None, None]
    assert "quotes no text" in scores[0].reason
    assert "no picture" in scores[1].reason


def test_the_ladder_reads_what_the_plain_reader_can_not(desk: OcrDesk) -> None:
    """A gradient defeats a global threshold; the second rung thresholds locally."""
    reader = desk._reader
    plain = climbed = 0
    for text, picture in draw_known("gradient", 6):
        plain += text in " ".join(reader.read(picture, lambda lines: True)[0].lines)
        climbed += desk.judge(picture, [text])[0].words == 1.0
    assert climbed == 6
    assert plain < climbed


def test_the_reader_has_a_ceiling_and_knows_it(desk: OcrDesk) -> None:
    ceilings = {found.style: found for found in measure_ceiling(desk, n=6, styles=("plain", "small", "textured"))}
    assert ceilings["plain"].words == 1.0
    assert ceilings["small"].words > 0.8
    assert ceilings["textured"].words < 0.8
    assert all(found.low <= found.words <= found.high for found in ceilings.values())


def test_known_pictures_are_the_same_each_time() -> None:
    for style in STYLES:
        one, other = draw_known(style, 2), draw_known(style, 2)
        assert [text for text, _ in one] == [text for text, _ in other]
        assert np.array_equal(np.asarray(one[1][1]), np.asarray(other[1][1]))


def test_small_pictures_are_enlarged_and_transparency_is_white() -> None:
    assert min(prepare(Image.new("RGB", (64, 32))).size) == 256
    assert max(prepare(Image.new("L", (4000, 20))).size) <= 4000
    clear = prepare(Image.new("RGBA", (300, 300), (0, 0, 0, 0)))
    assert np.asarray(clear).min() == 255


def test_missing_data_of_tesseract_are_told_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESSDATA_PREFIX", str(tmp_path))
    with pytest.raises(Unavailable, match="'eng'") as raised:
        find_tessdata()
    assert "tesseract-ocr" in raised.value.hint
    (tmp_path / "tessdata").mkdir()
    (tmp_path / "tessdata" / "eng.traineddata").touch()
    assert find_tessdata() == tmp_path / "tessdata"
