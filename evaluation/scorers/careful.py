"""A wrapper that keeps one bad sample, or a scorer that breaks, from taking the rest along."""

import math
from collections.abc import Sequence

from contracts.wire.telemetry import SampledOutput
from evaluation.scorers.port import Score, Scorer

LONGEST_REASON = 200


class CarefulScorer:
    """Gives no data, with the reason, where the scorer inside raises or answers what is no score.

    A batch that fails is judged again one by one, so that only the samples at fault have no data.
    """

    def __init__(self, inner: Scorer) -> None:
        self._inner = inner

    @property
    def name(self) -> str:
        """The name of the scorer inside."""
        return self._inner.name

    @property
    def digest(self) -> str:
        """The digest of the scorer inside."""
        return self._inner.digest

    def score(self, samples: Sequence[SampledOutput]) -> list[Score]:
        """Return one score for each sample; never raises for a sample's sake."""
        if not samples:
            return []
        try:
            scores = self._inner.score(samples)
        except Exception as error:  # noqa: BLE001 - whatever a scorer raises means that there is no data
            if len(samples) == 1:
                return [Score(None, f"{type(error).__name__}: {error}"[:LONGEST_REASON])]
            return [score for sample in samples for score in self.score([sample])]
        if len(scores) != len(samples):
            return [Score(None, f"{self.name} gave {len(scores)} scores for {len(samples)} outputs") for _ in samples]
        return [check_score(score) for score in scores]


def check_score(score: Score) -> Score:
    """Return the score, or no data when its value is NaN or outside [0, 1]."""
    if score.value is None:
        return score if score.reason else Score(None, "the scorer gave no reason")
    if math.isnan(score.value):
        return Score(None, score.reason or "the scorer gave NaN")
    if not 0.0 <= score.value <= 1.0:
        return Score(None, f"the scorer gave {score.value!r}, which is not between 0 and 1")
    return score
