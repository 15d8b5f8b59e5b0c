"""Near duplicates: one picture given for different prompts, as a broken cache or a collapsed model does."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import numpy as np
from PIL import Image

from contracts.wire.telemetry import SampledOutput
from evaluation.scorers.decoding import judge_decoded
from evaluation.scorers.port import Score

EDGE: Final = 16
BITS: Final = EDGE * EDGE
NEAR_BITS: Final = 8
REMEMBERED: Final = 4096


def dhash(picture: Image.Image) -> int:
    """Return the difference hash of 256 bits: whether each cell of 16×17 is lighter than its left neighbour.

    N. Krawetz, "Kind of Like That" (2013). A picture of one colour has the hash zero.
    """
    cells = np.asarray(picture.convert("L").resize((EDGE + 1, EDGE), Image.Resampling.BOX), dtype=np.int16)
    bits = (cells[:, 1:] > cells[:, :-1]).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


class UniquePictureScorer:
    """Scores 0 when nearly the same picture was given before for another prompt, else 1.

    It remembers the last 4096 pictures it saw, so its scores depend on the order and are never cached. Colours are
    not looked at. Blank pictures are not judged: that they are alike says nothing more.
    """

    name = "image-unique"
    digest = "sha256:" + hashlib.sha256(f"dhash {EDGE} {NEAR_BITS} {REMEMBERED}".encode()).hexdigest()

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, int], None] = OrderedDict()

    def score(self, samples: Sequence[SampledOutput]) -> list[Score]:
        """Judge pictures in their order."""
        return judge_decoded(samples, self._judge)

    def _judge(self, samples: list[SampledOutput], pictures: list[Image.Image]) -> list[Score]:
        return [
            self._judge_one(sample.prompt, dhash(picture)) for sample, picture in zip(samples, pictures, strict=True)
        ]

    def _judge_one(self, prompt: str, found: int) -> Score:
        if not found:
            return Score(None, "the picture shows nothing to tell it by")
        twin = next(
            (text for text, seen in self._seen if text != prompt and (seen ^ found).bit_count() <= NEAR_BITS), None
        )
        self._seen[prompt, found] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return Score(1.0) if twin is None else Score(0.0, f"nearly the picture given for {twin[:80]!r}")
