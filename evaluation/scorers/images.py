"""Checks of a picture for itself: decodable, not blank, of the right size, as sharp and as calm as usual."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from contracts.errors import InvalidInput
from contracts.wire.telemetry import SampledOutput
from evaluation.scorers.picture import decode
from evaluation.scorers.port import Score

BLANK_SPREAD: Final = 3.0
"""Grey levels of standard deviation below which a picture shows nothing."""

ASPECT_TOLERANCE: Final = 0.02
CALIBRATED: Final = ("sharpness", "noise", "brightness", "spread")
LEAST_CALIBRATION: Final = 50


@dataclass(frozen=True, slots=True)
class ImageFigures:
    """What is measured of one picture, in grey levels of 0..255.

    ``spread``: standard deviation. ``sharpness``: variance of the Laplacian (Pech-Pacheco et al. 2000).
    ``noise``: standard deviation of the noise by Immerkær's mask (1996). ``brightness``: mean.
    """

    width: int
    height: int
    brightness: float
    spread: float
    sharpness: float
    noise: float


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a sound picture is like: its size or its aspect (width / height), and the usual range of each figure."""

    width: int | None = None
    height: int | None = None
    aspect: float | None = None
    ranges: tuple[tuple[str, float, float], ...] = ()


def measure_picture(picture: Image.Image) -> ImageFigures:
    """Measure one picture."""
    grey = np.asarray(picture.convert("L"), dtype=np.float64)
    # Colours of one lightness are no blank picture: the spread is the largest of the channels'.
    spread = max(float(band.std()) for band in np.moveaxis(np.asarray(picture.convert("RGB"), np.float64), 2, 0))
    return ImageFigures(
        width=picture.width,
        height=picture.height,
        brightness=float(grey.mean()),
        spread=spread,
        sharpness=float(laplacian(grey).var()) if min(grey.shape) > 2 else 0.0,
        noise=estimate_noise(grey) if min(grey.shape) > 2 else 0.0,
    )


def laplacian(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the four-neighbour Laplacian of (h, w), (h - 2, w - 2)."""
    inner = grey[1:-1, 1:-1]
    return np.asarray(grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner)


def estimate_noise(grey: NDArray[np.float64]) -> float:
    """Return Immerkær's estimate of the noise: √(π/2) / 6 times the mean of |grey * [1 -2 1; -2 4 -2; 1 -2 1]|."""
    rows = grey[:-2] - 2 * grey[1:-1] + grey[2:]
    mask = rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]
    return float(np.sqrt(np.pi / 2) / 6 * np.abs(mask).mean())


def calibrate(pictures: Sequence[Image.Image], *, share: float = 0.99) -> Expectation:
    """Return what is usual of a champion's pictures: the range that holds the middle ``share`` of each figure.

    Raises:
        InvalidInput: for fewer than fifty pictures, which say little about what is usual.
    """
    if len(pictures) < LEAST_CALIBRATION:
        raise InvalidInput(
            f"{len(pictures)} pictures can't tell what is usual", hint=f"give {LEAST_CALIBRATION} or more"
        )
    rows = [asdict(measure_picture(picture)) for picture in pictures]
    tails = ((1 - share) / 2, (1 + share) / 2)
    ranges = []
    for name in CALIBRATED:
        low, high = np.quantile([float(row[name]) for row in rows], tails)
        ranges.append((name, float(low), float(high)))
    return Expectation(ranges=tuple(ranges))


class SoundPictureScorer:
    """Scores 1 for a sound picture and 0, with what is wrong, for one that isn't; undecodable bytes score 0 too."""

    name = "image-sound"

    def __init__(self, expected: Expectation = Expectation()) -> None:
        self._expected = expected

    @property
    def digest(self) -> str:
        """SHA-256 over what is expected and the thresholds."""
        settings = json.dumps([asdict(self._expected), BLANK_SPREAD, ASPECT_TOLERANCE], sort_keys=True)
        return "sha256:" + hashlib.sha256(settings.encode()).hexdigest()

    def score(self, samples: Sequence[SampledOutput]) -> list[Score]:
        """Judge every picture."""
        return [self._score_one(sample.image_png) for sample in samples]

    def _score_one(self, image_png: bytes) -> Score:
        try:
            figures = measure_picture(decode(image_png))
        except InvalidInput as error:
            return Score(0.0, error.message)
        faults = find_faults(figures, self._expected)
        return Score(0.0, "; ".join(faults)) if faults else Score(1.0)


def find_faults(figures: ImageFigures, expected: Expectation) -> list[str]:
    """Return what is wrong with a picture, in words."""
    faults = []
    if figures.spread < BLANK_SPREAD:
        faults.append(f"blank: its spread is {figures.spread:.2g} grey levels")
    for side, wanted in (("width", expected.width), ("height", expected.height)):
        if wanted is not None and getattr(figures, side) != wanted:
            faults.append(f"{side} {getattr(figures, side)} instead of {wanted}")
    aspect = figures.width / figures.height
    if expected.aspect is not None and abs(aspect / expected.aspect - 1) > ASPECT_TOLERANCE:
        faults.append(f"aspect {aspect:.3g} instead of {expected.aspect:.3g}")
    values: Mapping[str, float] = asdict(figures)
    for name, low, high in expected.ranges:
        if not low <= values[name] <= high:
            faults.append(f"{name} {values[name]:.3g} outside the usual {low:.3g} to {high:.3g}")
    return faults
