"""Tensors on the wire: the JSON of the Open Inference Protocol v2, which workers of tables and tensors speak."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from contracts.model import Frozen


class Datatype(StrEnum):
    """The protocol's element types."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"


class Tensor(Frozen):
    """One named tensor: ``data`` row by row, flat or nested as ``shape`` says."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    shape: tuple[Annotated[int, Field(ge=0)], ...]
    datatype: Datatype
    data: list[Any]
    parameters: dict[str, str | int | float | bool] = Field(default_factory=dict)


class RequestedOutput(Frozen):
    """An output that a request names; without any, all are returned."""

    name: str
    parameters: dict[str, str | int | float | bool] = Field(default_factory=dict)


class InferRequest(Frozen):
    """Input tensors for one inference."""

    id: str | None = None
    inputs: Annotated[tuple[Tensor, ...], Field(min_length=1)]
    outputs: tuple[RequestedOutput, ...] = ()
    parameters: dict[str, str | int | float | bool] = Field(default_factory=dict)


class InferReply(Frozen):
    """Output tensors of one inference, and which model gave them."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: tuple[Tensor, ...]


class TensorSpec(Frozen):
    """What a model takes or gives: -1 in ``shape`` is any length."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


class ModelMetadata(Frozen):
    """What a model tells of itself; empty lists where its files don't say."""

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
