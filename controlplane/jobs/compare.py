"""The job that compares two versions on the same prompts and seeds; see `controlplane.evaluation.comparing`."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from contracts.ids import VersionRef
from controlplane.jobs.arguments import Arguments, PromptFile, Reference, Scorers, Share, find_prompts
from controlplane.jobs.context import JobContext


class CompareArguments(Arguments):
    """What to compare, and by what: as the options of ``roost eval compare``."""

    one: Reference
    other: Reference
    prompts: PromptFile
    scorers: Scorers = ()
    tolerance: Share = "5%"
    alpha: Share = "1%"
    max_pairs: Annotated[int, Field(ge=1)] | None = None


def run(context: JobContext, arguments: dict[str, Any]) -> dict[str, Any]:
    """Compare, and keep the result where a rollout's precondition finds it."""
    return dict(context.step("compared", lambda: _compare(context, CompareArguments.model_validate(arguments))))


def _compare(context: JobContext, asked: CompareArguments) -> dict[str, Any]:
    from contracts.units import parse_fraction
    from controlplane.evaluation.comparing import choose_scorers, compare_versions
    from controlplane.settings import Settings
    from evaluation.prompts.reading import read_prompt_set

    settings = Settings(Path(context.home))
    prompts = read_prompt_set(find_prompts(settings.prompts, asked.prompts))

    def tell(done: int, planned: int) -> None:
        context.report(done / planned, f"{done} of at most {planned} pairs")

    context.report(0.0, f"starting {asked.one} and {asked.other}")
    found = compare_versions(
        settings,
        (VersionRef.parse(asked.one), VersionRef.parse(asked.other)),
        prompts,
        choose_scorers(prompts, asked.scorers),
        tolerance=parse_fraction(asked.tolerance),
        alpha=parse_fraction(asked.alpha),
        max_pairs=asked.max_pairs,
        tell=tell,
    )
    return found.comparison.to_document() | {"run_id": found.record.run_id if found.record else None}
