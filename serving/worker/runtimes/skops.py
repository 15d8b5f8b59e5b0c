"""The skops runtime: a scikit-learn estimator from a file that can hold no code, by our own list of trusted types."""

from pathlib import Path
from typing import Any

from contracts.errors import InvalidInput
from contracts.trust import TRUSTED_TYPES
from contracts.wire.tensors import Datatype, InferRequest, ModelMetadata, Tensor, TensorSpec
from contracts.wire.worker import FailureReason, WorkerSpec
from serving.worker.runtimes.arrays import pick_outputs, read_table, refuse, write_tensor
from serving.worker.runtimes.port import DrawFailure

METHODS = ("predict", "predict_proba", "decision_function", "transform")
"""What an estimator may be asked for, each as an output of its name; the first that it has is given unasked."""


class SkopsRuntime:
    """Answers with one estimator; its columns are those that it was fitted on."""

    def __init__(self, spec: WorkerSpec, model_file: str | None) -> None:
        self._spec, self._model_file = spec, model_file
        self._estimator: Any = None
        self._columns: list[str] | None = None

    def load(self) -> None:
        """Load the estimator.

        Raises:
            InvalidInput: when there is no such file, it is broken, or it holds types that are not trusted.
        """
        import skops.io
        from skops.io.exceptions import UntrustedTypesFoundException

        if self._model_file is None:
            raise InvalidInput("model_file: not given, so no estimator can be loaded", hint="name it in roost.json")
        file = Path(self._spec.directory) / self._model_file
        try:
            self._estimator = skops.io.load(file, trusted=sorted(TRUSTED_TYPES))
        except UntrustedTypesFoundException as error:
            raise InvalidInput(
                f"{self._model_file}: {error}", hint="only types on Roost's own list are loaded"
            ) from None
        except Exception as error:
            raise InvalidInput(
                f"{self._model_file} can't be loaded: {type(error).__name__}: {str(error)[:300]}",
                hint="was it written by another version of scikit-learn?",
            ) from error
        names = getattr(self._estimator, "feature_names_in_", None)
        self._columns = None if names is None else [str(name) for name in names]

    def warm_up(self) -> None:
        """Do nothing: the first table costs what the others cost."""

    def metadata(self) -> ModelMetadata:
        """Return the columns that the estimator was fitted on; element types are not among what it remembers."""
        if self._columns is not None:
            inputs = tuple(TensorSpec(name=name, datatype=Datatype.FP64, shape=(-1,)) for name in self._columns)
        else:
            width = getattr(self._estimator, "n_features_in_", -1)
            inputs = (TensorSpec(name="inputs", datatype=Datatype.FP64, shape=(-1, int(width))),)
        return ModelMetadata(inputs=inputs)

    def infer(self, request: InferRequest) -> list[Tensor]:
        """Ask the estimator; raises ``DrawFailure`` when the columns are not its own, or it fails."""
        table = read_table(request, self._columns)
        width = getattr(self._estimator, "n_features_in_", table.shape[1])
        if table.shape[1] != width:
            raise refuse(f"inputs: rows of {table.shape[1]} values, the model takes {width}")
        offered = [name for name in METHODS if hasattr(self._estimator, name)]
        if not offered:
            raise DrawFailure(FailureReason.ERROR, f"{type(self._estimator).__name__} predicts nothing")
        wanted = pick_outputs(request, offered) if request.outputs else offered[:1]
        rows = table if self._columns is not None else table.to_numpy()
        try:
            return [write_tensor(name, getattr(self._estimator, name)(rows)) for name in wanted]
        except ValueError as error:
            if "could not convert string" in str(error):
                raise refuse(f"inputs: {error}") from None
            raise
        except MemoryError as error:
            raise DrawFailure(FailureReason.OOM, f"out of memory: {error}") from None
