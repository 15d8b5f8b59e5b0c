"""The price-tag task: prompts, pictures, the reader and the figures."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from contracts.errors import IntegrityError, InvalidInput
from evaluation.price_tags.figures import load_reference, measure, measure_ceiling
from evaluation.price_tags.frechet import FeatureSpread, measure_distance, summarise
from evaluation.price_tags.grammar import (
    INKS,
    PAPERS,
    VOCABULARY,
    TagText,
    figure_prompts,
    is_withheld,
    parse_prompt,
    sample_prompts,
    sample_texts,
    write_prompt,
)
from evaluation.price_tags.reader import TagReader, load_reader
from evaluation.price_tags.render import HEIGHT, INK_RGB, PAPER_RGB, WIDTH, draw_tags, load_digit_set

tag_texts = st.builds(
    TagText,
    digits=st.text("0123456789", min_size=1, max_size=4),
    ink=st.sampled_from(INKS),
    paper=st.sampled_from(PAPERS),
)


@given(text=tag_texts, seed=st.integers(0, 2**32))
def test_every_phrasing_asks_for_the_tag_it_was_written_for(text: TagText, seed: int) -> None:
    assert parse_prompt(write_prompt(text, np.random.default_rng(seed))) == text


@given(text=tag_texts, seed=st.integers(0, 2**32), gaps=st.lists(st.sampled_from([" ", "\t", "\n  "]), min_size=20))
def test_case_and_white_space_do_not_matter(text: TagText, seed: int, gaps: list[str]) -> None:
    words = write_prompt(text, np.random.default_rng(seed)).upper().split()
    assert parse_prompt("".join(f"{gap}{word}" for gap, word in zip(gaps, words, strict=False)) + " ") == text


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("a handwritten seven", TagText("7", "black", "white")),
        ("the digits 4 2 7", TagText("427", "black", "white")),
        ("price tag 4 2 7 in red ink on yellow paper", TagText("427", "red", "yellow")),
        ("price tag 427 in blue ink on white paper", TagText("427", "blue", "white")),
        ("price tag 427 on pink paper", TagText("427", "black", "pink")),
    ],
)
def test_known_sentences(prompt: str, text: TagText) -> None:
    assert parse_prompt(prompt) == text


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "a cat",
        "price tag",
        "price tag 12345",
        "price tag 4 in green ink",
        "price tag 4 on black paper",
        "price tag 4, please",
        "price tag seventy",
        "price tag twotwo",
        "price tag 4two",
    ],
)
def test_other_prompts_are_outside_the_grammar(prompt: str) -> None:
    assert parse_prompt(prompt) is None


def test_prompts_are_fixed_by_their_seed_and_use_the_vocabulary_only() -> None:
    prompts = sample_prompts(200, np.random.default_rng(5))
    assert prompts == sample_prompts(200, np.random.default_rng(5))
    assert prompts != sample_prompts(200, np.random.default_rng(6))
    words = {part for prompt in prompts for word in prompt.split() for part in (word if word.isdigit() else [word])}
    assert words <= set(VOCABULARY)
    assert figure_prompts(40)[:10] == figure_prompts(10)


def test_withheld_strings_stay_out_of_training_texts() -> None:
    rng = np.random.default_rng(0)
    assert not any(is_withheld(text.digits) for text in sample_texts(500, rng, withheld=False))
    assert is_withheld("0005")
    assert not is_withheld("0004")
    assert not is_withheld("005")


def test_train_and_test_digits_are_disjoint_and_together_all() -> None:
    train, test = load_digit_set("train"), load_digit_set("test")
    assert not set(train.rows) & set(test.rows)
    assert len(train.rows) + len(test.rows) == 1797
    assert abs(len(train.rows) / 1797 - 0.75) < 0.001
    assert set(train.labels) == set(test.labels) == set(range(10))


def test_tags_have_the_colours_asked_for() -> None:
    tag = draw_tags([TagText("8", "red", "yellow")], "train", np.random.default_rng(0))[0]
    assert tag.shape == (HEIGHT, WIDTH, 3)
    assert tuple(tag[0, 0]) == PAPER_RGB["yellow"]
    away = np.abs(tag.astype(int) - np.array(PAPER_RGB["yellow"])).sum(axis=2)
    darkest = tag[np.unravel_index(away.argmax(), away.shape)]
    assert np.abs(darkest.astype(int) - np.array(INK_RGB["red"])).max() <= 1


def test_reader_reaches_its_ceiling_on_real_held_out_digits() -> None:
    reader = load_reader()
    ceiling = measure_ceiling(figure_prompts(300), reader, load_reference(reader))
    # At 0.96 for a digit, strings of 2.5 digits in the mean are right nine times in ten.
    assert ceiling.digit > 0.95
    assert ceiling.exact > 0.85
    assert ceiling.ink > 0.97
    assert ceiling.paper > 0.99
    assert ceiling.unread == 0


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_blank_picture_reads_as_nothing(level: int) -> None:
    reading = load_reader().read(np.full((HEIGHT, WIDTH, 3), level, np.uint8))
    assert (reading.digits, reading.ink, reading.confidence) == ("", None, 0.0)
    assert reading.features.shape == (0, 64)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_any_picture_gives_a_reading_within_bounds(seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    reading = load_reader().read(picture)
    assert len(reading.digits) <= 4
    assert 0 <= reading.confidence <= 1
    assert len(reading.features) == len(reading.digits)


def test_array_pil_image_and_enlargement_read_alike() -> None:
    tag = draw_tags([TagText("427", "blue", "pink")], "train", np.random.default_rng(1))[0]
    image = Image.fromarray(tag)
    readings = [load_reader().read(one) for one in (tag, image, image.resize((512, 256), Image.Resampling.NEAREST))]
    assert {(one.digits, one.ink, one.paper) for one in readings} == {("427", "blue", "pink")}


@pytest.mark.parametrize("shape", [(32, 32, 3), (32, 64), (32, 64, 4)])
def test_what_is_no_tag_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match="twice as wide as high"):
        load_reader().read(np.zeros(shape, np.uint8))


def test_reader_loads_fast_and_without_torch_or_sklearn() -> None:
    begun_s = time.perf_counter()
    TagReader.load()
    assert time.perf_counter() - begun_s < 0.2
    code = (
        "import sys; from evaluation.price_tags.figures import measure; "
        "from evaluation.price_tags.reader import load_reader; load_reader(); "
        "sys.exit(bool({'torch', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_tampered_reader_is_refused(tmp_path: Path) -> None:
    from evaluation.price_tags import reader

    weights, digest = tmp_path / "reader.npz", tmp_path / "reader.sha256"
    weights.write_bytes(reader._WEIGHTS.read_bytes() + b"\0")
    digest.write_bytes(reader._DIGEST.read_bytes())
    with pytest.raises(IntegrityError, match=r"reader\.npz"):
        TagReader.load(weights, digest)


def test_distance_of_a_set_to_itself_is_zero_and_symmetric() -> None:
    rng = np.random.default_rng(0)
    one = summarise(rng.normal(size=(200, 8)))
    other = summarise(rng.normal(size=(150, 8)) @ rng.normal(size=(8, 8)) + 1)
    assert measure_distance(one, one) == pytest.approx(0, abs=1e-9)
    assert measure_distance(one, other) == pytest.approx(measure_distance(other, one))


@given(
    st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5), st.floats(0, 4), st.floats(0, 4)), min_size=1, max_size=6)
)
def test_distance_of_independent_normals_is_the_closed_form(axes: list[tuple[float, float, float, float]]) -> None:
    mean_1, mean_2, spread_1, spread_2 = np.array(axes).T
    one, other = FeatureSpread(mean_1, np.diag(spread_1**2), 9), FeatureSpread(mean_2, np.diag(spread_2**2), 9)
    # For commuting covariances the distance is |m1 - m2|² + |s1 - s2|² over the axes.
    expected = np.square(mean_1 - mean_2).sum() + np.square(spread_1 - spread_2).sum()
    assert measure_distance(one, other) == pytest.approx(expected, abs=1e-6)


def test_a_spread_of_one_vector_is_refused() -> None:
    with pytest.raises(InvalidInput, match="at least two"):
        summarise(np.zeros((1, 64)))


def test_figures_count_what_is_wrong() -> None:
    reader = load_reader()
    rng = np.random.default_rng(3)
    texts = [TagText("12", "red", "pink"), TagText("34", "blue", "grey"), TagText("5", "black", "white")]
    images = list(draw_tags(texts, "train", rng))
    assert [reader.read(image).digits for image in images] == ["12", "34", "5"]
    prompts = ["price tag 12 in red ink on pink paper", "price tag 39 in red ink on grey paper", "price tag 5"]
    figures = measure(images, prompts, reader, load_reference(reader))
    assert figures.n == 3
    assert figures.exact == pytest.approx(2 / 3)
    assert figures.digit == pytest.approx(4 / 5)
    assert figures.ink == pytest.approx(2 / 3)
    assert figures.paper == 1
    assert figures.frechet_n == 5
    assert (figures.exact_withheld, figures.withheld_n) == (None, 0)


def test_black_pictures_give_no_data_rather_than_numbers() -> None:
    reader = load_reader()
    black = [np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * 3
    figures = measure(black, ["price tag 1"] * 3, reader, load_reference(reader))
    assert (figures.exact, figures.unread, figures.frechet_n) == (0, 1, 0)
    assert figures.confidence is None
    assert figures.frechet is None


@pytest.mark.parametrize(("count", "prompt"), [(0, "price tag 1"), (2, "price tag 1"), (1, "a cat")])
def test_figures_refuse_what_does_not_fit(count: int, prompt: str) -> None:
    reader = load_reader()
    images = [np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * count
    with pytest.raises(InvalidInput):
        measure(images, [prompt], reader, load_reference(reader))


def test_ink_and_paper_do_not_sway_the_digits() -> None:
    reader = load_reader()
    plain = TagText("3806", "black", "white")
    variants = [replace(plain, ink=ink, paper=paper) for ink in INKS for paper in PAPERS]
    tags = [draw_tags([text], "train", np.random.default_rng(11))[0] for text in variants]
    assert {reader.read(tag).digits for tag in tags} == {"3806"}
    assert [(reader.read(tag).ink, reader.read(tag).paper) for tag in tags] == [(t.ink, t.paper) for t in variants]
