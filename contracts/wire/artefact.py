"""How a version's directory is to be loaded: what a recipe leaves beside the weights, and what a worker follows."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from contracts.errors import InvalidInput
from contracts.model import Frozen

PLAN_FILE = "roost.json"
RelativePath = Annotated[str, Field(pattern=r"^[0-9A-Za-z_\-][0-9A-Za-z_.\-]*(?:/[0-9A-Za-z_\-][0-9A-Za-z_.\-]*)*$")]


class ModelKind(StrEnum):
    """What a version is, and so which runtime serves it."""

    DIFFUSERS = "diffusers"
    ONNX = "onnx"
    SKOPS = "skops"
    PYFUNC = "pyfunc"


class Engine(StrEnum):
    """What runs a pipeline's component in the place of torch."""

    ONNXRUNTIME = "onnxruntime"
    OPENVINO = "openvino"


class Component(Frozen):
    """One component of a pipeline that another engine runs: the engine, the graph it loads, how exactly it computes."""

    engine: Engine
    file: RelativePath
    precision: Literal["float32", "bfloat16"] = "float32"


class LoadingPlan(Frozen):
    """How to load a version; lies in its directory as ``roost.json`` and is covered by its digest.

    ``components`` are loaded by another engine in the place of the pipeline's own weights, ``compile`` names those
    that ``torch.compile`` is applied to. ``model_file`` is the graph or estimator of a version that is no pipeline.
    """

    schema_version: Literal[1] = 1
    kind: ModelKind
    model_file: RelativePath | None = None
    components: dict[str, Component] = Field(default_factory=dict)
    compile: tuple[str, ...] = ()
    vae_slicing: bool = False
    vae_tiling: bool = False


def read_plan(directory: Path) -> LoadingPlan:
    """Return a directory's own plan, or the one that its files make plain.

    Raises:
        InvalidInput: when ``roost.json`` is broken, or nothing in the directory tells what it is.
    """
    file = directory / PLAN_FILE
    if file.is_file():
        try:
            return LoadingPlan.model_validate_json(file.read_bytes())
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise InvalidInput(f"{PLAN_FILE}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    if (directory / "model_index.json").is_file():
        return LoadingPlan(kind=ModelKind.DIFFUSERS)
    if (directory / "MLmodel").is_file():
        return LoadingPlan(kind=ModelKind.PYFUNC)
    for kind in (ModelKind.ONNX, ModelKind.SKOPS):
        found = sorted(directory.glob(f"*.{kind}"))
        if len(found) == 1:
            return LoadingPlan(kind=kind, model_file=found[0].name)
    raise InvalidInput(
        f"{directory.name}: nothing here tells what kind of model it is",
        hint="a pipeline has model_index.json, an MLflow model MLmodel, others one .onnx or .skops file",
    )
