"""Image–text alignment: the CLIP score."""

from collections.abc import Sequence

from PIL import Image

from contracts.wire.telemetry import SampledOutput
from evaluation.scorers.clip import ClipModel
from evaluation.scorers.decoding import judge_decoded
from evaluation.scorers.port import Score


class AlignmentScorer:
    """The cosine of picture and prompt in CLIP's space, clipped at zero; a hundredth of the CLIP score of MLPerf.

    Without the factor 2.5 of Hessel et al. 2021 ("CLIPScore"). Values of two CLIP folders don't compare.
    """

    name = "clip-alignment"

    def __init__(self, clip: ClipModel) -> None:
        self._clip = clip

    @property
    def digest(self) -> str:
        """The CLIP folder's digest."""
        return self._clip.digest

    def score(self, samples: Sequence[SampledOutput]) -> list[Score]:
        """Judge every picture that can be decoded."""
        return judge_decoded(samples, self._judge)

    def _judge(self, samples: list[SampledOutput], pictures: list[Image.Image]) -> list[Score]:
        shown = self._clip.embed_pictures(pictures)
        asked = self._clip.embed_texts([sample.prompt for sample in samples])
        cosines = (shown * asked).sum(axis=1)
        return [Score(float(min(max(cosine, 0.0), 1.0))) for cosine in cosines]
