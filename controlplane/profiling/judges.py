"""Judges of quality while a version is profiled or tuned: scorers of the evaluation house, and what is to be drawn."""

from dataclasses import dataclass
from pathlib import Path

from contracts.errors import InvalidInput
from contracts.ids import VersionId
from controlplane.optimise.quality import TAG_SCORERS, GoldenScorer
from evaluation.prompts.reading import read_prompt_set
from evaluation.scorers.kinds import ScorerChoice, make_scorer
from registry.golden import PROMPTS


@dataclass(frozen=True)
class Asked:
    """What is drawn, and who judges it; nobody when only time and memory are wanted."""

    prompts: tuple[str, ...] = PROMPTS
    judge: "ScorerJudge | None" = None


class ScorerJudge(GoldenScorer):
    """A scorer of the evaluation house as a judge: it gets the picture, the prompt, and nothing of the version."""

    @property
    def digest(self) -> str:
        """Identity of the scorer's content."""
        return self.scorer.digest


def choose_judge(version: VersionId, scorer: str | None, prompts: Path | None, count: int) -> Asked:
    """Return what to draw and who judges it, from a scorer as people write it and a prompt set's file.

    Raises:
        InvalidInput: when the scorer or the file can't be used, or the scorer needs prompts and there are none.
        Unavailable: when what the scorer needs isn't there.
    """
    if count < 1:
        raise InvalidInput(f"count: {count} prompts can't be judged", hint="give a number from 1")
    texts = tuple(prompt.text for prompt in read_prompt_set(prompts).prompts) if prompts is not None else ()
    if scorer is None:
        return Asked(texts or PROMPTS)
    choice = ScorerChoice.parse(scorer)
    judge = ScorerJudge(make_scorer(choice), version)
    if not texts and choice.kind in TAG_SCORERS:
        from evaluation.price_tags.grammar import figure_prompts

        texts = tuple(figure_prompts(count))
    if not texts:
        raise InvalidInput(
            f"prompts: {judge.name} needs prompts to judge", hint="give a prompt set with --prompts FILE"
        )
    return Asked(texts[:count], judge)
