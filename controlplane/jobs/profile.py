"""The job that measures what a version needs and gives; see `controlplane.profiling.job`."""

import time
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from contracts.ids import VersionRef
from controlplane.jobs.arguments import Arguments, Device, PromptFile, Reference, Scorer, TimeBudget, find_prompts
from controlplane.jobs.context import JobContext

BEFORE_ROUNDS, NEARLY_DONE = 0.3, 0.99
STARTS = 2
Axis = Annotated[tuple[int, ...], Field(min_length=1, max_length=64)]


class ProfileArguments(Arguments):
    """What to measure and where: as the options of ``roost model profile``; sizes are ``32x64``, height first."""

    version: Reference
    device: Device = "cpu"
    sizes: Annotated[tuple[str, ...], Field(min_length=1, max_length=64)] | None = None
    steps: Axis | None = None
    batches: Axis = (1, 2, 4, 8)
    concurrency: Axis = (1,)
    budget_s: TimeBudget = 180.0
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    memory_limit_bytes: Annotated[int, Field(gt=0)] | None = None
    scorer: Scorer | None = None
    prompts: PromptFile | None = None
    judged: Annotated[int, Field(ge=1, le=10_000)] = 64


def run(context: JobContext, arguments: dict[str, Any]) -> dict[str, Any]:
    """Profile a version and keep the profile with it; an attempt that fails keeps nothing, and is made over."""
    from controlplane.evaluation.comparing import open_catalogue
    from controlplane.profiling.job import ProfilePlan, profile_version
    from controlplane.profiling.judges import choose_judge
    from controlplane.settings import Settings
    from registry.profile.grid import Grid, default_grid, parse_sizes
    from registry.profile.measure import Effort
    from registry.profile.prices import load_prices

    asked = ProfileArguments.model_validate(arguments)
    settings = Settings(Path(context.home))
    catalogue = open_catalogue(settings)
    record = catalogue.get(VersionRef.parse(asked.version))
    usual = default_grid(record.defaults)
    prompts = find_prompts(settings.prompts, asked.prompts) if asked.prompts else None
    plan = ProfilePlan(
        grid=Grid(
            sizes=parse_sizes(",".join(asked.sizes)) if asked.sizes else usual.sizes,
            steps=asked.steps or usual.steps,
            batches=asked.batches,
            concurrency=asked.concurrency,
        ),
        device=asked.device,
        threads=asked.threads,
        effort=Effort(budget_s=asked.budget_s),
        memory_limit_bytes=asked.memory_limit_bytes,
        prices=load_prices(None),
        asked=choose_judge(record.id, asked.scorer, prompts, asked.judged),
    )
    steps = Steps(context, len(plan.grid.points()), asked.budget_s)
    found = profile_version(catalogue, record, plan, settings, tell=steps.tell)
    return found.model_dump(mode="json")


class Steps:
    """How far a profile is: starts and memory point by point, then the time of the rounds."""

    def __init__(self, context: JobContext, points: int, budget_s: float) -> None:
        self._context, self._points, self._budget_s = context, points, budget_s
        self._told, self._since_s = 0, time.monotonic()

    def tell(self, message: str) -> None:
        """Pass a step on."""
        if message.startswith("round"):
            share = BEFORE_ROUNDS + (1 - BEFORE_ROUNDS) * (time.monotonic() - self._since_s) / self._budget_s
        else:
            self._told, self._since_s = self._told + 1, time.monotonic()
            share = BEFORE_ROUNDS * self._told / (self._points + STARTS)
        self._context.report(min(share, NEARLY_DONE), message)
