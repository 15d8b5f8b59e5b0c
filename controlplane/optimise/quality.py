"""Quality of golden pictures: a scorer of the evaluation house behind the registry's port, and which prompts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from contracts.ids import VersionId
from contracts.wire.telemetry import SampledOutput
from evaluation.scorers.kinds import ScorerChoice, make_scorer
from evaluation.scorers.port import Scorer
from registry.golden import PROMPTS

TAG_SCORERS = frozenset({"text-accuracy", "tag-colours"})
TAG_PROMPTS = 64


@dataclass(frozen=True)
class GoldenScorer:
    """A scorer that is shown golden pictures as if they were sampled from traffic."""

    scorer: Scorer
    version: VersionId

    @property
    def name(self) -> str:
        """The scorer's own name."""
        return self.scorer.name

    def score(self, prompts: Sequence[str], pictures: Sequence[bytes]) -> list[float | None]:
        """Return each picture's score, None where the scorer has no data."""
        samples = [
            SampledOutput(
                service="golden",
                version=self.version,
                request_id=f"golden-{number}",
                lane="default",
                prompt=prompt,
                seed=0,
                at_s=0.0,
                image_png=picture,
            )
            for number, (prompt, picture) in enumerate(zip(prompts, pictures, strict=True))
        ]
        return [score.value for score in self.scorer.score(samples)]


def choose_scorer(text: str, version: VersionId) -> GoldenScorer:
    """Return the scorer that a person names, ``KIND`` or ``KIND:OPTION=VALUE``.

    Raises:
        InvalidInput: when there is none of that name, or an option is wrong.
        Unavailable: when what it needs isn't there.
    """
    return GoldenScorer(make_scorer(ScorerChoice.parse(text)), version)


def choose_prompts(file: Path | None, scorer: str) -> tuple[str, ...]:
    """Return the prompts of a file, or else those that the scorer can judge: price tags for a reader of price tags.

    Raises:
        InvalidInput: when the file can't be read or holds none.
    """
    if file is not None:
        from evaluation.prompts.reading import read_prompt_set

        return tuple(prompt.text for prompt in read_prompt_set(file).prompts)
    if scorer in TAG_SCORERS:
        from evaluation.price_tags.grammar import figure_prompts

        return tuple(figure_prompts(TAG_PROMPTS))
    return PROMPTS
