"""Golden pictures: what counts as like, as blank, and as a loss."""

import io
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from contracts.errors import InvalidInput
from registry.golden import Difference, GoldenSet, Quality, find_faults, measure_difference, measure_quality


def png(levels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(levels.astype(np.uint8)).save(file, format="PNG")
    return file.getvalue()


def picture(seed: int, height: int = 16, width: int = 24) -> np.ndarray:
    return np.random.default_rng(seed).integers(20, 235, size=(height, width, 3))


def test_identical_pictures_have_no_psnr_and_no_fault() -> None:
    pictures = [png(picture(k)) for k in range(3)]
    found = measure_difference(pictures, pictures)
    assert (found.identical, found.psnr_db, found.largest_difference, found.blank) == (3, None, 0, ())
    assert find_faults(found, None) == []


@given(st.integers(1, 20))
def test_psnr_is_that_of_its_definition(shift: int) -> None:
    one = picture(1)
    found = measure_difference([png(one)], [png(one + shift)])
    # Every level differs by the same, so the mean squared error is its square.
    assert found.psnr_db == pytest.approx(20 * math.log10(255 / shift))
    assert found.largest_difference == shift
    assert bool(find_faults(found, None)) == (shift > 2)  # 2 levels are 42.1 dB, 3 are 38.6 dB


def test_the_worst_picture_is_told_beside_the_mean() -> None:
    one, two = picture(1), picture(2)
    found = measure_difference([png(one), png(two)], [png(one), png(two + 4)])
    assert found.worst_psnr_db == pytest.approx(20 * math.log10(255 / 4))
    assert found.psnr_db == pytest.approx(20 * math.log10(255 / 4) + 10 * math.log10(2))


def test_a_blank_picture_is_a_fault_even_when_the_parent_drew_the_same() -> None:
    black = png(np.zeros((16, 24, 3)))
    found = measure_difference([black, png(picture(1))], [black, png(picture(1))])
    assert found.blank == (0,)
    assert "1 of 2 golden pictures are blank" in find_faults(found, None)[0]


def test_other_sizes_and_numbers_are_refused() -> None:
    with pytest.raises(InvalidInput, match="another size"):
        measure_difference([png(picture(1))], [png(picture(1, height=8))])
    with pytest.raises(InvalidInput, match="1 golden pictures, 2 of the reference"):
        measure_difference([png(picture(1))] * 2, [png(picture(1))])


class Brightness:
    """Scores a picture by its mean level; prompts that ask for nothing can't be judged."""

    name = "brightness"

    def score(self, prompts: Sequence[str], pictures: Sequence[bytes]) -> list[float | None]:
        levels = [float(np.asarray(Image.open(io.BytesIO(p))).mean()) / 255 for p in pictures]
        return [level if prompt else None for prompt, level in zip(prompts, levels, strict=True)]


def test_quality_is_compared_where_both_can_be_judged() -> None:
    bright, dark = png(np.full((8, 8, 3), 204)), png(np.full((8, 8, 3), 102))
    found = measure_quality(Brightness(), ["a", ""], [bright, bright], [dark, bright])
    assert found is not None
    assert found.judged == 1
    assert [found.before, found.after, found.change] == pytest.approx([0.8, 0.4, -0.4])
    assert measure_quality(Brightness(), [""], [bright], [dark]) is None


@pytest.mark.parametrize(("after", "refused"), [(0.96, False), (0.94, True), (1.0, False)])
def test_a_loss_of_quality_beyond_what_is_accepted_is_a_fault(after: float, refused: bool) -> None:
    like = Difference(4, 4, None, None, 0, ())
    faults = find_faults(like, Quality("text", 64, 1.0, after))
    assert bool(faults) == refused


def test_a_golden_set_is_known_by_its_prompts_and_seeds() -> None:
    one = GoldenSet.of(["a", "b"])
    assert one.seeds == (427, 428)
    assert one.digest == GoldenSet.of(["a", "b"]).digest
    assert len({one.digest, GoldenSet.of(["b", "a"]).digest, GoldenSet.of(["a", "b"], 1).digest}) == 3
    with pytest.raises(InvalidInput):
        GoldenSet.of([])
