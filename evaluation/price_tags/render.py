"""Real pixels for the price-tag task: handwritten digits of the UCI set, drawn on coloured tags.

The digits are those of `sklearn.datasets.load_digits` (1797 pictures of 8x8 pixels by 43 writers;
E. Alpaydin, C. Kaynak, UCI Machine Learning Repository, 1998, CC BY 4.0), which come with
scikit-learn. Three quarters of them, chosen by seed, are for training; generators and readers see
no others, so that the rest can tell the reader's ceiling.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluation.price_tags.grammar import TagText

HEIGHT: Final = 32
WIDTH: Final = 64
SLOT: Final = 16
"""Edge of the square that holds one digit, in pixels."""

TOP: Final = (HEIGHT - SLOT) // 2
"""First row of the digits, in pixels."""

INK_RGB: Final = {"black": (25, 25, 30), "red": (200, 25, 35), "blue": (30, 55, 200)}
PAPER_RGB: Final = {
    "white": (250, 250, 245),
    "yellow": (250, 225, 95),
    "pink": (250, 170, 190),
    "green": (160, 220, 150),
    "grey": (180, 180, 185),
}

Split = Literal["train", "test"]
_SPLIT_SEED: Final = 1998
_TRAIN_SHARE: Final = 0.75


@dataclass(frozen=True, slots=True)
class DigitSet:
    """Handwritten digits: `coverage` (n, 16, 16) in [0, 1], 1 = full ink; `labels` (n,) in 0..9."""

    coverage: NDArray[np.float32]
    labels: NDArray[np.int64]
    rows: NDArray[np.int64]
    """Row of each digit in the order of `load_digits`: what tells two sets apart."""


@cache
def load_digit_set(split: Split) -> DigitSet:
    """Load the digits of one side of the fixed 75/25 split, enlarged from 8x8 to 16x16 (bicubic)."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(bunch.target))
    cut = round(_TRAIN_SHARE * len(order))
    rows = np.sort(order[:cut] if split == "train" else order[cut:]).astype(np.int64)
    coverage = np.stack([_enlarge(bunch.images[row]) for row in rows])
    return DigitSet(coverage, bunch.target[rows].astype(np.int64), rows)


def find_slots(count: int) -> list[int]:
    """Find the first pixel columns of the slots of a tag with `count` digits: side by side from the left."""
    return [SLOT * slot for slot in range(count)]


def draw_tag(text: TagText, digits: DigitSet, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one tag, (32, 64, 3), each digit taken at random among the set's pictures of it.

    Raises ValueError when the set holds no picture of a digit.
    """
    coverage = np.zeros((HEIGHT, WIDTH, 1), np.float32)
    for column, digit in zip(find_slots(len(text.digits)), text.digits, strict=True):
        chosen = rng.choice(_find_rows(digits, int(digit)))
        coverage[TOP : TOP + SLOT, column : column + SLOT, 0] = digits.coverage[chosen]
    ink = np.array(INK_RGB[text.ink], np.float32)
    paper = np.array(PAPER_RGB[text.paper], np.float32)
    return np.rint(paper + coverage * (ink - paper)).astype(np.uint8)


def draw_tags(texts: list[TagText], split: Split, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one tag for each text, (n, 32, 64, 3), with the digits of one side of the split."""
    digits = load_digit_set(split)
    return np.stack([draw_tag(text, digits, rng) for text in texts])


def _enlarge(digit: NDArray[np.float64]) -> NDArray[np.float32]:
    picture = Image.fromarray(digit.astype(np.float32) / 16).resize((SLOT, SLOT), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(picture, np.float32), 0, 1)


def _find_rows(digits: DigitSet, digit: int) -> NDArray[np.int64]:
    rows = np.flatnonzero(digits.labels == digit)
    if not len(rows):
        raise ValueError(f"the set holds no picture of the digit {digit}")
    return rows
