"""The reader's own ceiling: known-good pictures, drawn here, style by style.

A model can't be found better than its reader can see. Failures on these pictures are the reader's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from evaluation.scorers.intervals import wilson
from evaluation.scorers.text.scorer import OcrDesk

SIDE: Final = 512
FONT_PIXELS: Final = 64
SMALL_PIXELS: Final = 20
SEED: Final = 2026
WORDS: Final = (
    "market",
    "coffee",
    "garden",
    "summer",
    "window",
    "bridge",
    "silver",
    "winter",
    "orange",
    "planet",
    "forest",
    "castle",
    "marble",
    "velvet",
    "harbour",
)

Grey = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What the reader finds on ``n`` known-good pictures of one style; means of the three measures.

    ``low`` and ``high`` bound the word recall with 95 % confidence (Wilson).
    """

    style: str
    n: int
    words: float
    lines: float
    edits: float
    confidence: float
    low: float
    high: float


def _plain(picture: Grey, rng: np.random.Generator) -> Grey:
    return picture


def _blurred(picture: Grey, rng: np.random.Generator) -> Grey:
    image = Image.fromarray(picture.astype(np.uint8)).filter(ImageFilter.GaussianBlur(4))
    return np.asarray(image, dtype=np.float64)


def _gradient(picture: Grey, rng: np.random.Generator) -> Grey:
    ramp = np.linspace(-170.0, 0.0, SIDE)[None, :]
    return np.where(picture < 128, picture, picture + ramp)


def _textured(picture: Grey, rng: np.random.Generator) -> Grey:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    weave = 40 * np.sin(rows / 5.0) + 40 * np.sin(columns / 7.0)
    return np.asarray(picture * 0.5 + 60 + weave)


def _noisy(picture: Grey, rng: np.random.Generator) -> Grey:
    return picture + rng.normal(0.0, 90.0, picture.shape)


def _tilted(picture: Grey, rng: np.random.Generator) -> Grey:
    image = Image.fromarray(picture.astype(np.uint8)).rotate(12, Image.Resampling.BICUBIC, fillcolor=245)
    return np.asarray(image, dtype=np.float64)


STYLES: Final[dict[str, tuple[int, Callable[[Grey, np.random.Generator], Grey]]]] = {
    "plain": (FONT_PIXELS, _plain),
    "small": (SMALL_PIXELS, _plain),
    "blurred": (FONT_PIXELS, _blurred),
    "gradient": (FONT_PIXELS, _gradient),
    "textured": (FONT_PIXELS, _textured),
    "noisy": (FONT_PIXELS, _noisy),
    "tilted": (FONT_PIXELS, _tilted),
}


def draw_known(style: str, n: int, seed: int = SEED) -> list[tuple[str, Image.Image]]:
    """Draw ``n`` pictures of two words each in one style, with their texts; the same for the same seed."""
    pixels, change = STYLES[style]
    rng = np.random.default_rng([seed, list(STYLES).index(style)])
    known = []
    for _ in range(n):
        text = " ".join(rng.choice(WORDS, size=2, replace=False))
        drawn = change(_write(text, pixels), rng)
        known.append((text, Image.fromarray(np.clip(drawn, 0, 255).astype(np.uint8))))
    return known


def measure_ceiling(desk: OcrDesk, *, n: int = 12, styles: Sequence[str] = tuple(STYLES)) -> list[Ceiling]:
    """Let the reader read ``n`` known-good pictures of each style."""
    ceilings = []
    for style in styles:
        judged = [desk.judge(picture, [text]) for text, picture in draw_known(style, n)]
        words = float(np.mean([agreement.words for agreement, _ in judged]))
        low, high = wilson(words, 2 * n)
        ceilings.append(
            Ceiling(
                style=style,
                n=n,
                words=words,
                lines=float(np.mean([agreement.lines for agreement, _ in judged])),
                edits=float(np.mean([agreement.edits for agreement, _ in judged])),
                confidence=float(np.mean([reading.confidence for _, reading in judged])),
                low=low,
                high=high,
            )
        )
    return ceilings


def _write(text: str, pixels: int) -> Grey:
    """Write the words of a text in black on near-white, one under another, in the font that comes with Pillow."""
    image = Image.new("L", (SIDE, SIDE), 245)
    pen = ImageDraw.Draw(image)
    font = ImageFont.load_default(pixels)
    pen.multiline_text((SIDE / 2, SIDE / 2), text.replace(" ", "\n"), 15, font, anchor="mm", align="center", spacing=20)
    return np.asarray(image, dtype=np.float64)
