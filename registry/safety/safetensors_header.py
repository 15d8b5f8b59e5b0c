"""Safetensors files, checked by their header: no tensor is read.

Source: the format description of the safetensors project; its own reader checks the same.
"""

import json
import math
import struct
from pathlib import Path
from typing import Any, Final

from registry.safety.findings import BrokenFile

LONGEST_HEADER: Final = 100_000_000
BITS: Final = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "C64": 64, "F64": 64, "I64": 64,
    "U64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip


def check_safetensors(path: Path) -> None:
    """Read the header of a safetensors file and compare it with the file's size.

    Raises:
        BrokenFile: when the file is truncated or padded, tensors overlap or leave gaps, or the header lies.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        if len(prefix) < 8:
            raise BrokenFile("too short for a safetensors file")
        (length,) = struct.unpack("<Q", prefix)
        if length > min(LONGEST_HEADER, size - 8):
            raise BrokenFile(f"truncated, or not safetensors: a header of {length} bytes in a file of {size}")
        header = _read_header(file.read(length))
    spans = sorted(_read_span(name, entry) for name, entry in header.items())
    end = 0
    for begin, stop, name in spans:
        if begin != end:
            raise BrokenFile(f"tensor {name!r} begins at {begin}, the one before ends at {end}")
        end = stop
    if end != size - 8 - length:
        raise BrokenFile(f"truncated or padded: tensors take {end} bytes, the file holds {size - 8 - length}")


def _read_header(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text, object_pairs_hook=_refuse_repetition)
    except (ValueError, RecursionError) as error:
        raise BrokenFile(f"the header is not JSON: {error}") from None
    if not text.startswith(b"{") or not isinstance(header, dict):
        raise BrokenFile("the header is not a JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise BrokenFile("the metadata is not text by name")
    return header


def _refuse_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two entries of one name would let two readers see two different files."""
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a name stands there twice")
    return document


def _read_span(name: str, entry: object) -> tuple[int, int, str]:
    try:
        kind, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]  # type: ignore[index]
        bits = BITS[kind] * math.prod(shape)
    except (KeyError, TypeError, ValueError):
        raise BrokenFile(f"tensor {name!r} has no known type, shape and offsets") from None
    numbers = [*shape, begin, end]
    if not all(type(number) is int and 0 <= number < 2**63 for number in numbers):
        raise BrokenFile(f"tensor {name!r} has a shape or offsets that are no counts")
    if bits % 8 or end - begin != bits // 8:
        raise BrokenFile(f"tensor {name!r} of type {kind} and shape {shape} does not take {end - begin} bytes")
    return begin, end, name
