"""What a recipe is: a small change to a version's directory, which says what it needs before it starts."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from contracts.errors import InvalidInput, Unavailable
from contracts.wire.artefact import LoadingPlan, ModelKind
from contracts.wire.worker import GenerationDefaults

OF_PIPELINES: Final = frozenset({ModelKind.DIFFUSERS})


class Stage(IntEnum):
    """When a recipe's turn comes; of the recipes of weights there can be one of each stage only."""

    PRECISION = 1
    WEIGHTS = 2
    RUNTIME = 3
    SAMPLING = 4


class LoadPipeline(Protocol):
    """Loads a pipeline from a directory; recipes don't know how."""

    def __call__(self, directory: Path, plan: LoadingPlan, torch_dtype: str, device: str) -> Any:
        """Return the pipeline, every weight in its place."""
        ...


@dataclass
class Draft:
    """A version in the making: its directory, how it is to be loaded and asked, and what recipes have told of it.

    Recipes change all of it in turn. ``prompts`` are for calibration. ``parameters`` and ``quantised_parameters``
    count the weights of the whole version and those that are kept in eight bits or fewer.
    """

    directory: Path
    plan: LoadingPlan
    defaults: GenerationDefaults
    load: LoadPipeline
    device: str = "cpu"
    prompts: tuple[str, ...] = ()
    report: Callable[[str], None] = lambda step: None
    parameters: int = 0
    quantised_parameters: int = 0

    def load_pipeline(self) -> Any:
        """Load the draft as it stands now."""
        return self.load(self.directory, self.plan, self.defaults.torch_dtype, self.device)


@dataclass(frozen=True)
class Needs:
    """What must be there before a recipe starts.

    ``capability`` is the least CUDA compute capability; ``torch_weights`` are wanted by recipes that read the
    pipeline's own weights, which a version that another engine runs no longer has. ``probe`` returns a reason to
    refuse that only the library itself knows, or ''.
    """

    kinds: frozenset[ModelKind] = OF_PIPELINES
    device: Literal["any", "cpu", "cuda"] = "any"
    capability: tuple[int, int] | None = None
    packages: tuple[str, ...] = ()
    extra: str = "optimize"
    torch_weights: bool = True
    probe: Callable[[str], str] = lambda device: ""


class Recipe(Protocol):
    """One recipe: a name to ask for it by, when its turn comes, what it needs, and the change itself."""

    @property
    def name(self) -> str:
        """The recipe as it is written, with its parameter: ``bf16``, ``steps=4``."""
        ...

    @property
    def stage(self) -> Stage:
        """When its turn comes."""
        ...

    @property
    def needs(self) -> Needs:
        """What must be there before it starts."""
        ...

    def apply(self, draft: Draft) -> None:
        """Change the draft; raises what the recipe's library refuses as ``InvalidInput``."""
        ...


def check_needs(recipe: Recipe, plan: LoadingPlan, device: str) -> None:
    """Refuse a recipe that can't work here, before anything is read or written.

    Raises:
        InvalidInput: when the version is of another kind, or no longer has the weights that the recipe reads.
        Unavailable: when the device, its capability or a package is missing, or the library says no.
    """
    needs = recipe.needs
    if plan.kind not in needs.kinds:
        wanted = " or ".join(sorted(needs.kinds))
        raise InvalidInput(
            f"recipe {recipe.name}: the version is a {plan.kind} model, the recipe is for {wanted}",
            hint="roost model recipes tells what each is for",
        )
    if needs.torch_weights and plan.components:
        engines = ", ".join(f"{name} by {part.engine}" for name, part in sorted(plan.components.items()))
        raise InvalidInput(
            f"recipe {recipe.name}: the version has no torch weights left for it ({engines})",
            hint="optimise the version that it was made from",
        )
    missing = [package for package in needs.packages if find_spec(package) is None]
    if missing:
        raise Unavailable(
            f"recipe {recipe.name}: {', '.join(missing)} is not installed",
            hint=f"install Roost with its extra: roost[{needs.extra}]",
        )
    refusal = "; ".join(filter(None, (_refuse_device(needs, device), needs.probe(device))))
    if refusal:
        raise Unavailable(f"recipe {recipe.name}: {refusal}", hint="choose another recipe, or a machine that has it")


def _refuse_device(needs: Needs, device: str) -> str:
    kind = device.partition(":")[0]
    if needs.device not in {"any", kind}:
        wanted = "the CPU" if needs.device == "cpu" else "a CUDA device"
        return f"it runs on {wanted}, the version is to be served by {device}"
    if kind != "cuda":
        return ""
    import torch

    if not torch.cuda.is_available():
        return "torch sees no CUDA device here"
    found = torch.cuda.get_device_capability(device)
    if needs.capability is not None and found < needs.capability:
        return f"it needs capability {_dotted(needs.capability)} or more, the device has {_dotted(found)}"
    return ""


def _dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"
