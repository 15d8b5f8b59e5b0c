"""The Open Inference Protocol v2 over HTTP: tensors in JSON, inputs in Triton's binary extension too."""

from typing import Any

import orjson
from pydantic import ValidationError

from contracts.errors import InvalidInput
from contracts.wire.tensors import Datatype, InferRequest, ModelMetadata
from serving.gateway.dispatch import Answer
from serving.gateway.intake import Headers, Intake, read_forced_version, read_lane, read_sticky_key
from serving.gateway.protocols.dialect import Problem
from serving.gateway.service import Service
from serving.gateway.tokens import Tokens
from serving.gateway.work import TensorWork

HEADER_LENGTH = b"inference-header-content-length"
NUMPY_TYPES = {
    Datatype.BOOL: "?",
    Datatype.UINT8: "u1",
    Datatype.UINT16: "<u2",
    Datatype.UINT32: "<u4",
    Datatype.UINT64: "<u8",
    Datatype.INT8: "i1",
    Datatype.INT16: "<i2",
    Datatype.INT32: "<i4",
    Datatype.INT64: "<i8",
    Datatype.FP16: "<f2",
    Datatype.FP32: "<f4",
    Datatype.FP64: "<f8",
}


def read_infer_request(body: bytes, headers: Headers, service: Service, version: str | None, tokens: Tokens) -> Intake:
    """Read ``POST /v2/models/{service}/infer``; what the client sent as binary goes on as JSON.

    Raises:
        InvalidInput: naming the field that can't be accepted.
        NotPermitted: when the path names a version that this client may not choose.
    """
    header_length = headers.get(HEADER_LENGTH)
    request = _validate(body if header_length is None else _decode_binary(body, header_length))
    return tensor_intake(request, headers, service, version, tokens)


def tensor_intake(
    request: InferRequest, headers: Headers, service: Service, version: str | None, tokens: Tokens
) -> Intake:
    """Return the intake of an inference; raises as ``read_infer_request`` does."""
    user = headers.get(b"x-roost-user", b"").decode("latin-1")[:500] or None
    request_id = "r-" + tokens.token(8)
    return Intake(
        service=service,
        lane=read_lane(service, headers, None),
        request_id=request_id,
        sticky_key=read_sticky_key(service, headers, user) or request_id,
        works=(TensorWork(request.model_dump_json(exclude_defaults=True).encode()),),
        user=user,
        forced=read_forced_version(service, headers, version),
    )


def write_infer_reply(intake: Intake, answer: Answer) -> bytes:
    """Return a worker's answer under the name that the client knows; outputs are JSON."""
    reply = orjson.loads(answer.attempt.body)
    version = answer.attempt.version.rpartition("@")[2]
    asked = orjson.loads(answer.work.request_json) if isinstance(answer.work, TensorWork) else {}
    reply |= {"model_name": intake.service.name, "model_version": version}
    if asked.get("id") is not None:
        reply["id"] = asked["id"]
    return orjson.dumps({name: value for name, value in reply.items() if value is not None})


def describe_service(service: Service, metadata: ModelMetadata) -> bytes:
    """Return the model metadata of a service: its versions, and the inputs and outputs of its champion."""
    return orjson.dumps(
        {
            "name": service.name,
            "versions": [str(version.number) for version in service.lines],
            "platform": "roost",
            "inputs": [spec.model_dump(mode="json") for spec in metadata.inputs],
            "outputs": [spec.model_dump(mode="json") for spec in metadata.outputs],
        }
    )


def shape_error(problem: Problem) -> bytes:
    """Return a problem in the protocol's shape."""
    message = f"{problem.message} ({problem.hint})" if problem.hint else problem.message
    return orjson.dumps({"error": message})


def _validate(body: bytes) -> InferRequest:
    try:
        request = InferRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise InvalidInput(f"{where}: {first['msg']}", hint="see the Open Inference Protocol v2") from None
    for index, tensor in enumerate(request.inputs):
        if "binary_data_size" in tensor.parameters:
            raise InvalidInput(
                f"inputs.{index}: binary data without the header Inference-Header-Content-Length",
                hint="send the header, or the data as JSON",
            )
    return request


def _decode_binary(body: bytes, header_length: bytes) -> bytes:
    """Return a body whose binary tensors were put into its JSON header."""
    length = int(header_length) if header_length.isdigit() and len(header_length) < 12 else -1
    if not 0 < length <= len(body):
        raise InvalidInput("Inference-Header-Content-Length: not the length of this body's JSON", hint="send its size")
    try:
        document = orjson.loads(body[:length])
        tensors = document["inputs"]
        rest = memoryview(body)[length:]
        for index, tensor in enumerate(tensors):
            size_bytes = tensor.get("parameters", {}).pop("binary_data_size", None)
            if size_bytes is None:
                continue
            if not isinstance(size_bytes, int) or not 0 <= size_bytes <= len(rest):
                raise InvalidInput(f"inputs.{index}: binary_data_size is not in this body", hint="send all of it")
            tensor["data"] = _values(tensor.get("datatype"), bytes(rest[:size_bytes]), index)
            rest = rest[size_bytes:]
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        raise InvalidInput("the body's header is no inference request", hint="see the protocol") from None
    if len(rest):
        raise InvalidInput(f"the body has {len(rest)} bytes that no input claims", hint="check binary_data_size")
    document.get("parameters", {}).pop("binary_data_output", None)
    for output in document.get("outputs", ()):
        output.get("parameters", {}).pop("binary_data", None)
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def _values(datatype: object, raw: bytes, index: int) -> Any:
    if datatype == Datatype.BYTES:
        return _strings(raw, index)
    if not isinstance(datatype, str) or datatype not in NUMPY_TYPES:
        raise InvalidInput(f"inputs.{index}: datatype {str(datatype)[:20]!r} is not served", hint="see the protocol")
    import numpy as np

    kind = np.dtype(NUMPY_TYPES[Datatype(datatype)])
    if len(raw) % kind.itemsize:
        raise InvalidInput(f"inputs.{index}: {len(raw)} bytes are no whole number of {datatype}", hint="check the size")
    return np.frombuffer(raw, kind).astype(kind.newbyteorder("=")).tolist()


def _strings(raw: bytes, index: int) -> list[str]:
    """Return the strings of a BYTES tensor: each behind its length as four bytes, little end first."""
    strings, at = [], 0
    while at < len(raw):
        end = at + 4 + int.from_bytes(raw[at : at + 4], "little")
        if end > len(raw):
            raise InvalidInput(f"inputs.{index}: a string is longer than its tensor", hint="check the lengths")
        try:
            strings.append(raw[at + 4 : end].decode())
        except UnicodeDecodeError:
            raise InvalidInput(f"inputs.{index}: BYTES that are no UTF-8", hint="send text") from None
        at = end
    return strings
