"""Price tags: whether a picture shows the digits, and the colours, that its prompt asked for."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from contracts.errors import InvalidInput
from contracts.wire.telemetry import SampledOutput
from evaluation.price_tags.grammar import parse_prompt
from evaluation.price_tags.reader import Reading, TagReader, load_reader
from evaluation.scorers.picture import decode
from evaluation.scorers.port import Score

READER = Path(__file__).parents[1] / "price_tags"


class TagTextScorer:
    """Scores 1 when the whole string is read as asked, else 0; a picture from which nothing can be read scores 0.

    A prompt outside the grammar, or bytes that are no price tag, give no score: the reader can't judge them.
    """

    name = "text-accuracy"

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the reader's weights and the code that reads."""
        content = hashlib.sha256()
        for name in ("reader.py", "grammar.py", "render.py", "reader.npz"):
            content.update((READER / name).read_bytes())
        return f"sha256:{content.hexdigest()}"

    @cached_property
    def _reader(self) -> TagReader:
        return load_reader()

    def score(self, samples: Sequence[SampledOutput]) -> list[Score]:
        """Read every picture and compare with its prompt."""
        return [self._score_one(sample) for sample in samples]

    def _score_one(self, sample: SampledOutput) -> Score:
        asked = parse_prompt(sample.prompt)
        if asked is None:
            return Score(None, "the prompt is outside the grammar of price tags")
        reading = self._read(sample.image_png)
        if isinstance(reading, Score):
            return reading
        shown = reading.digits or "nothing"
        return Score(1.0) if reading.digits == asked.digits else Score(0.0, f"asked {asked.digits}, shows {shown}")

    def _read(self, image_png: bytes) -> Reading | Score:
        """Return what is read from a picture, or no data with the reason."""
        try:
            return self._reader.read(decode(image_png).convert("RGB"))
        except InvalidInput as error:
            return Score(None, f"not a price tag: {error.message}")


class TagColourScorer(TagTextScorer):
    """Scores 1 when ink and paper both have the colours asked for, ½ for one of them, 0 for neither."""

    name = "tag-colours"

    def _score_one(self, sample: SampledOutput) -> Score:
        asked = parse_prompt(sample.prompt)
        if asked is None:
            return Score(None, "the prompt is outside the grammar of price tags")
        reading = self._read(sample.image_png)
        if isinstance(reading, Score):
            return reading
        wrong = [
            f"{what} {shown or 'of no known colour'} instead of {wanted}"
            for what, shown, wanted in (("ink", reading.ink, asked.ink), ("paper", reading.paper, asked.paper))
            if shown != wanted
        ]
        return Score(1.0 - len(wrong) / 2, ", ".join(wrong))
