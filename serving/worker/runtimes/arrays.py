"""Tensors of the wire as numpy arrays and tables, and back."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from contracts.wire.tensors import Datatype, InferRequest, Tensor
from contracts.wire.worker import FailureReason
from serving.worker.runtimes.port import DrawFailure

DTYPES = {
    Datatype.BOOL: np.bool_,
    Datatype.UINT8: np.uint8,
    Datatype.UINT16: np.uint16,
    Datatype.UINT32: np.uint32,
    Datatype.UINT64: np.uint64,
    Datatype.INT8: np.int8,
    Datatype.INT16: np.int16,
    Datatype.INT32: np.int32,
    Datatype.INT64: np.int64,
    Datatype.FP16: np.float16,
    Datatype.FP32: np.float32,
    Datatype.FP64: np.float64,
    Datatype.BYTES: np.object_,
}
DATATYPES = {np.dtype(dtype): datatype for datatype, dtype in DTYPES.items()}
FLOATS = {Datatype.FP16, Datatype.FP32, Datatype.FP64}


def refuse(message: str) -> DrawFailure:
    """Return the failure of a request whose inputs are not the model's."""
    return DrawFailure(FailureReason.REFUSED, message)


def read_array(tensor: Tensor) -> np.ndarray:
    """Return a tensor as an array of its shape; missing numbers are not-a-number.

    Raises:
        DrawFailure: with ``REFUSED``, when its data are not what its datatype and shape say.
    """
    data = tensor.data
    flat = tensor.datatype in FLOATS and not any(isinstance(value, list) for value in data)
    try:
        array = np.array([math.nan if value is None else value for value in data] if flat else data)
        array = array.astype(DTYPES[tensor.datatype], casting="unsafe" if flat or _is_exact(array, tensor) else "safe")
    except (TypeError, ValueError, OverflowError):
        raise refuse(f"{tensor.name}: its data are not {tensor.datatype}") from None
    if array.size != math.prod(tensor.shape):
        raise refuse(f"{tensor.name}: {array.size} values for the shape {list(tensor.shape)}")
    return array.reshape(tensor.shape)


def _is_exact(array: np.ndarray, tensor: Tensor) -> bool:
    """Tell whether plain JSON values are those of the datatype: whole and in range for integers, true or false."""
    dtype = np.dtype(DTYPES[tensor.datatype])
    if dtype.kind in {"f", "O"}:
        return array.dtype.kind in "biuf" or dtype.kind == "O"
    if dtype.kind == "b":
        return array.dtype.kind == "b"
    if array.dtype.kind not in "iu":
        return not array.size
    limits = np.iinfo(dtype.name)
    return not array.size or (int(array.min()) >= limits.min and int(array.max()) <= limits.max)


def read_columns(request: InferRequest) -> dict[str, np.ndarray]:
    """Return the inputs by name; a name that stands twice is refused."""
    arrays = {tensor.name: read_array(tensor) for tensor in request.inputs}
    if len(arrays) != len(request.inputs):
        raise refuse("inputs: two tensors have one name")
    return arrays


def read_table(request: InferRequest, columns: Sequence[str] | None) -> pd.DataFrame:
    """Return the inputs as a table: a tensor per column, or one matrix of all columns.

    ``columns`` are those of the model in their order, None where it doesn't say; then the request's stand.

    Raises:
        DrawFailure: with ``REFUSED``, when columns are missing, unknown, or of different lengths.
    """
    arrays = read_columns(request)
    if len(arrays) == 1:
        (array,) = arrays.values()
        if array.ndim == 2 and (columns is None or next(iter(arrays)) not in columns):
            if columns is not None and array.shape[1] != len(columns):
                raise refuse(f"inputs: rows of {array.shape[1]} values, the model takes {len(columns)}")
            return pd.DataFrame(array, columns=None if columns is None else list(columns))
    flat = {
        name: array.reshape(-1) if array.ndim == 2 and array.shape[1] == 1 else array for name, array in arrays.items()
    }
    odd = [name for name, array in flat.items() if array.ndim != 1]
    if odd or len({len(array) for array in flat.values()}) != 1:
        raise refuse(f"inputs: {odd[0] if odd else 'the columns'} must be one column each, of one length")
    if columns is None:
        return pd.DataFrame(flat)
    refuse_other_names(columns, flat)
    return pd.DataFrame({name: flat[name] for name in columns})


def refuse_other_names(known: Sequence[str], given: Mapping[str, np.ndarray]) -> None:
    """Raise ``DrawFailure`` with ``REFUSED`` unless exactly the known inputs were given."""
    missing, unknown = [name for name in known if name not in given], sorted(given.keys() - set(known))
    if missing or unknown:
        raise refuse(f"inputs: {'missing' if missing else 'unknown'}: {', '.join((missing or unknown)[:5])}")


def write_tensor(name: str, values: Any) -> Tensor:
    """Return an array, a column or a list as a tensor; what is no number or truth value goes as text."""
    array = np.asarray(values)
    datatype = DATATYPES.get(array.dtype)
    if datatype is None or datatype is Datatype.BYTES:
        datatype, array = Datatype.BYTES, array.astype(np.object_)
    data = array.reshape(-1).tolist()
    if datatype in FLOATS:
        data = [value if math.isfinite(value) else None for value in data]
    elif datatype is Datatype.BYTES:
        data = [value if value is None or isinstance(value, str) else str(value) for value in data]
    return Tensor(name=name, shape=array.shape, datatype=datatype, data=data)


def pick_outputs(request: InferRequest, known: Sequence[str]) -> list[str]:
    """Return the names of the outputs to give: those asked for, or all that are known.

    Raises:
        DrawFailure: with ``REFUSED``, when one is asked for that the model doesn't give.
    """
    wanted = [output.name for output in request.outputs] or list(known)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise refuse(f"outputs: the model gives no {unknown[0]!r}; it gives {', '.join(known)}")
    return wanted
