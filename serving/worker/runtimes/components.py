"""Components of a pipeline that another engine runs: ONNX Runtime or OpenVINO in the place of a torch module.

A stock pipeline calls ``unet(...)``, ``transformer(...)``, ``text_encoder(...)`` and ``vae.decode(...)``; these modules
answer the same calls from a graph, and keep the configuration that the pipeline reads.
"""

import inspect
from collections import namedtuple
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import torch

from contracts.errors import InvalidInput, Unavailable
from contracts.wire.artefact import Component, Engine

OUTPUT_PREFIX: Final = "out_"
"""Graphs name their outputs after the fields of the component's answer, with this before them."""

ELEMENTS: Final = {"f32": torch.float32, "i64": torch.int64, "i32": torch.int32}
"""OpenVINO's element types that graphs of ours take."""

Arrays = dict[str, Any]
GraphCall = Callable[[Arrays], list[Any]]


class Graph:
    """A loaded graph: the element types of its inputs by name, the names of its outputs, and the call itself."""

    def __init__(self, inputs: Mapping[str, torch.dtype], outputs: tuple[str, ...], call: GraphCall) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.call = call


def load_graph(file: Path, component: Component) -> Graph:
    """Load a component's graph into its engine, with as many threads as torch has.

    Raises:
        Unavailable: when the engine is not installed.
        InvalidInput: when the engine can't read the graph.
    """
    load = {Engine.ONNXRUNTIME: _load_onnxruntime, Engine.OPENVINO: _load_openvino}[component.engine]
    try:
        return load(file, component)
    except ImportError as error:
        raise Unavailable(
            f"{file.name}: {component.engine} is not installed here ({error})",
            hint="install Roost with its extra: roost[optimize] or roost[openvino]",
        ) from None
    except Exception as error:
        raise InvalidInput(
            f"{file.parent.name}/{file.name}: {component.engine} can't load this graph: {str(error)[:300]}",
            hint="make the version again",
        ) from error


class GraphModule(torch.nn.Module):  # type: ignore[misc] # torch is not typed here
    """A graph in the place of a torch module: the same call by the same names, in the pipeline's precision.

    ``signature`` is that of the module's own method, so that positional arguments find the graph's inputs; arguments
    in dictionaries (``added_cond_kwargs``) are taken by their names.
    """

    config: Any = None
    dtype: torch.dtype = torch.float32
    device = torch.device("cpu")

    def __init__(self, graph: Graph, config: Any, signature: inspect.Signature, dtype: torch.dtype) -> None:
        torch.nn.Module.__init__(self)
        self.config = config
        self.dtype = dtype
        self._graph = graph
        self._signature = signature
        names = (name.removeprefix(OUTPUT_PREFIX) for name in graph.outputs)
        self._answer = namedtuple("GraphAnswer", names)  # type: ignore[misc] # noqa: PYI024
        if getattr(config, "projection_class_embeddings_input_dim", None):
            # SDXL's pipeline reads the width of its time ids from this layer.
            width = SimpleNamespace(in_features=config.projection_class_embeddings_input_dim)
            self.add_embedding = SimpleNamespace(linear_1=width)

    def forward(self, *arguments: Any, **named: Any) -> Any:
        """Answer as the torch module would; a named tuple stands for both of its forms of answer."""
        tensors = flatten_arguments(self._signature.bind(None, *arguments, **named).arguments)
        missing = self._graph.inputs.keys() - tensors.keys()
        if missing:
            raise RuntimeError(f"the graph wants {', '.join(sorted(missing))}, which this call does not give")
        arrays = {
            name: torch.as_tensor(tensors[name]).detach().to(dtype).contiguous().numpy()
            for name, dtype in self._graph.inputs.items()
        }
        answers = (torch.from_numpy(answer) for answer in self._graph.call(arrays))
        return self._answer(*(a.to(self.dtype) if a.is_floating_point() else a for a in answers))

    def decode(self, *arguments: Any, **named: Any) -> Any:
        """Decode latents, where the graph is an autoencoder's: a pipeline that draws from text only decodes."""
        return self.forward(*arguments, **named)


def stand_in(model: type, graph: Graph, config: Any, method: str, dtype: torch.dtype) -> GraphModule:
    """Return a graph as an object of a component's own class, as pipelines want it, without its layers."""
    kind: Any = type(f"Graph{model.__name__}", (GraphModule, model), {})
    stand: GraphModule = kind(graph, config, inspect.signature(getattr(model, method)), dtype)
    return stand


def flatten_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call's tensors and numbers by name, those within dictionaries by theirs; flags and None left out."""
    found: dict[str, Any] = {}
    for name, value in arguments.items():
        if isinstance(value, Mapping):
            found |= flatten_arguments(value)
        elif isinstance(value, torch.Tensor | int | float) and not isinstance(value, bool):
            found[name] = value
    return found


def _load_onnxruntime(file: Path, component: Component) -> Graph:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    types = {
        "tensor(float)": torch.float32,
        "tensor(float16)": torch.float16,
        "tensor(int64)": torch.int64,
        "tensor(int32)": torch.int32,
    }
    return Graph(
        {entry.name: types[entry.type] for entry in session.get_inputs()},
        tuple(entry.name for entry in session.get_outputs()),
        lambda arrays: list(session.run(None, arrays)),
    )


class _OpenVino:
    """A graph in OpenVINO: compiled for the shapes of the first call, and once more for all others when they come.

    Fixed shapes are a quarter faster. A worker's first call is its warm-up, at the service's own size; compiled code
    holds its own copy of the weights, so there are two at most.
    """

    def __init__(self, file: Path, component: Component) -> None:
        import openvino

        self._core = openvino.Core()
        self._options = {
            "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[component.precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": 1,
        }
        self._file = file
        model = self._core.read_model(file)
        self.inputs = {port.any_name: ELEMENTS[port.element_type.get_type_name()] for port in model.inputs}
        self.outputs = tuple(port.any_name for port in model.outputs)
        self._first: dict[str, tuple[int, ...]] = {}
        self._fixed: Any = None
        self._free: Any = None

    def call(self, arrays: Arrays) -> list[Any]:
        """Answer a call."""
        shapes = {name: array.shape for name, array in arrays.items()}
        if self._fixed is None:
            self._first, self._fixed = shapes, self._compile(shapes)
        if shapes != self._first and self._free is None:
            self._free = self._compile({})
        request = self._fixed if shapes == self._first else self._free
        answers = request.infer(arrays)
        return [answers[port].copy() for port in request.model_outputs]

    def _compile(self, shapes: Mapping[str, tuple[int, ...]]) -> Any:
        model = self._core.read_model(self._file)
        if shapes:
            model.reshape({name: list(shape) for name, shape in shapes.items()})
        return self._core.compile_model(model, "CPU", self._options).create_infer_request()


def _load_openvino(file: Path, component: Component) -> Graph:
    graph = _OpenVino(file, component)
    return Graph(graph.inputs, graph.outputs, graph.call)
