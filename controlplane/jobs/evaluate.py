"""The job that draws a prompt set with one version and scores what it drew, a part at a time."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contracts.ids import VersionId, VersionRef
from contracts.wire.telemetry import SampledOutput
from controlplane.jobs.arguments import Arguments, PromptFile, Reference, Scorers, find_prompts
from controlplane.jobs.context import JobContext
from evaluation.scorers.port import Score

if TYPE_CHECKING:
    from controlplane.evaluation.painter import WorkerPainter
    from evaluation.prompts.prompt_set import Prompt
    from evaluation.scorers.port import Scorer as ScorerPort

PROMPTS_A_STEP = 16


class EvaluateArguments(Arguments):
    """A version, a prompt set, and the scorers; those that the set names otherwise."""

    version: Reference
    prompts: PromptFile
    scorers: Scorers = ()


def run(context: JobContext, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return each scorer's mean with its interval; parts that an earlier attempt scored are not drawn again."""
    from controlplane.evaluation.comparing import choose_scorers, make_scorers, open_catalogue
    from controlplane.evaluation.painter import lone_painter
    from controlplane.settings import Settings
    from evaluation.prompts.reading import read_prompt_set
    from evaluation.scorers.pictures_folder import summarise_scores

    asked = EvaluateArguments.model_validate(arguments)
    settings = Settings(Path(context.home))
    prompts = read_prompt_set(find_prompts(settings.prompts, asked.prompts))
    scorers = make_scorers(choose_scorers(prompts, asked.scorers))
    catalogue = open_catalogue(settings)
    version = catalogue.get(VersionRef.parse(asked.version)).id
    context.report(0.0, f"starting {version}")
    found: dict[str, list[Score]] = {scorer.name: [] for scorer in scorers}
    with lone_painter(catalogue, version, logs=settings.logs / "evaluation") as painter:
        for begin in range(0, len(prompts.prompts), PROMPTS_A_STEP):
            part = prompts.prompts[begin : begin + PROMPTS_A_STEP]
            judged = context.step(f"{version}-{begin}", partial(_judge, painter, part, version, scorers))
            for name, scores in judged.items():
                found[name] += [Score(*score) for score in scores]
            context.report(
                (begin + len(part)) / len(prompts.prompts), f"{begin + len(part)} of {len(prompts.prompts)} drawn"
            )
    return {
        "version": str(version),
        "prompts": {"name": prompts.name, "version": prompts.version, "digest": prompts.digest},
        "scorers": [asdict(summarise_scores(scorer, found[scorer.name])) for scorer in scorers],
    }


def _judge(
    painter: "WorkerPainter", prompts: "Sequence[Prompt]", version: VersionId, scorers: "Sequence[ScorerPort]"
) -> dict[str, list[tuple[float | None, str]]]:
    """Draw some prompts and return each scorer's values with reasons; what was not drawn has none."""
    drawings = [painter.draw(prompt) for prompt in prompts]
    outputs = [
        SampledOutput(
            service="evaluation",
            version=version,
            request_id=prompt.id,
            lane=prompt.lane,
            prompt=prompt.text,
            seed=prompt.seed,
            at_s=0.0,
            image_png=drawing.image_png,
        )
        for prompt, drawing in zip(prompts, drawings, strict=True)
        if drawing.image_png is not None
    ]
    judged = {}
    for scorer in scorers:
        scores = iter(scorer.score(outputs))
        found = [Score(None, d.failure) if d.image_png is None else next(scores) for d in drawings]
        judged[scorer.name] = [(score.value, score.reason) for score in found]
    return judged
