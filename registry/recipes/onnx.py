"""Recipes on ONNX Runtime and OpenVINO: components exported as graphs, quantised, and run inside the stock pipeline.

The denoiser, the text encoders and the decoder become graphs; their torch weights leave the version, and with the
autoencoder's encoder, which drawing from text does not use.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from contracts.errors import InvalidInput
from contracts.wire.artefact import Component, Engine
from registry.recipes.capture import DECODER, TEXT_ENCODERS, Call, find_denoiser, record_calls
from registry.recipes.export import export_component
from registry.recipes.port import Draft, Needs, Stage
from registry.recipes.quantise import count_int8, quantise_dynamic, quantise_static, quantise_symmetric
from registry.recipes.weights import remove_weights, require_plain, torch_components

GRAPH_FILE: Final = "model.onnx"
PACKAGES: Final = ("onnx", "onnxruntime", "onnxscript")
Scheme = Literal["float32", "int8-dynamic", "int8-static", "int8-symmetric"]

SCALED: Final = {"int8-static": quantise_static, "int8-symmetric": quantise_symmetric}
"""Schemes with scales that are calibrated on recorded calls."""


@dataclass(frozen=True)
class Onnx:
    """The pipeline's components as graphs for an engine; eight-bit schemes quantise denoiser and text encoders.

    ``int8-dynamic`` quantises matrix products and scales activations as they come; ``int8-static`` quantises the
    denoiser's convolutions too, with scales from what the pipeline asked of it while it drew calibration prompts;
    ``int8-symmetric`` quantises the denoiser alone, all of it with such scales, for engines that compute in eight bits.
    """

    name: str
    scheme: Scheme = "float32"
    engine: Engine = Engine.ONNXRUNTIME
    precision: Literal["float32", "bfloat16"] = "float32"
    stage: Stage = Stage.WEIGHTS

    @property
    def needs(self) -> Needs:
        """A CPU, the exporter, and the engine."""
        if self.engine is Engine.OPENVINO:
            return Needs(device="cpu", packages=(*PACKAGES, "openvino"), extra="optimize,openvino")
        return Needs(device="cpu", packages=PACKAGES)

    def apply(self, draft: Draft) -> None:
        """Export every component that the pipeline calls, quantise it, and drop its torch weights."""
        draft.defaults = draft.defaults.model_copy(update={"torch_dtype": "float32"})
        pipeline = draft.load_pipeline()
        denoiser = find_denoiser(pipeline)
        if not denoiser:
            raise InvalidInput(f"recipe {self.name}: the pipeline has no unet and no transformer")
        require_plain(getattr(pipeline, denoiser), denoiser, self.name)
        draft.report("recording what the pipeline asks of its parts")
        names = [name for name in torch_components(pipeline) if name in {denoiser, DECODER, *TEXT_ENCODERS}]
        calls = record_calls(pipeline, names, draft.prompts, draft.defaults)
        components: dict[str, Component] = {}
        for name in names:
            if calls[name] and not _wants_hidden_states(calls[name][0]):
                draft.report(f"exporting {name}")
                module, folder = getattr(pipeline, name), draft.directory / name
                export_component(module, name, calls[name][0], folder / GRAPH_FILE)
                remove_weights(folder)
                self._quantise(draft, folder / GRAPH_FILE, name, calls[name])
                file = f"{name}/{GRAPH_FILE}"
                components[name] = Component(engine=self.engine, file=file, precision=self.precision)
        draft.plan = draft.plan.model_copy(update={"components": components})

    def _quantise(self, draft: Draft, file: Path, name: str, calls: Sequence[Call]) -> None:
        if self.scheme == "float32" or name == DECODER:
            return
        draft.report(f"quantising {name}")
        if self.scheme == "int8-symmetric" and name in TEXT_ENCODERS:
            return
        if self.scheme in SCALED and name not in TEXT_ENCODERS:
            SCALED[self.scheme](file, [_arrays(call) for call in calls])
        else:
            quantise_dynamic(file)
        draft.quantised_parameters += count_int8(file)


def _wants_hidden_states(call: Call) -> bool:
    """Tell whether an encoder is asked for its inner states; it keeps torch, a graph would carry every layer out."""
    return bool(call.arguments.get("output_hidden_states"))


def _arrays(call: Call) -> Mapping[str, Any]:
    """Return a recorded call as a graph takes it: time steps as float32."""
    return {name: (t.float() if t.ndim < 2 else t).numpy() for name, t in call.tensors.items()}
