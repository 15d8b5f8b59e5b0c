"""The recipes as a list for people: what each does, for what kind of model, and what keeps it from running here."""

import logging
from typing import Any, Final

from contracts.errors import RoostError
from contracts.wire.artefact import LoadingPlan
from registry.recipes.names import KEYED, PLAIN
from registry.recipes.port import OF_PIPELINES, check_needs

MEANINGS: Final = {
    "bf16": "all weights in bfloat16: half the size",
    "fp16": "all weights in float16: half the size",
    "torchao-int8wo": "the denoiser's linear layers in 8 bits, computed in the version's precision",
    "torchao-int8dyn": "the same, computed in 8 bits with scales as they come",
    "torchao-fp8": "the denoiser's linear layers in float8, computed in it",
    "torchao-int4": "the denoiser's linear layers in 4 bits",
    "quanto-int8": "the denoiser's linear layers in 8 bits by optimum-quanto",
    "onnx-fp32": "all parts as graphs for ONNX Runtime",
    "onnx-int8-dynamic": "the same; matrix products in 8 bits with scales as they come",
    "onnx-int8-static": "the same, and the denoiser's convolutions in 8 bits with scales from the golden prompts",
    "openvino-bf16": "all parts as graphs for OpenVINO, computed in bfloat16",
    "openvino-int8": "the same; the denoiser in 8 bits with scales from the golden prompts",
    "compile": "the denoiser compiled by torch when a worker starts",
    "vae-slicing": "pictures of a batch decoded one by one: less memory",
    "vae-tiling": "large pictures decoded in tiles: less memory",
    "sklearn-onnx": "a scikit-learn estimator as an ONNX graph",
    "skops": "a scikit-learn estimator without a pickle",
    "steps": "another number of steps",
    "guidance": "another guidance scale",
    "scheduler": "another solver: ddim, euler, dpm++, unipc",
}


def list_recipes(device: str) -> list[dict[str, Any]]:
    """Return every recipe with its meaning, the kinds of model that it is for, and why it is refused here, if it is."""
    rows: list[dict[str, Any]] = []
    for name, recipe in PLAIN.items():
        kinds = sorted(recipe.needs.kinds)
        refusal = ""
        try:
            # Libraries tell on import what they do without.
            logging.disable(logging.ERROR)
            check_needs(recipe, LoadingPlan(kind=next(iter(recipe.needs.kinds))), device)
        except RoostError as error:
            refusal = error.message.partition(": ")[2]
        finally:
            logging.disable(logging.NOTSET)
        rows.append({"recipe": name, "kinds": [*map(str, kinds)], "refusal": refusal, "what": MEANINGS[name]})
    pipelines = [*map(str, sorted(OF_PIPELINES))]
    return rows + [{"recipe": f"{k}=…", "kinds": pipelines, "refusal": "", "what": MEANINGS[k]} for k in KEYED]
