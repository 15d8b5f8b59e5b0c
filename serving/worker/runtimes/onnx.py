"""The ONNX runtime: one graph, run by ONNX Runtime; inputs and outputs are the graph's own."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from contracts.errors import InvalidInput, Unavailable
from contracts.wire.tensors import Datatype, InferRequest, ModelMetadata, Tensor, TensorSpec
from contracts.wire.worker import FailureReason, WorkerSpec
from serving.worker.runtimes.arrays import DTYPES, pick_outputs, read_columns, refuse, refuse_other_names, write_tensor
from serving.worker.runtimes.port import DrawFailure

TYPES = {
    "tensor(bool)": Datatype.BOOL,
    "tensor(uint8)": Datatype.UINT8,
    "tensor(uint16)": Datatype.UINT16,
    "tensor(uint32)": Datatype.UINT32,
    "tensor(uint64)": Datatype.UINT64,
    "tensor(int8)": Datatype.INT8,
    "tensor(int16)": Datatype.INT16,
    "tensor(int32)": Datatype.INT32,
    "tensor(int64)": Datatype.INT64,
    "tensor(float16)": Datatype.FP16,
    "tensor(float)": Datatype.FP32,
    "tensor(double)": Datatype.FP64,
    "tensor(string)": Datatype.BYTES,
}


class OnnxRuntime:
    """Answers with one ONNX graph on the CPU, or on the GPU when ONNX Runtime was installed for it."""

    def __init__(self, spec: WorkerSpec, model_file: str | None) -> None:
        self._spec, self._model_file = spec, model_file
        self._session: Any = None
        self._metadata = ModelMetadata()

    def load(self) -> None:
        """Load the graph.

        Raises:
            Unavailable: when ONNX Runtime is not installed, or not for the device.
            InvalidInput: when there is no such graph, it can't be read, or takes or gives other than tensors.
        """
        try:
            import onnxruntime
        except ImportError:
            raise Unavailable("ONNX Runtime is not installed here", hint="install roost[optimize]") from None
        if self._model_file is None:
            raise InvalidInput("model_file: not given, so no graph can be loaded", hint="name it in roost.json")
        provider = "CPUExecutionProvider" if self._spec.device == "cpu" else "CUDAExecutionProvider"
        if provider not in onnxruntime.get_available_providers():
            raise Unavailable(f"this ONNX Runtime has no {provider}", hint="serve the version with device cpu")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self._spec.threads, 1
        options.log_severity_level = 3
        try:
            file = Path(self._spec.directory) / self._model_file
            self._session = onnxruntime.InferenceSession(file, options, providers=[provider])
        except Exception as error:
            raise InvalidInput(f"{self._model_file} can't be loaded: {str(error)[:300]}") from error
        inputs = tuple(_tensor_spec(entry) for entry in self._session.get_inputs())
        self._metadata = ModelMetadata(
            inputs=inputs, outputs=tuple(_tensor_spec(entry) for entry in self._session.get_outputs())
        )

    def warm_up(self) -> None:
        """Run the graph once on zeros, where it takes numbers; a graph that refuses zeros is no worse for it."""
        if any(spec.datatype is Datatype.BYTES for spec in self._metadata.inputs):
            return
        with suppress(Exception):
            zeros = {s.name: _zeros(s) for s in self._metadata.inputs}
            self._session.run(None, zeros)

    def metadata(self) -> ModelMetadata:
        """Return the graph's inputs and outputs."""
        return self._metadata

    def infer(self, request: InferRequest) -> list[Tensor]:
        """Run the graph; raises ``DrawFailure`` when the inputs are not the graph's, or the run fails."""
        feed = self._feed(request)
        names = pick_outputs(request, [spec.name for spec in self._metadata.outputs])
        try:
            answers = self._session.run(names, feed)
        except Exception as error:  # noqa: BLE001 - the engine's exceptions have no common parent
            text = str(error)
            oom = "bad_alloc" in text or "Failed to allocate memory" in text
            raise DrawFailure(FailureReason.OOM if oom else FailureReason.ERROR, text[:300]) from None
        return [write_tensor(name, answer) for name, answer in zip(names, answers, strict=True)]

    def _feed(self, request: InferRequest) -> dict[str, np.ndarray]:
        arrays, specs = read_columns(request), self._metadata.inputs
        if len(specs) == 1 and specs[0].name not in arrays:
            arrays = {specs[0].name: _as_matrix(arrays, specs[0])}
        refuse_other_names([spec.name for spec in specs], arrays)
        return {spec.name: _fit(arrays[spec.name], spec) for spec in specs}


def _zeros(spec: TensorSpec) -> np.ndarray:
    return np.zeros([max(1, n) for n in spec.shape], DTYPES[spec.datatype])


def _as_matrix(arrays: dict[str, np.ndarray], spec: TensorSpec) -> np.ndarray:
    """Return columns side by side, as sent, for a graph that takes them as one matrix; or the only tensor."""
    if len(arrays) == 1 and next(iter(arrays.values())).ndim == len(spec.shape):
        return next(iter(arrays.values()))
    lengths = {array.shape for array in arrays.values()}
    if len(spec.shape) != 2 or len(lengths) != 1 or any(array.ndim != 1 for array in arrays.values()):
        raise refuse(f"inputs: missing: {spec.name}")
    return np.stack(list(arrays.values()), axis=1)


def _fit(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """Return an array in the graph's precision; one of another shape or kind is refused."""
    fits = array.ndim == len(spec.shape) and all(n in {-1, m} for n, m in zip(spec.shape, array.shape, strict=True))
    if not fits:
        raise refuse(f"{spec.name}: the shape {list(array.shape)} is not {list(spec.shape)}")
    dtype = np.dtype(DTYPES[spec.datatype])
    if dtype.kind != array.dtype.kind and not (dtype.kind == "f" and array.dtype.kind in "iu"):
        raise refuse(f"{spec.name}: {array.dtype} where the model takes {spec.datatype}")
    return array.astype(dtype)


def _tensor_spec(entry: Any) -> TensorSpec:
    if entry.type not in TYPES:
        raise InvalidInput(f"{entry.name}: {entry.type} can't be served", hint="export it without zipmap: tensors only")
    shape = tuple(n if isinstance(n, int) and n >= 0 else -1 for n in entry.shape)
    return TensorSpec(name=entry.name, datatype=TYPES[entry.type], shape=shape)
