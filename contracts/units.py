"""Quantities written as people write them (``99.5%``, ``400ms``, ``22GiB``) and read without loss.

Inside the program a duration is a float in seconds, a share a float in [0, 1], a size an int in bytes. A bare
number is refused where its unit could be mistaken.
"""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationInfo, WithJsonSchema

from contracts.errors import InvalidInput
from contracts.notation import (
    format_bytes,
    format_duration,
    format_fraction,
    parse_bytes,
    parse_duration_s,
    parse_fraction,
)

__all__ = (
    "WRITTEN_BY_HAND",
    "ByteSize",
    "Duration",
    "Fraction",
    "format_bytes",
    "format_duration",
    "format_fraction",
    "parse_bytes",
    "parse_duration_s",
    "parse_fraction",
)
WRITTEN_BY_HAND = "written_by_hand"
"""Validation context under which a duration without a unit is refused."""


def _reader(parse: Callable[[Any], Any], example: str) -> Callable[[object], object]:
    """Adapt a parser to pydantic, which wants ValueError, and refuse kinds such as bool or null by name."""

    def read(value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError(f"{value!r} is not a quantity; write for example {example}")
        try:
            return parse(value)
        except InvalidInput as error:
            raise ValueError(f"{error.message}; {error.hint}") from None

    return read


def _read_duration(value: object, info: ValidationInfo) -> object:
    """Seconds are plain floats in code, but a document that a person wrote must say its unit."""
    by_hand = bool(info.context and info.context.get(WRITTEN_BY_HAND))
    if isinstance(value, int | float) and not isinstance(value, bool) and not by_hand:
        return value
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a duration; write it with its unit, for example 10s")
    return _reader(parse_duration_s, "10s")(value)


Duration = Annotated[
    float,
    BeforeValidator(_read_duration),
    PlainSerializer(lambda seconds: f"{seconds!r}s", return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "examples": ["400ms", "10s", "4h", "28d"]}),
    Field(description="A duration with its unit: us, ms, s, m, h, d or w."),
]
"""A duration in seconds; read from text with a unit, written to JSON as ``600.0s``; in code a plain float."""

Fraction = Annotated[
    float,
    BeforeValidator(_reader(parse_fraction, "5%")),
    WithJsonSchema({"type": ["string", "number"], "examples": ["99.5%", 0.995]}),
    Field(description="A percentage, or a number from 0 to 1."),
]
"""A share in [0, 1]; read from ``5%`` or ``0.05``."""

ByteSize = Annotated[
    int,
    BeforeValidator(_reader(parse_bytes, "22GiB")),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["512MiB", "22GiB"]}),
    Field(description="A size in bytes, with a decimal (MB) or binary (MiB) unit."),
]
"""A size in bytes; read from ``22GiB``, or a whole number of bytes."""
