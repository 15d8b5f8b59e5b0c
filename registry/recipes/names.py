"""Recipes by name: ``bf16+torchao-int8wo``, ``onnx-int8-dynamic+steps=4``; read, put in order, checked together."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Final

from contracts.errors import InvalidInput
from contracts.wire.artefact import Engine, LoadingPlan
from registry.recipes.dtype import Dtype
from registry.recipes.flags import Compile, VaeFlag
from registry.recipes.onnx import Onnx
from registry.recipes.port import Recipe, Stage, check_needs
from registry.recipes.quanto import Quanto
from registry.recipes.sampling import SCHEDULERS, Guidance, Scheduler, Steps
from registry.recipes.tabular import SklearnOnnx, Skops
from registry.recipes.torchao import TorchAo

PLAIN: Final[dict[str, Recipe]] = {
    recipe.name: recipe
    for recipe in (
        Dtype("bfloat16"),
        Dtype("float16"),
        TorchAo("torchao-int8wo"),
        TorchAo("torchao-int8dyn"),
        TorchAo("torchao-fp8", device="cuda", capability=(8, 9)),
        TorchAo("torchao-int4", device="cuda", capability=(8, 0)),
        Quanto(),
        Onnx("onnx-fp32"),
        Onnx("onnx-int8-dynamic", "int8-dynamic"),
        Onnx("onnx-int8-static", "int8-static"),
        Onnx("openvino-bf16", engine=Engine.OPENVINO, precision="bfloat16"),
        Onnx("openvino-int8", "int8-symmetric", engine=Engine.OPENVINO, precision="bfloat16"),
        Compile(),
        VaeFlag("slicing"),
        VaeFlag("tiling"),
        SklearnOnnx(),
        Skops(),
    )
}

KEYED: Final[dict[str, Callable[[str], Recipe]]] = {
    "steps": lambda text: Steps(_read_steps(text)),
    "guidance": lambda text: Guidance(_read_guidance(text)),
    "scheduler": lambda text: Scheduler(_read_scheduler(text)),
}

JOINT: Final = re.compile(r"(?<!dpm)(?<!dpm\+)\+")
"""A plus between recipes; those of ``dpm++`` are its own."""


def read_recipes(text: str) -> tuple[Recipe, ...]:
    """Read recipes joined by ``+`` and put them in the order of their stages.

    Raises:
        InvalidInput: for an unknown recipe or parameter, one given twice, or two that don't go together.
    """
    recipes = tuple(sorted((_read_one(part.strip()) for part in JOINT.split(text)), key=lambda recipe: recipe.stage))
    kinds = [recipe.name.partition("=")[0] for recipe in recipes]
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise InvalidInput(f"recipe: {kind} is given twice", hint="give each recipe once")
    for stage in (Stage.PRECISION, Stage.WEIGHTS):
        rivals = [recipe.name for recipe in recipes if recipe.stage is stage]
        if len(rivals) > 1:
            raise InvalidInput(f"recipe: {' and '.join(rivals)} don't go together: both decide the same thing")
    graph = next((recipe for recipe in recipes if isinstance(recipe, Onnx)), None)
    bound = [recipe.name for recipe in recipes if recipe.needs.torch_weights and recipe is not graph]
    if graph is not None and bound:
        raise InvalidInput(
            f"recipe: {bound[0]} and {graph.name} don't go together: the latter leaves no torch weights for the former",
            hint=f"choose {bound[0]} or {graph.name}; steps, guidance and scheduler go with both",
        )
    return recipes


def write_recipes(recipes: Sequence[Recipe]) -> str:
    """Return recipes as one text, in order: what a version's lineage tells."""
    return "+".join(recipe.name for recipe in recipes)


def check_recipes(recipes: Sequence[Recipe], plan: LoadingPlan, device: str) -> None:
    """Refuse recipes that can't work on a version here, each in its own words.

    Raises:
        InvalidInput, Unavailable: as ``check_needs``.
    """
    for recipe in recipes:
        check_needs(recipe, plan, device)


def _read_one(text: str) -> Recipe:
    key, equals, value = text.partition("=")
    if equals and key in KEYED:
        return KEYED[key](value)
    if text in PLAIN:
        return PLAIN[text]
    if text in KEYED:
        raise InvalidInput(f"recipe: {text} needs a value", hint=f"write {text}=VALUE")
    raise InvalidInput(
        f"recipe: {text!r} is none", hint=f"choose among {', '.join([*PLAIN, *(f'{key}=…' for key in KEYED)])}"
    )


def _read_steps(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1000:
        raise InvalidInput(f"recipe: steps={text}: not a number from 1 to 1000", hint="write steps=4")
    return int(text)


def _read_guidance(text: str) -> float:
    try:
        scale = float(text)
    except ValueError:
        scale = math.nan
    if not 0 <= scale <= 100:
        raise InvalidInput(f"recipe: guidance={text}: not a number from 0 to 100", hint="write guidance=1.5")
    return scale


def _read_scheduler(text: str) -> str:
    if text not in SCHEDULERS:
        raise InvalidInput(f"recipe: scheduler={text}: no scheduler of ours", hint=f"choose {', '.join(SCHEDULERS)}")
    return text
