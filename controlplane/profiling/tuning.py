"""The job that tunes one version: candidates, the search, and the winner registered through its recipes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from contracts.clock import Clock, SystemClock
from contracts.errors import InvalidInput
from contracts.wire.worker import GenerationDefaults
from controlplane.optimise.job import OptimisePlan, optimise
from controlplane.optimise.report import OptimiseReport
from controlplane.optimise.staging import staging
from controlplane.profiling.atelier import WorkerAtelier, sampling_recipes
from controlplane.profiling.device import find_environment
from controlplane.profiling.job import bench_spec
from controlplane.profiling.judges import Asked
from controlplane.settings import Settings
from registry.catalogue import VersionRecord
from registry.golden import LARGEST_LOSS
from registry.mlflow_catalogue import MlflowCatalogue
from registry.profile.prices import PriceTable, require_price
from registry.recipes.names import read_recipes, write_recipes
from registry.tuning.objective import Objective
from registry.tuning.search import Candidate, Found, Trial, search

MOST_CANDIDATES = 200
LONGEST_TIMING_S = 60.0


@dataclass(frozen=True)
class TunePlan:
    """What to search, for what, on which device, and how long."""

    objective: Objective
    candidates: tuple[Candidate, ...]
    device: str = "cpu"
    threads: int = 1
    budget_s: float = 300.0
    prices: PriceTable | None = None
    asked: Asked = field(default_factory=Asked)


def make_candidates(
    defaults: GenerationDefaults, recipes: Sequence[str], steps: Sequence[int], guidance: Sequence[float]
) -> tuple[Candidate, ...]:
    """Return all combinations of recipes, steps and guidance; the version as it is is always among them.

    Without steps, halves of the version's own; without guidance, its own, none, and half way between.

    Raises:
        InvalidInput: for an unknown recipe, one that decides steps or guidance itself, or too many combinations.
    """
    own, usual = defaults.num_inference_steps, defaults.guidance_scale
    named = [write_recipes(read_recipes(text)) for text in recipes]
    for text in named:
        if "steps=" in text or "guidance=" in text:
            raise InvalidInput(
                f"recipes: {text} decides steps or guidance", hint="give --steps and --guidance for that"
            )
    numbers = list(steps) or [max(1, own // divisor) for divisor in (1, 2, 4, 8)]
    scales = list(guidance) or [usual, *([1.0, (1 + usual) / 2] if usual > 1 else [])]
    for number in numbers:
        if not 1 <= number <= 1000:
            raise InvalidInput(f"steps: {number} can't be drawn", hint="give numbers from 1 to 1000")
    for scale in scales:
        if not 0 <= scale <= 100:
            raise InvalidInput(f"guidance: {scale:g} can't be drawn with", hint="give numbers from 0 to 100")
    found = {
        Candidate(recipe, number, float(scale)) for recipe in ["", *named] for number in numbers for scale in scales
    }
    found.add(Candidate("", own, usual))
    if len(found) > MOST_CANDIDATES:
        raise InvalidInput(
            f"{len(found)} candidates are too many", hint=f"name fewer values, {MOST_CANDIDATES} at most"
        )
    return tuple(sorted(found))


def tune_version(
    catalogue: MlflowCatalogue,
    record: VersionRecord,
    plan: TunePlan,
    settings: Settings,
    *,
    tell: Callable[[str], None],
    clock: Clock | None = None,
) -> tuple[Found, float | None]:
    """Search for the candidate that serves the objective best; return what was found and the price of an hour.

    Raises:
        InvalidInput: when the device is absent or has no price, or the objective asks for what nothing measures.
        Unavailable: when the version can't be served.
    """
    environment = find_environment(plan.device, threads=plan.threads)
    price = None if plan.prices is None else require_price(plan.prices, plan.device, environment.device_name)
    _require_measured(plan, price)
    spec = bench_spec(catalogue, record.id, device=plan.device, threads=plan.threads)
    with staging(settings.home / "optimise") as folder:
        atelier = WorkerAtelier(spec, plan.asked, folder=folder, log=settings.logs / f"tune-{record.id}.log", tell=tell)
        try:
            found = search(
                atelier,
                plan.candidates,
                plan.objective,
                prompts=len(plan.asked.prompts),
                budget_s=plan.budget_s,
                price_per_hour=price,
                clock=clock or SystemClock(),
                tell=tell,
            )
        finally:
            atelier.close()
    return found, price


def register_best(
    catalogue: MlflowCatalogue,
    record: VersionRecord,
    best: Trial,
    plan: TunePlan,
    settings: Settings,
    *,
    tell: Callable[[str], None],
    registered_by: tuple[str, ...] = (),
) -> OptimiseReport | None:
    """Make the best candidate a version by its recipes, with their own proof; None when it is the version as it is.

    What quality may be lost is the objective's to say where it says anything, else what recipes may lose.

    Raises:
        NotPermitted: when it does not pass its golden prompts.
    """
    recipes = sampling_recipes(best.candidate, record.defaults)
    if not recipes:
        return None
    told = any(condition.metric == "quality" for condition in plan.objective.conditions)
    return optimise(
        catalogue,
        record,
        OptimisePlan(
            recipes,
            device=plan.device,
            prompts=plan.asked.prompts,
            scorer=plan.asked.judge,
            largest_loss=1.0 if told else LARGEST_LOSS,
            timing_budget_s=min(LONGEST_TIMING_S, plan.budget_s),
        ),
        settings,
        tell=tell,
        registered_by=registered_by,
    )


def _require_measured(plan: TunePlan, price: float | None) -> None:
    """Refuse an objective about a figure that this search will not have."""
    metrics = {plan.objective.metric, *(condition.metric for condition in plan.objective.conditions)}
    if "quality" in metrics and plan.asked.judge is None:
        raise InvalidInput(
            "objective: quality needs a judge", hint="name one with --scorer: text-accuracy, ocr-words, …"
        )
    if "cost" in metrics and price is None:
        raise InvalidInput(f"objective: there is no price for {plan.device}", hint="give a table with --prices FILE")
