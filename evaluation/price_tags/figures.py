"""What a set of generated tags is worth: text, colours, confidence and likeness to real digits."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Final

import numpy as np

from contracts.errors import InvalidInput
from evaluation.price_tags.frechet import FeatureSpread, measure_distance, summarise
from evaluation.price_tags.grammar import TagText, is_withheld, parse_prompt, sample_texts
from evaluation.price_tags.reader import Picture, Reading, TagReader
from evaluation.price_tags.render import draw_tags

_REFERENCE_SEED: Final = 64
_REFERENCE_TAGS: Final = 2048
_CEILING_SEED: Final = 65


@dataclass(frozen=True, slots=True)
class TagFigures:
    """Figures of n pictures; a figure for which there is nothing to measure is None, never zero."""

    n: int
    exact: float
    """Share of pictures from which the whole string was read as asked."""

    digit: float
    """Share of digits asked for that were read in their place."""

    ink: float
    """Share of pictures with the ink asked for; a colour of no known name counts as wrong."""

    paper: float
    """Share of pictures with the paper asked for."""

    unread: float
    """Share of pictures from which nothing could be read."""

    confidence: float | None
    """Mean confidence of the reader, over the pictures read."""

    frechet: float | None
    """Fréchet distance of the digits read to real train digits, in the reader's hidden layer."""

    frechet_n: int
    """Digits behind `frechet`; distances compare only at like n."""

    exact_withheld: float | None
    """`exact` over the prompts whose string was kept out of training."""

    withheld_n: int

    def to_dict(self) -> dict[str, float | int | None]:
        """Give the figures as plain numbers."""
        return asdict(self)


def measure(
    images: Sequence[Picture], prompts: Sequence[str], reader: TagReader, reference: FeatureSpread
) -> TagFigures:
    """Measure pictures against the prompts that asked for them.

    `reference` is the spread of real digits (`load_reference`). Raises InvalidInput when the
    numbers differ, are zero, or a prompt is outside the grammar.
    """
    if len(images) != len(prompts) or not prompts:
        raise InvalidInput(
            f"{len(images)} pictures for {len(prompts)} prompts",
            hint="give one picture for each prompt, and at least one",
        )
    return _compare([reader.read(image) for image in images], _parse_all(prompts), reference)


def measure_ceiling(prompts: Sequence[str], reader: TagReader, reference: FeatureSpread) -> TagFigures:
    """Measure the same figures for real held-out digits drawn as the prompts ask: what the reader can reach."""
    tags = draw_tags(_parse_all(prompts), "test", np.random.default_rng(_CEILING_SEED))
    return measure(list(tags), prompts, reader, reference)


@cache
def load_reference(reader: TagReader) -> FeatureSpread:
    """Give the spread of the reader's features over 2048 tags of real train digits; drawn once in a process."""
    rng = np.random.default_rng(_REFERENCE_SEED)
    tags = draw_tags(sample_texts(_REFERENCE_TAGS, rng), "train", rng)
    return summarise(np.concatenate([reader.read(tag).features for tag in tags]))


def _parse_all(prompts: Sequence[str]) -> list[TagText]:
    texts: list[TagText] = []
    for prompt in prompts:
        text = parse_prompt(prompt)
        if text is None:
            raise InvalidInput(
                f"prompt outside the grammar of price tags: {prompt!r}",
                hint='ask for one to four digits, such as "price tag 427 in red ink on yellow paper"',
            )
        texts.append(text)
    return texts


def _compare(readings: list[Reading], texts: list[TagText], reference: FeatureSpread) -> TagFigures:
    pairs = list(zip(readings, texts, strict=True))
    right = [read.digits == text.digits for read, text in pairs]
    withheld = [hit for hit, text in zip(right, texts, strict=True) if is_withheld(text.digits)]
    in_place = sum(a == b for read, text in pairs for a, b in zip(read.digits, text.digits, strict=False))
    read = [reading for reading in readings if reading.digits]
    features = np.concatenate([reading.features for reading in readings])
    enough = len(features) > 1
    return TagFigures(
        n=len(pairs),
        exact=float(np.mean(right)),
        digit=in_place / sum(len(text.digits) for text in texts),
        ink=float(np.mean([reading.ink == text.ink for reading, text in pairs])),
        paper=float(np.mean([reading.paper == text.paper for reading, text in pairs])),
        unread=1 - len(read) / len(pairs),
        confidence=float(np.mean([reading.confidence for reading in read])) if read else None,
        frechet=measure_distance(summarise(features), reference) if enough else None,
        frechet_n=len(features),
        exact_withheld=float(np.mean(withheld)) if withheld else None,
        withheld_n=len(withheld),
    )
