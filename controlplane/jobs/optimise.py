"""The job that makes a version smaller or faster; see `controlplane.optimise.job`."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from contracts.errors import NotFound
from contracts.ids import VersionRef
from controlplane.jobs.arguments import Arguments, Device, PromptFile, Reference, Scorer, TimeBudget, find_prompts
from controlplane.jobs.context import JobContext

if TYPE_CHECKING:
    from registry.catalogue import VersionRecord
    from registry.mlflow_catalogue import MlflowCatalogue


class OptimiseArguments(Arguments):
    """What to make from what, and what must hold: as the options of ``roost model optimize``."""

    version: Reference
    recipe: Annotated[str, Field(min_length=1, max_length=200)]
    device: Device = "cpu"
    prompts: PromptFile | None = None
    scorer: Scorer | None = None
    least_psnr_db: Annotated[float, Field(ge=0, le=100)] = 40.0
    largest_loss: Annotated[float, Field(ge=0, le=1)] = 0.05
    require_gain: bool = False
    timing_budget_s: TimeBudget = 60.0


def run(context: JobContext, arguments: dict[str, Any]) -> dict[str, Any]:
    """Make, prove and register a version; what an earlier attempt registered and told of is not made again."""
    from controlplane.evaluation.comparing import open_catalogue
    from controlplane.optimise.job import OptimisePlan, optimise
    from controlplane.optimise.progress import share_done
    from controlplane.optimise.quality import choose_prompts, choose_scorer
    from controlplane.settings import Settings
    from registry.recipes.names import read_recipes, write_recipes

    asked = OptimiseArguments.model_validate(arguments)
    settings = Settings(Path(context.home))
    recipe = write_recipes(read_recipes(asked.recipe))
    catalogue = open_catalogue(settings)
    record = catalogue.get(VersionRef.parse(asked.version))
    begun_s = context.step("begun", time.time)
    if context.attempt > 1 and (report := _find_made(catalogue, record, recipe, begun_s)) is not None:
        return report
    plan = OptimisePlan(
        recipe,
        device=asked.device,
        prompts=choose_prompts(
            find_prompts(settings.prompts, asked.prompts) if asked.prompts else None, asked.scorer or ""
        ),
        scorer=choose_scorer(asked.scorer, record.id) if asked.scorer else None,
        least_psnr_db=asked.least_psnr_db,
        largest_loss=asked.largest_loss,
        require_gain=asked.require_gain,
        timing_budget_s=asked.timing_budget_s,
    )
    made = optimise(
        catalogue,
        record,
        plan,
        settings,
        tell=lambda step: context.report(share_done(step), step),
        registered_by=(context.actor,),
    )
    return made.to_dict()


def _find_made(
    catalogue: "MlflowCatalogue", record: "VersionRecord", recipe: str, since_s: float
) -> dict[str, Any] | None:
    """Return the report of a version made so since then: its worker died before it could say so."""
    for version in catalogue.list_versions(record.id.model):
        if version.parent == record.id and version.lineage.recipe == recipe and version.created_s >= since_s:
            try:
                return catalogue.optimisations.read(version.id)[0]
            except NotFound:  # somebody registered it by hand under the recipe's name
                continue
    return None
