"""Archives and skops files: zip files read as data, without the tricks that zip allows."""

import json
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final

from contracts.trust import TRUSTED_TYPES
from registry.safety.findings import BrokenFile, Limits, RefusedContent

ENCRYPTED: Final = 0x1
KNOWN_FLAGS: Final = 0x8 | 0x800
"""A data descriptor, and names in UTF-8: all that honest writers set."""


def check_archive(path: Path, limits: Limits) -> dict[str, int]:
    """Check that a zip file holds plain members, and return their unpacked sizes by name.

    Raises:
        BrokenFile: on traversal, links, repeated names, encryption, odd flags, bombs, wrong checksums, or bytes before
            or after the archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_frame(path, archive, members)
            for member in members:
                _check_member(member, limits)
            if sum(member.file_size for member in members) > limits.unpacked_bytes:
                raise BrokenFile(f"unpacks to more than {limits.unpacked_bytes} bytes")
            wrong = archive.testzip()
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError, ValueError) as error:
        raise BrokenFile(f"not a sound zip file: {error}") from None
    if wrong is not None:
        raise BrokenFile(f"the checksum of {wrong!r} is wrong")
    names = {member.filename: member.file_size for member in members}
    if len({name.casefold() for name in names}) != len(members):
        raise BrokenFile("two members have one name")
    return names


def check_skops(path: Path, limits: Limits) -> None:
    """Check a skops file: a sound archive of one schema and arrays, of types that skops or our own list trusts.

    Raises:
        BrokenFile: when it is no skops file.
        RefusedContent: naming the types that are not trusted.
    """
    names = check_archive(path, limits)
    strange = [name for name in names if name != "schema.json" and not name.endswith((".npy", ".npz"))]
    if strange or "schema.json" not in names or names["schema.json"] > limits.text_bytes:
        raise BrokenFile(f"not a skops file: {strange[0] if strange else 'schema.json'} does not belong or fit")
    with zipfile.ZipFile(path) as archive:
        try:
            schema = json.loads(archive.read("schema.json"))
        except (ValueError, RecursionError):
            raise BrokenFile("its schema.json is not JSON") from None
    _check_loaders(schema)
    from skops.io import get_untrusted_types

    try:
        untrusted = sorted(set(get_untrusted_types(file=path)) - TRUSTED_TYPES)
    except Exception as error:  # noqa: BLE001 - whatever the library stumbles over is not a sound file
        raise BrokenFile(f"not a skops file: {type(error).__name__}: {error}") from None
    if untrusted:
        raise RefusedContent(f"holds types that are not trusted: {', '.join(untrusted[:5])}")


def _check_loaders(schema: Any) -> None:
    """Refuse operator functions and methods of objects: ways to compute while loading, which models don't need."""
    for node in _nodes(schema):
        if node.get("__loader__") in {"MethodNode", "OperatorFuncNode"}:
            raise RefusedContent(f"calls {node.get('__module__')}.{node.get('__class__')} while it is loaded")


def _nodes(schema: Any) -> Iterator[dict[str, Any]]:
    left = [schema]
    while left:
        node = left.pop()
        if isinstance(node, dict):
            yield node
            left.extend(node.values())
        elif isinstance(node, list):
            left.extend(node)


def _check_frame(path: Path, archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> None:
    """Bytes around an archive can be a second file in the eyes of another reader."""
    if not members:
        raise BrokenFile("an empty archive")
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04" or min(member.header_offset for member in members) != 0:
            raise BrokenFile("there are bytes before the archive")
        file.seek(-22, 2)
        if archive.comment or file.read(4) != b"PK\x05\x06":
            raise BrokenFile("there are bytes after the archive")


def _check_member(member: zipfile.ZipInfo, limits: Limits) -> None:
    name, pure = member.filename, PurePosixPath(member.filename)
    if (
        pure.is_absolute()
        or ".." in pure.parts
        or "\\" in name
        or ":" in name
        or not name
        or name != member.orig_filename
    ):
        raise BrokenFile(f"member {name!r} leaves the archive")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise BrokenFile(f"member {name!r} is a link")
    if member.flag_bits & ~KNOWN_FLAGS or member.flag_bits & ENCRYPTED:
        raise BrokenFile(f"member {name!r} is encrypted or has odd flags")
    if member.file_size > limits.packing_ratio * max(member.compress_size, 1024):
        raise BrokenFile(f"member {name!r} unpacks to {member.file_size} bytes from {member.compress_size}")
