"""ONNX files, walked as protocol-buffer fields: they must be models, and stay inside their folders.

Only what can reach outside is read: the places of external data. Field numbers are those of ``onnx.proto``.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from registry.safety.findings import BrokenFile

DEEPEST: Final = 64
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
CHILDREN: Final[dict[str, dict[int, str]]] = {
    "Model": {7: "Graph", 20: "TrainingInfo", 25: "Function"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {13: "ExternalData"},
    "Function": {7: "Node", 11: "Attribute"},
    "TrainingInfo": {1: "Graph", 2: "Graph"},
}


def check_onnx(path: Path) -> None:
    """Check that a file is an ONNX model whose external data, if any, are files beside it.

    Raises:
        BrokenFile: when it is truncated or no ONNX model, or names data outside its folder or that are missing.
    """
    if not path.stat().st_size:
        raise BrokenFile("an empty file is not an ONNX model")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        top = {number: kind for number, kind, _, _ in _fields(content, 0, len(content))}
        if top.get(1) != VARINT or top.get(7) != BYTES:
            raise BrokenFile("not an ONNX model: it has no version or no graph")
        for place in _external_places(content, 0, len(content), "Model", 0):
            pure = PurePosixPath(place)
            if pure.is_absolute() or ".." in pure.parts or "\\" in place or not pure.parts:
                raise BrokenFile(f"its data at {place!r} lie outside its folder")
            if not (path.parent / place).is_file():
                raise BrokenFile(f"its data at {place!r} are missing")


def _external_places(content: mmap.mmap, start: int, end: int, message: str, depth: int) -> Iterator[str]:
    if depth > DEEPEST:
        raise BrokenFile("graphs are nested too deeply")
    if message == "ExternalData":
        entry = {number: bytes(content[begin:stop]) for number, _, begin, stop in _fields(content, start, end)}
        if entry.get(1) == b"location":
            yield entry.get(2, b"").decode(errors="replace")
        return
    for number, kind, begin, stop in _fields(content, start, end):
        child = CHILDREN[message].get(number)
        if child is not None and kind == BYTES:
            yield from _external_places(content, begin, stop, child, depth + 1)


def _fields(content: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield each field of a message: its number, wire type, and where its content begins and ends."""
    at = start
    while at < end:
        key, at = _varint(content, at, end)
        number, kind = key >> 3, key & 7
        begin = at
        if kind == VARINT:
            _, at = _varint(content, at, end)
        elif kind == BYTES:
            length, begin = _varint(content, at, end)
            at = begin + length
        elif kind in {FIXED64, FIXED32}:
            at += 8 if kind == FIXED64 else 4
        else:
            raise BrokenFile("not an ONNX model: unknown wire type")
        if at > end or not number:
            raise BrokenFile("not an ONNX model, or truncated")
        yield number, kind, begin, at


def _varint(content: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
    raise BrokenFile("not an ONNX model, or truncated")
