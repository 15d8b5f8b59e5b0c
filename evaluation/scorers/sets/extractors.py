"""Feature extractors: pictures to vectors, each with a digest that its distances are bound to."""

import hashlib
from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluation.price_tags.reader import load_reader
from evaluation.scorers.clip import ClipModel
from evaluation.scorers.price_tags import TagTextScorer

Floats = NDArray[np.float64]
PATCH_EDGE: Final = 16


class FeatureExtractor(Protocol):
    """Turns a picture into one vector, or into none when it sees nothing there."""

    @property
    def name(self) -> str:
        """The name that figures carry."""
        ...

    @property
    def digest(self) -> str:
        """Identity of weights and settings; distances of two digests don't compare."""
        ...

    def extract(self, pictures: Sequence[Image.Image]) -> Floats:
        """Return vectors (n, d); a picture may give no row, or several."""
        ...


class ClipFeatures:
    """CLIP's image embeddings, as CMMD wants them."""

    name = "clip"

    def __init__(self, clip: ClipModel) -> None:
        self._clip = clip

    @property
    def digest(self) -> str:
        """The CLIP folder's digest."""
        return self._clip.digest

    def extract(self, pictures: Sequence[Image.Image]) -> Floats:
        """Return one unit vector per picture."""
        return self._clip.embed_pictures(pictures)


class TagFeatures:
    """The hidden layer of the price-tag reader, one row of 64 per digit."""

    name = "price-tags"

    @property
    def digest(self) -> str:
        """The digest of the reader: weights and code."""
        return TagTextScorer().digest

    def extract(self, pictures: Sequence[Image.Image]) -> Floats:
        """Return one row per digit that was read."""
        reader = load_reader()
        rows = [reader.read(picture.convert("RGB")).features for picture in pictures]
        return np.concatenate(rows) if rows else np.empty((0, 0))


class PixelFeatures:
    """The plain alternative where there are no weights: a picture of 16×16 cells and the spread in each, per channel.

    It sees layout, colours and roughness, not content.
    """

    name = "pixels"
    digest = "sha256:" + hashlib.sha256(f"cells {PATCH_EDGE}".encode()).hexdigest()

    def extract(self, pictures: Sequence[Image.Image]) -> Floats:
        """Return one row of 16·16·3·2 numbers in [0, 1] per picture."""
        rows = [_cells(picture) for picture in pictures]
        return np.stack(rows) if rows else np.empty((0, PATCH_EDGE * PATCH_EDGE * 6))


def _cells(picture: Image.Image) -> Floats:
    size = (PATCH_EDGE, PATCH_EDGE)
    bands = np.asarray(picture.convert("RGB"), dtype=np.float64) / 255
    square = np.square(bands)
    means, squares = (np.stack([_shrink(band, size) for band in np.moveaxis(part, 2, 0)]) for part in (bands, square))
    spread = np.sqrt(np.maximum(squares - np.square(means), 0.0))
    return np.concatenate([means.ravel(), spread.ravel()])


def _shrink(band: Floats, size: tuple[int, int]) -> Floats:
    return np.asarray(Image.fromarray(band.astype(np.float32)).resize(size, Image.Resampling.BOX), dtype=np.float64)
