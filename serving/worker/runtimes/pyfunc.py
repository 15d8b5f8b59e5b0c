"""The MLflow runtime, for whatever MLflow can load.

What it keeps as skops or ONNX is loaded by our own runtimes, so that no folder's own list of trust counts; the rest may
run code while it is loaded, and so was registered only under an approver's waiver.
"""

import os
import warnings
from pathlib import Path
from typing import Any

import yaml

from contracts.errors import InvalidInput
from contracts.wire.tensors import Datatype, InferRequest, ModelMetadata, Tensor, TensorSpec
from contracts.wire.worker import FailureReason, WorkerSpec
from serving.worker.runtimes.arrays import read_columns, read_table, refuse, write_tensor
from serving.worker.runtimes.onnx import OnnxRuntime
from serving.worker.runtimes.port import DrawFailure, TensorRuntime
from serving.worker.runtimes.skops import SkopsRuntime

ALLOW_PICKLE = "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"
PICKLES = {"pickle", "cloudpickle", None}
COLUMN_TYPES = {
    "boolean": Datatype.BOOL,
    "integer": Datatype.INT32,
    "long": Datatype.INT64,
    "float": Datatype.FP32,
    "double": Datatype.FP64,
}
TENSOR_TYPES = {"bool": Datatype.BOOL, "float16": Datatype.FP16, "float32": Datatype.FP32, "float64": Datatype.FP64} | {
    f"{sign}int{bits}": Datatype(f"{sign.upper()}INT{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)
}


def open_mlflow_model(spec: WorkerSpec) -> TensorRuntime:
    """Return the runtime for what ``MLmodel`` describes; nothing is loaded, and MLflow is not imported yet.

    Raises:
        InvalidInput: when ``MLmodel`` can't be read, or names a file outside its folder.
    """
    try:
        document = yaml.safe_load((Path(spec.directory) / "MLmodel").read_text(encoding="utf-8"))
        flavors = {str(name): dict(flavor) for name, flavor in document["flavors"].items()}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise InvalidInput(f"MLmodel can't be read: {type(error).__name__}: {str(error)[:200]}") from None
    sklearn, onnx = flavors.get("sklearn", {}), flavors.get("onnx", {})
    if sklearn.get("serialization_format") == "skops" and not sklearn.get("code"):
        return SkopsRuntime(spec, _inside(spec, sklearn.get("pickled_model")))
    if onnx.get("data") and not onnx.get("code"):
        return OnnxRuntime(spec, _inside(spec, onnx["data"]))
    return PyfuncRuntime(spec, needs_pickle=_needs_pickle(flavors))


class PyfuncRuntime:
    """Answers with ``predict`` of any MLflow model; its signature tells the inputs."""

    def __init__(self, spec: WorkerSpec, *, needs_pickle: bool) -> None:
        self._spec, self._needs_pickle = spec, needs_pickle
        self._model: Any = None

    def load(self) -> None:
        """Load the model in this process, with pickles allowed only where its files are such.

        Raises:
            InvalidInput: when MLflow can't load it, in its own words.
        """
        os.environ[ALLOW_PICKLE] = "true" if self._needs_pickle else "false"
        try:
            with warnings.catch_warnings():
                # MLflow warns of its own type hints, and of every difference from the environment it was saved in.
                warnings.simplefilter("ignore")
                import mlflow

                self._model = mlflow.pyfunc.load_model(self._spec.directory)
        except Exception as error:
            raise InvalidInput(f"MLflow can't load it: {type(error).__name__}: {str(error)[:500]}") from error

    def warm_up(self) -> None:
        """Do nothing: only its users know what it takes."""

    def metadata(self) -> ModelMetadata:
        """Return what the model's signature says; nothing without one."""
        signature = self._model.metadata.signature
        if signature is None:
            return ModelMetadata()
        return ModelMetadata(inputs=_tensor_specs(signature.inputs), outputs=_tensor_specs(signature.outputs))

    def infer(self, request: InferRequest) -> list[Tensor]:
        """Ask the model; raises ``DrawFailure`` when the inputs are not those of its signature, or it fails."""
        from mlflow.exceptions import MlflowException

        if request.outputs:
            raise refuse("outputs: an MLflow model gives all that it has; leave it out")
        schema = self._model.metadata.get_input_schema()
        if schema is not None and schema.is_tensor_spec():
            arrays = read_columns(request)
            given: Any = arrays if schema.has_input_names() else next(iter(arrays.values()))
        else:
            names = schema.input_names() if schema is not None and schema.has_input_names() else None
            needed = None if names is None or schema.optional_input_names() else names
            given = read_table(request, needed)
        try:
            return _write_outputs(self._model.predict(given, params=dict(request.parameters) or None))
        except MlflowException as error:
            if error.error_code in {"INVALID_PARAMETER_VALUE", "BAD_REQUEST"}:
                raise refuse(error.message[:500]) from None
            raise DrawFailure(FailureReason.ERROR, error.message[:500]) from None
        except MemoryError as error:
            raise DrawFailure(FailureReason.OOM, f"out of memory: {error}") from None


def _write_outputs(answer: Any) -> list[Tensor]:
    import pandas as pd

    if isinstance(answer, pd.DataFrame):
        return [write_tensor(str(name), answer[name]) for name in answer.columns]
    if isinstance(answer, dict):
        return [write_tensor(str(name), values) for name, values in answer.items()]
    return [write_tensor("predictions", answer)]


def _tensor_specs(schema: Any) -> tuple[TensorSpec, ...]:
    if schema is None:
        return ()
    if schema.is_tensor_spec():
        return tuple(
            TensorSpec(
                name=entry.name or "predictions",
                datatype=TENSOR_TYPES.get(entry.type.name, Datatype.BYTES),
                shape=tuple(int(n) for n in entry.shape),
            )
            for entry in schema.inputs
        )
    return tuple(
        TensorSpec(
            name=entry.name or "predictions",
            datatype=COLUMN_TYPES.get(getattr(entry.type, "name", ""), Datatype.BYTES),
            shape=(-1,),
        )
        for entry in schema.inputs
    )


def _needs_pickle(flavors: dict[str, dict[str, Any]]) -> bool:
    if flavors.get("python_function", {}).get("python_model"):
        return True
    return any(flavor.get("serialization_format", "none") in PICKLES for flavor in flavors.values())


def _inside(spec: WorkerSpec, name: object) -> str:
    """Return a file's path within the version's directory as its MLmodel names it."""
    directory = Path(spec.directory).resolve()
    if not isinstance(name, str) or not (directory / name).resolve().is_relative_to(directory):
        raise InvalidInput(f"MLmodel names {name!r}, which is no file of its folder")
    return name
