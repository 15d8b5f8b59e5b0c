"""Golden prompts: the same prompts and seeds drawn by two versions, compared picture by picture.

A version that was made from another by a recipe must draw what that one draws; libraries that load random weights with
a warning, or answer with black pictures, raise no error.
"""

import hashlib
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from contracts.errors import InvalidInput

LEAST_PSNR_DB: Final = 40.0
"""Below this, pictures differ visibly; every eight-bit recipe that was tried on whole pipelines stays above."""

LARGEST_LOSS: Final = 0.05
BLANK_LEVELS: Final = 2
"""A picture whose levels, of 256, all lie within so many is blank: black as a rule, from numbers that are none."""

PROMPTS: Final = (
    "a photograph of a red bicycle in front of a white wall",
    "price tag 427 in red ink on yellow paper",
    "three green apples and one lemon on a wooden table",
    "a watercolour of a lighthouse at dusk",
    "the digits 4 2 7",
    "a portrait of an old woman, smiling, black and white",
    "a handwritten seven",
    "a street at night in the rain, neon signs",
)


class PictureScorer(Protocol):
    """Judges pictures by their prompts; how is for whoever hands it in to know."""

    @property
    def name(self) -> str:
        """What it measures."""
        ...

    def score(self, prompts: Sequence[str], pictures: Sequence[bytes]) -> list[float | None]:
        """Return a number in [0, 1] for each picture (PNG), the higher the better; None where it can't judge."""
        ...


@dataclass(frozen=True)
class GoldenSet:
    """Prompts with the seeds that they are drawn from."""

    prompts: tuple[str, ...]
    seeds: tuple[int, ...]

    @classmethod
    def of(cls, prompts: Sequence[str], first_seed: int = 427) -> "GoldenSet":
        """Return prompts with seeds that count up from the first.

        Raises:
            InvalidInput: when there is no prompt.
        """
        if not prompts:
            raise InvalidInput("prompts: there is none", hint="give at least one golden prompt")
        return cls(tuple(prompts), tuple(range(first_seed, first_seed + len(prompts))))

    @property
    def digest(self) -> str:
        """SHA-256 over prompts and seeds."""
        text = json.dumps([self.prompts, self.seeds], ensure_ascii=False)
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


@dataclass(frozen=True)
class Difference:
    """How far pictures are from those of a reference at the same prompts and seeds, in levels of 0 to 255.

    PSNR is 10·log10(255² / mean squared difference), over all pictures together and for the worst; None where they are
    identical. ``blank`` are the numbers of pictures in which nothing is drawn.
    """

    pictures: int
    identical: int
    psnr_db: float | None
    worst_psnr_db: float | None
    largest_difference: int
    blank: tuple[int, ...]


@dataclass(frozen=True)
class Quality:
    """A scorer's mean on both, over the pictures that it could judge of both."""

    scorer: str
    judged: int
    before: float
    after: float

    @property
    def change(self) -> float:
        """What the recipe did to quality; negative for a loss."""
        return self.after - self.before


def measure_difference(reference: Sequence[bytes], made: Sequence[bytes]) -> Difference:
    """Compare pictures (PNG) in order.

    Raises:
        InvalidInput: when their numbers or sizes differ.
    """
    if len(reference) != len(made) or not made:
        raise InvalidInput(f"{len(made)} golden pictures, {len(reference)} of the reference")
    errors: list[float] = []
    largest, blank = 0, []
    for number, (one, other) in enumerate(zip(reference, made, strict=True)):
        before, after = _read(one), _read(other)
        if before.shape != after.shape:
            raise InvalidInput(f"golden picture {number} is of another size: {after.shape[:2]}, was {before.shape[:2]}")
        difference = np.abs(after - before)
        largest = max(largest, int(difference.max()))
        errors.append(float(np.square(difference, dtype=np.float64).mean()))
        if int(after.max()) - int(after.min()) <= BLANK_LEVELS:
            blank.append(number)
    return Difference(
        pictures=len(made),
        identical=errors.count(0.0),
        psnr_db=_psnr(sum(errors) / len(errors)),
        worst_psnr_db=_psnr(max(errors)),
        largest_difference=largest,
        blank=tuple(blank),
    )


def is_blank(picture: bytes) -> bool:
    """Tell whether nothing is drawn in a picture (PNG)."""
    pixels = _read(picture)
    return int(pixels.max()) - int(pixels.min()) <= BLANK_LEVELS


def measure_quality(
    scorer: PictureScorer, prompts: Sequence[str], before: Sequence[bytes], after: Sequence[bytes]
) -> Quality | None:
    """Score the pictures of both versions; None when no picture could be judged in both."""
    scores = zip(scorer.score(prompts, before), scorer.score(prompts, after), strict=True)
    pairs = [(one, other) for one, other in scores if one is not None and other is not None]
    if not pairs:
        return None
    before_sum, after_sum = (sum(column) for column in zip(*pairs, strict=True))
    return Quality(scorer.name, len(pairs), before_sum / len(pairs), after_sum / len(pairs))


def find_faults(
    difference: Difference,
    quality: Quality | None,
    *,
    least_psnr_db: float = LEAST_PSNR_DB,
    largest_loss: float = LARGEST_LOSS,
) -> list[str]:
    """List in words why a version does not pass its golden prompts; empty when it does."""
    faults = []
    if difference.blank:
        numbers = ", ".join(map(str, difference.blank[:5]))
        faults.append(f"{len(difference.blank)} of {difference.pictures} golden pictures are blank (numbers {numbers})")
    if difference.psnr_db is not None and difference.psnr_db < least_psnr_db:
        faults.append(
            f"the golden pictures differ by {difference.psnr_db:.1f} dB PSNR, at least {least_psnr_db:g} dB is wanted"
        )
    if quality is not None and quality.change < -largest_loss:
        faults.append(
            f"{quality.scorer} falls from {quality.before:.3f} to {quality.after:.3f} on {quality.judged} golden "
            f"prompts, by more than {largest_loss:g}"
        )
    return faults


def _read(png: bytes) -> NDArray[np.int16]:
    from PIL import Image

    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture.convert("RGB"), dtype=np.int16)


def _psnr(mean_squared_error: float) -> float | None:
    return 10 * math.log10(255**2 / mean_squared_error) if mean_squared_error else None
