"""MLflow's scoring protocol: tables and arrays in the shapes that ``/invocations`` takes."""

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import orjson
from pydantic import ValidationError

from contracts.errors import InvalidInput
from contracts.wire.tensors import Datatype, InferReply, InferRequest, ModelMetadata, Tensor
from serving.gateway.protocols.dialect import Problem

SHAPES = ("dataframe_split", "dataframe_records", "instances", "inputs")
HINT = f"send one of {', '.join(SHAPES)}, or CSV"


def read_invocation(body: bytes, content_type: str, metadata: ModelMetadata) -> InferRequest:
    """Read ``POST /invocations``: each column becomes a tensor, an array without names the model's only one.

    Raises:
        InvalidInput: naming what can't be accepted.
    """
    parameters: dict[str, Any] = {}
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "text/csv":
        tensors = _read_csv(body)
    elif kind in {"application/json", ""}:
        tensors, parameters = _read_json(body, metadata)
    else:
        raise InvalidInput(f"content-type: {kind[:100]!r} is not served", hint="send application/json or text/csv")
    try:
        return InferRequest(inputs=tuple(tensors), parameters=parameters)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise InvalidInput(f"{'.'.join(map(str, first['loc']))}: {first['msg']}", hint=HINT) from None


def write_predictions(body: bytes) -> bytes:
    """Return a worker's answer as MLflow's: one output as rows, several as records of named values."""
    reply = InferReply.model_validate_json(body)
    columns = [_nest(output.data, output.shape) for output in reply.outputs]
    if len(columns) == 1:
        return orjson.dumps({"predictions": columns[0]})
    names = [output.name for output in reply.outputs]
    records = [dict(zip(names, map(_scalar, row), strict=True)) for row in zip(*columns, strict=False)]
    return orjson.dumps({"predictions": records})


def shape_error(problem: Problem) -> bytes:
    """Return a problem in MLflow's shape."""
    codes = {
        400: "BAD_REQUEST",
        403: "PERMISSION_DENIED",
        404: "RESOURCE_DOES_NOT_EXIST",
        429: "REQUEST_LIMIT_EXCEEDED",
    }
    code = codes.get(problem.status, "INTERNAL_ERROR" if problem.status >= 500 else "BAD_REQUEST")
    message = f"{problem.message} ({problem.hint})" if problem.hint else problem.message
    return orjson.dumps({"error_code": code, "message": message})


def _read_json(body: bytes, metadata: ModelMetadata) -> tuple[list[Tensor], dict[str, Any]]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the body is not JSON: {error}", hint=HINT) from None
    if not isinstance(document, dict):
        raise InvalidInput("the body is not a JSON object", hint=HINT)
    given = [name for name in SHAPES if name in document]
    unknown = sorted(document.keys() - {*SHAPES, "params"})
    if unknown:
        raise InvalidInput(f"{unknown[0][:100]}: unknown field", hint=HINT)
    if len(given) != 1:
        raise InvalidInput(f"the body has {len(given)} of {', '.join(SHAPES)}", hint="send exactly one of them")
    parameters = document.get("params") or {}
    if not isinstance(parameters, dict):
        raise InvalidInput("params: not an object", hint="send names with plain values")
    readers: dict[str, Callable[[Any], list[Tensor]]] = {
        "dataframe_split": _read_split,
        "dataframe_records": _read_records,
        "instances": lambda rows: _read_instances(rows, metadata),
        "inputs": lambda value: _read_inputs(value, metadata),
    }
    try:
        return readers[given[0]](document[given[0]]), parameters
    except (TypeError, KeyError, ValueError, AttributeError, IndexError, ValidationError) as error:
        raise InvalidInput(f"{given[0]}: not the shape of it ({type(error).__name__})", hint=HINT) from None


