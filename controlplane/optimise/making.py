"""Makes a version from another by recipes, in a process of its own: ``python -m controlplane.optimise.making``."""

import resource
import shutil
from pathlib import Path

from contracts.model import Frozen
from contracts.wire.artefact import PLAN_FILE, LoadingPlan, ModelKind, read_plan
from contracts.wire.worker import GenerationDefaults
from controlplane.optimise.child import Tell, run_child, serve_parent
from registry.recipes.names import check_recipes, read_recipes
from registry.recipes.port import Draft, Recipe, Stage

MADE = "made"
REFERENCE = "reference"


class MakeSpec(Frozen):
    """What to make: the parent's directory and defaults, the recipes, and the empty folder to work in."""

    directory: Path
    defaults: GenerationDefaults
    recipes: str
    folder: Path
    device: str = "cpu"
    prompts: tuple[str, ...] = ()


class Made(Frozen):
    """What was made: its directory and how it is loaded and asked.

    ``reference`` is what its pictures are to be compared with: the parent, with the same sampling recipes and no other;
    None when there was no other recipe.
    ``quantised_parameters`` of ``parameters`` are kept in eight bits or fewer. ``peak_memory_bytes`` is that of making.
    """

    directory: Path
    plan: LoadingPlan
    defaults: GenerationDefaults
    reference: Path | None
    reference_defaults: GenerationDefaults
    parameters: int
    quantised_parameters: int
    peak_memory_bytes: int


def make(spec: MakeSpec, *, log: Path, tell: Tell) -> Made:
    """Make a version in a child process without credentials.

    Raises:
        InvalidInput: for recipes that don't fit, a version that can't be loaded, or what a library refuses.
        Unavailable: when something is missing here, the disk is full, or the child died.
    """
    return Made.model_validate(run_child(__name__, spec.model_dump_json(), log=log, tell=tell))


def make_here(spec: MakeSpec, tell: Tell) -> Made:
    """Make a version in this process; see ``make``."""
    recipes = read_recipes(spec.recipes)
    plan = read_plan(spec.directory)
    tell("checking what the recipes need")
    check_recipes(recipes, plan, spec.device)
    draft = _draft(spec, plan, spec.folder / MADE, tell)
    if plan.kind is ModelKind.DIFFUSERS:
        tell("loading the version")
        draft.parameters = _count(draft)
    _apply(recipes, draft)
    (draft.directory / PLAN_FILE).write_text(draft.plan.model_dump_json(indent=2) + "\n", encoding="utf-8")
    reference = _make_reference(recipes, spec, plan)
    return Made(
        directory=draft.directory,
        plan=draft.plan,
        defaults=draft.defaults,
        reference=reference.directory if reference else None,
        reference_defaults=reference.defaults if reference else draft.defaults,
        parameters=draft.parameters,
        quantised_parameters=draft.quantised_parameters,
        peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


def _make_reference(recipes: tuple[Recipe, ...], spec: MakeSpec, plan: LoadingPlan) -> Draft | None:
    sampling = tuple(recipe for recipe in recipes if recipe.stage is Stage.SAMPLING)
    if not sampling:
        return Draft(spec.directory, plan, spec.defaults, _load)
    if sampling == recipes:
        return None
    reference = _draft(spec, plan, spec.folder / REFERENCE, lambda step: None)
    _apply(sampling, reference)
    return reference


def _draft(spec: MakeSpec, plan: LoadingPlan, directory: Path, tell: Tell) -> Draft:
    shutil.copytree(spec.directory, directory)
    return Draft(directory, plan, spec.defaults, _load, spec.device, spec.prompts, tell)


def _apply(recipes: tuple[Recipe, ...], draft: Draft) -> None:
    for recipe in recipes:
        draft.report(f"{recipe.name}")
        recipe.apply(draft)


def _count(draft: Draft) -> int:
    from registry.recipes.weights import count_parameters

    return count_parameters(draft.load_pipeline())


def _load(directory: Path, plan: LoadingPlan, torch_dtype: str, device: str) -> object:
    from serving.worker.runtimes.pipeline import load_pipeline

    return load_pipeline(directory, plan, torch_dtype, device)


def _work(spec_json: str, tell: Tell) -> object:
    import torch

    torch.set_num_threads(1)
    return make_here(MakeSpec.model_validate_json(spec_json), tell).model_dump(mode="json")


if __name__ == "__main__":
    serve_parent(_work)
