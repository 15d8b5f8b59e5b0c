"""Scorers that judge pictures in batches: those that can't be decoded have no data, the rest is judged together."""

from collections.abc import Callable, Sequence

from PIL import Image

from contracts.errors import InvalidInput
from contracts.wire.telemetry import SampledOutput
from evaluation.scorers.picture import decode
from evaluation.scorers.port import Score


def judge_decoded(
    samples: Sequence[SampledOutput], judge: Callable[[list[SampledOutput], list[Image.Image]], list[Score]]
) -> list[Score]:
    """Return one score per sample, in order; ``judge`` is asked for those whose picture is one."""
    scores: dict[int, Score] = {}
    pictures: dict[int, Image.Image] = {}
    for index, sample in enumerate(samples):
        try:
            pictures[index] = decode(sample.image_png)
        except InvalidInput as error:
            scores[index] = Score(None, error.message)
    if pictures:
        judged = judge([samples[index] for index in pictures], list(pictures.values()))
        scores |= dict(zip(pictures, judged, strict=True))
    return [scores[index] for index in range(len(samples))]