def _read_split(table: dict[str, Any]) -> list[Tensor]:
    unknown = table.keys() - {"columns", "index", "data"}
    if unknown:
        raise InvalidInput(f"dataframe_split.{min(unknown)}: unknown field", hint="send columns and data")
    rows = table["data"]
    columns = table.get("columns")
    if columns is None:
        columns = range(len(rows[0]))
    names = [str(name) for name in columns]
    if any(len(row) != len(names) for row in rows):
        raise InvalidInput(f"dataframe_split.data: every row needs {len(names)} values", hint="one per column")
    return _columns({name: [row[index] for row in rows] for index, name in enumerate(names)})


def _read_records(records: list[dict[str, Any]]) -> list[Tensor]:
    names = list(dict.fromkeys(name for record in records for name in record))
    return _columns({name: [record.get(name) for record in records] for name in names})


def _read_instances(rows: list[Any], metadata: ModelMetadata) -> list[Tensor]:
    if rows and isinstance(rows[0], dict):
        return _columns({name: [row[name] for row in rows] for name in rows[0]})
    return [_array(_only_input(metadata), rows)]


def _read_inputs(value: Any, metadata: ModelMetadata) -> list[Tensor]:
    if isinstance(value, dict):
        return _columns({name: column if isinstance(column, list) else [column] for name, column in value.items()})
    return [_array(_only_input(metadata), value)]


def _read_csv(body: bytes) -> list[Tensor]:
    try:
        rows = list(csv.reader(io.StringIO(body.decode(), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"the body is no CSV: {error}", hint="UTF-8, a header line, then one line per row") from None
    rows = [row for row in rows if row]
    if len(rows) < 2 or any(len(row) != len(rows[0]) for row in rows):
        raise InvalidInput("the body is no CSV table", hint="a header line, then as many values in every line")
    return _columns({name: _parse_cells([row[i] for row in rows[1:]]) for i, name in enumerate(rows[0])})


def _parse_cells(cells: Sequence[str]) -> list[Any]:
    """Return a column of CSV as whole numbers if all are, else as numbers, else as text; empty cells are missing."""
    for kind in (int, float):
        try:
            return [kind(cell) if cell.strip() else None for cell in cells]
        except ValueError:
            continue
    return list(cells)


def _columns(columns: dict[str, list[Any]]) -> list[Tensor]:
    return [_array(name, values) for name, values in columns.items()]


def _array(name: str, values: Any) -> Tensor:
    shape, flat = _flatten(values)
    return Tensor(name=name, shape=shape, datatype=_datatype(flat), data=[_finite(value) for value in flat])


def _flatten(values: Any) -> tuple[tuple[int, ...], list[Any]]:
    """Return the shape of nested lists and their values row by row; ragged ones are refused."""
    if not isinstance(values, list):
        return (1,), [values]
    shape: list[int] = []
    flat: list[Any] = [values]
    while flat and all(isinstance(value, list) for value in flat):
        lengths = {len(value) for value in flat}
        if len(lengths) != 1:
            raise InvalidInput("an array whose rows differ in length", hint="send rows of one length")
        shape.append(lengths.pop())
        flat = [item for value in flat for item in value]
    if any(isinstance(value, list | dict) for value in flat):
        raise InvalidInput("an array that mixes values and lists", hint="send rows of one length")
    return tuple(shape), flat


def _datatype(values: Iterable[Any]) -> Datatype:
    """Return the element type of a column; numbers with gaps are floating-point."""
    present = [value for value in values if value is not None]
    missing = len(present) < len(list(values))
    if present and all(isinstance(value, bool) for value in present) and not missing:
        return Datatype.BOOL
    if present and all(isinstance(value, int) and not isinstance(value, bool) for value in present) and not missing:
        return Datatype.INT64
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in present):
        return Datatype.FP64
    return Datatype.BYTES


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _only_input(metadata: ModelMetadata) -> str:
    return metadata.inputs[0].name if len(metadata.inputs) == 1 else "inputs"


def _nest(data: list[Any], shape: tuple[int, ...]) -> list[Any]:
    """Return flat values in rows as the shape says; values that are nested already stay."""
    if data and isinstance(data[0], list):
        return data
    for length in reversed(shape[1:]):
        data = [data[at : at + length] for at in range(0, len(data), length)] if length else data
    return data


def _scalar(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value
