"""A reader of price tags: digits by a small neural network, ink and paper by nearest colour.

The network (64 inputs, 64 hidden, 10 classes) was fitted with scikit-learn on real handwritten
digits of the train split only (`python -m evaluation.price_tags.fit`) and is shipped as plain
arrays, whose SHA-256 is checked when they are loaded.
"""

import hashlib
import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from contracts.errors import IntegrityError, InvalidInput
from evaluation.price_tags.render import HEIGHT, INK_RGB, PAPER_RGB, SLOT, TOP, WIDTH, find_slots

FEATURES: Final = 64
"""Width of the hidden layer, in which Fréchet distances are taken."""

Picture = Image.Image | NDArray[np.uint8]
_WEIGHTS: Final = Path(__file__).with_name("reader.npz")
_DIGEST: Final = Path(__file__).with_name("reader.sha256")
_CELLS: Final = 8
_MIN_CONTRAST: Final = 60.0
"""Least distance of ink from paper in RGB: below it nothing is written that could be read."""

_MAX_PAPER_ERROR: Final = 40.0
"""Greatest RGB distance at which a paper still goes by a known name; the nearest two are 57 apart."""

_MAX_INK_ERROR: Final = 75.0
"""The same for an ink; the nearest two are 173 apart, and the thinnest real strokes 65 off."""

_INK_PIXELS: Final = 12
"""Pixels of a digit that are certainly full ink, even in the faintest."""

_MIN_SLOT_INK: Final = 0.04
"""Least mean coverage of a slot that holds a digit; the faintest real digit has 0.19."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read from one picture.

    `digits` is empty when nothing could be read, and then `confidence` is 0 and `features` has no
    row. `ink` and `paper` are None when the colour is none of those known. `confidence` is the mean
    probability of the digits read, in [0, 1]; `features` (digits, 64) the hidden layer for each.
    """

    digits: str
    ink: str | None
    paper: str | None
    confidence: float
    features: NDArray[np.float64]


class TagReader:
    """Reads price tags of any size with the proportions 2:1, the larger ones after averaging to 32x64."""

    def __init__(self, weights: dict[str, NDArray[np.float64]]) -> None:
        self._weights = weights

    @classmethod
    def load(cls, path: Path = _WEIGHTS, digest_path: Path = _DIGEST) -> Self:
        """Load the shipped reader; IntegrityError when its bytes are not those that were published."""
        raw = path.read_bytes()
        if hashlib.sha256(raw).hexdigest() != digest_path.read_text(encoding="utf-8").split()[0]:
            raise IntegrityError(
                f"{path.name} differs from the digest in {digest_path.name}",
                hint="reinstall, or fit it anew: python -m evaluation.price_tags.fit",
            )
        with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
            return cls({name: arrays[name].astype(np.float64) for name in arrays.files})

    def read(self, picture: Picture) -> Reading:
        """Read one picture; a blank or unreadable one gives a Reading without digits."""
        pixels = to_pixels(picture)
        paper_rgb = np.median(np.concatenate([pixels[: TOP - 2], pixels[HEIGHT - TOP + 2 :]]), axis=(0, 1))
        coverage, ink_rgb = _find_ink(pixels, paper_rgb)
        paper = _name_colour(paper_rgb, PAPER_RGB, _MAX_PAPER_ERROR)
        if ink_rgb is None:
            return Reading("", None, paper, 0.0, np.empty((0, FEATURES)))
        cells = cut_slots(coverage)
        if not len(cells):
            return Reading("", None, paper, 0.0, np.empty((0, FEATURES)))
        probabilities, features = self.classify(cells)
        digits = "".join(map(str, probabilities.argmax(axis=1)))
        confidence = float(probabilities.max(axis=1).mean())
        return Reading(digits, _name_colour(ink_rgb, INK_RGB, _MAX_INK_ERROR), paper, confidence, features)

    def classify(self, cells: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Give probabilities (n, 10) and hidden features (n, 64) of digits given as 64 coverages in [0, 1]."""
        features = np.maximum(cells @ self._weights["w1"] + self._weights["b1"], 0)
        scores = features @ self._weights["w2"] + self._weights["b2"]
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True), features


@cache
def load_reader() -> TagReader:
    """Give the shipped reader, loaded once in a process."""
    return TagReader.load()


def to_pixels(picture: Picture) -> NDArray[np.float64]:
    """Bring a picture to (32, 64, 3) numbers of 0..255; InvalidInput when it is no picture of 2:1."""
    array = np.asarray(picture.convert("RGB") if isinstance(picture, Image.Image) else picture)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or array.shape[1] != 2 * array.shape[0]:
        raise InvalidInput(
            f"a price tag is a uint8 RGB picture twice as wide as high, not {array.dtype} {array.shape}",
            hint="give a PIL image or an array of shape (height, 2 * height, 3)",
        )
    if array.shape[:2] != (HEIGHT, WIDTH):
        array = np.asarray(Image.fromarray(array).resize((WIDTH, HEIGHT), Image.Resampling.BOX))
    return array.astype(np.float64)


def cut_slots(coverage: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cut coverage (32, 64) into digits of 8x8 cells, (n, 64); slots without ink give no row.

    The number of slots is the least, from the left, that holds nearly all of the ink.
    """
    band = coverage[TOP : TOP + SLOT]
    reached = np.cumsum(band.sum(axis=0))[SLOT - 1 :: SLOT]
    count = int(np.argmax(reached >= 0.97 * reached[-1])) + 1
    slots = np.stack([band[:, column : column + SLOT] for column in find_slots(count)])
    slots = slots[slots.mean(axis=(1, 2)) >= _MIN_SLOT_INK]
    edge = SLOT // _CELLS
    cells: NDArray[np.float64] = slots.reshape(-1, _CELLS, edge, _CELLS, edge).mean(axis=(2, 4))
    return cells.reshape(-1, _CELLS * _CELLS)


def _find_ink(pixels: NDArray[np.float64], paper: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[Any] | None]:
    away = np.linalg.norm(pixels - paper, axis=2)
    strongest = np.argsort(away, axis=None)[-_INK_PIXELS:]
    ink = np.median(pixels.reshape(-1, 3)[strongest], axis=0)
    span = ink - paper
    contrast = float(np.linalg.norm(span))
    if contrast < _MIN_CONTRAST:
        return np.zeros(pixels.shape[:2]), None
    coverage = np.clip((pixels - paper) @ span / contrast**2, 0, 1)
    # What the paper's own unevenness adds up to would otherwise pass for more slots.
    return np.where(coverage < 0.1, 0.0, coverage), ink


def _name_colour(rgb: NDArray[Any], known: dict[str, tuple[int, int, int]], limit: float) -> str | None:
    distances = {name: float(np.linalg.norm(rgb - np.array(value))) for name, value in known.items()}
    nearest = min(distances, key=distances.__getitem__)
    return nearest if distances[nearest] <= limit else None
