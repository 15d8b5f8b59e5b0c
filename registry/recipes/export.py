"""Components written as ONNX graphs: exported from a call that the pipeline really made, checked, kept in one file."""

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any, Final

import torch

from contracts.errors import InvalidInput
from registry.recipes.capture import DECODER, Call

LARGEST_FILE_BYTES: Final = 1_900_000_000
"""Beyond two gigabytes a protocol-buffer file can't be read; weights then lie beside the graph."""

OUTPUT_PREFIX: Final = "out_"
"""Outputs are named after the fields of the component's answer; the prefix keeps them apart from inputs."""

OPSET: Final = 20
LATENT_RANK: Final = 4
"""Latents: batch, channels, height, width."""

TEXT_RANK: Final = 3
"""Encoded text: batch, tokens, channels."""


class ExportedCall(torch.nn.Module):  # type: ignore[misc] # torch is not typed here
    """A component as a function of its tensors alone, as a graph is: flags and settings are those of the call."""

    def __init__(self, module: torch.nn.Module, name: str, call: Call) -> None:
        super().__init__()
        self.module, self.call, self.names = module, call, tuple(call.tensors)
        self.decodes = name == DECODER
        self.outputs: tuple[str, ...] = ()

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Call the component and return the tensors of its answer in order."""
        arguments = self.call.with_tensors(dict(zip(self.names, tensors, strict=True)))
        arguments |= {"return_dict": True}
        arguments.pop("generator", None)
        answer = self.module.decode(**arguments) if self.decodes else self.module(**arguments)
        found = {name: value for name, value in answer.items() if isinstance(value, torch.Tensor)}
        self.outputs = tuple(found)
        return tuple(found.values())


def export_component(module: torch.nn.Module, name: str, call: Call, file: Path) -> None:
    """Write a component as an ONNX graph in float32 to ``file``; sizes stay free where they can.

    Raises:
        InvalidInput: when the exporter can't follow the component's code, in its own words.
    """
    wrapped = ExportedCall(module, name, call).eval()
    inputs = tuple(_as_float(tensor) if tensor.ndim < 2 else tensor for tensor in call.tensors.values())
    with torch.no_grad():
        wrapped(*inputs)
    program = _export(wrapped, inputs, name)
    _forget_sources(program.model)
    file.parent.mkdir(parents=True, exist_ok=True)
    large = sum(parameter.nbytes for parameter in module.parameters()) > LARGEST_FILE_BYTES
    with _quiet():
        program.save(file, external_data=large)


def _forget_sources(model: Any) -> None:
    """Take out where in whose files each node came from: it is half of a small graph, and nobody's business."""
    for part in (model.graph, *model.functions.values()):
        part.metadata_props.clear()
        for node in part.all_nodes():
            node.metadata_props.clear()


def _as_float(tensor: torch.Tensor) -> torch.Tensor:
    """Time steps as float32 whatever the scheduler of the call: others have fractional ones."""
    return tensor.to(torch.float32)


def _export(wrapped: ExportedCall, inputs: tuple[torch.Tensor, ...], name: str) -> Any:
    refusal: Exception | None = None
    for free_sizes in (True, False):
        shapes = {"tensors": tuple(_free_dimensions(tensor, free_sizes=free_sizes) for tensor in inputs)}
        try:
            with _quiet(), torch.no_grad():
                return torch.onnx.export(
                    wrapped,
                    inputs,
                    dynamo=True,
                    opset_version=OPSET,
                    input_names=list(wrapped.names),
                    output_names=[f"{OUTPUT_PREFIX}{name}" for name in wrapped.outputs],
                    dynamic_shapes=shapes,
                    verbose=False,
                )
        except Exception as error:  # noqa: BLE001 - exporters raise whatever the component's code makes them
            refusal = error
    raise InvalidInput(
        f"{name} can't be exported to ONNX: {str(refusal).strip().splitlines()[0][:300]}",
        hint="choose a recipe that keeps torch: bf16, torchao-int8wo",
    ) from refusal


def _free_dimensions(tensor: torch.Tensor, *, free_sizes: bool) -> dict[int, Any]:
    if tensor.ndim == 0:
        return {}
    batch = {0: torch.export.Dim.DYNAMIC}
    sizes = {LATENT_RANK: (2, 3), TEXT_RANK: (1,)}.get(tensor.ndim, ()) if free_sizes else ()
    return batch | dict.fromkeys(sizes, torch.export.Dim.AUTO)


@contextlib.contextmanager
def _quiet() -> Any:
    """Keep the exporter from telling its progress, as it does on every channel there is."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
