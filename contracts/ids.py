"""Names, version references and aliases, as people write them: ``tags@13``, ``tags@champion``."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, NamedTuple

from pydantic import GetCoreSchemaHandler, StringConstraints
from pydantic_core import CoreSchema, core_schema

from contracts.errors import InvalidInput

NAME_PATTERN = r"^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?$"
NAME = re.compile(NAME_PATTERN[:-1] + r"\Z")
ALIAS = re.compile(r"[a-z][a-z0-9_-]{0,98}\Z")
RESERVED_ALIAS = re.compile(r"(latest|v\d+)\Z")

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=100)]
"""A service, lane, SLO or registered-model name: letters, digits, ``.``, ``_``, ``-``; at most 100."""

CHAMPION = "champion"
CHALLENGER = "challenger"
PREVIOUS = "previous"


def parse_name(text: str, field: str = "name") -> str:
    """Return ``text`` when it is a valid name.

    Raises:
        InvalidInput: naming the field, when it holds other than letters, digits, ``.``, ``_`` and ``-``.
    """
    if not NAME.match(text):
        raise InvalidInput(
            f"{field}: {text!r} is not a name",
            hint="use letters, digits, '.', '_' and '-', beginning and ending with a letter or digit",
        )
    return text


def parse_alias(text: str) -> str:
    """Return an alias in lower case (MLflow tells ``Champion`` from ``champion``; people don't).

    Raises:
        InvalidInput: when it isn't an alias, or one that MLflow reserves (``latest``, ``v3``).
    """
    alias = text.lower()
    if not ALIAS.match(alias) or RESERVED_ALIAS.match(alias):
        raise InvalidInput(
            f"alias: {text!r} can't be an alias",
            hint="use letters, digits, '_' and '-'; 'latest' and 'v<number>' are reserved by MLflow",
        )
    return alias


class VersionId(NamedTuple):
    """One immutable version of a registered model, written ``tags@13``; a tuple, since so much is looked up by it."""

    model: str
    number: int

    def __str__(self) -> str:
        return f"{self.model}@{self.number}"

    @classmethod
    def parse(cls, text: str) -> "VersionId":
        """Read ``tags@13``.

        Raises:
            InvalidInput: when it isn't ``MODEL@NUMBER`` with a number from 1.
        """
        return _parse_version(text)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[Any], handler: GetCoreSchemaHandler) -> CoreSchema:
        def read(text: str) -> VersionId:
            try:
                return cls.parse(text)
            except InvalidInput as error:
                raise ValueError(f"{error.message}; {error.hint}") from None

        from_text = core_schema.no_info_after_validator_function(read, core_schema.str_schema())
        return core_schema.json_or_python_schema(
            json_schema=from_text,
            python_schema=core_schema.union_schema([core_schema.is_instance_schema(cls), from_text]),
            serialization=core_schema.to_string_ser_schema(),
        )


@dataclass(frozen=True, slots=True)
class VersionRef:
    """A version as a person refers to it: by number (``tags@13``) or by alias (``tags@champion``)."""

    model: str
    number: int | None = None
    alias: str | None = None

    def __str__(self) -> str:
        return f"{self.model}@{self.number if self.number is not None else self.alias}"

    @classmethod
    def parse(cls, text: str) -> "VersionRef":
        """Read ``MODEL@NUMBER`` or ``MODEL@ALIAS``.

        Raises:
            InvalidInput: naming what is wrong with it.
        """
        model, at, version = text.partition("@")
        if not at or not version:
            raise InvalidInput(f"{text!r} names no version", hint="write MODEL@NUMBER or MODEL@ALIAS: tags@13")
        parse_name(model, "model")
        if version.isascii() and version.isdigit():
            if version.startswith("0") or len(version) > 18:
                raise InvalidInput(f"{text!r}: versions are numbered from 1", hint="write tags@13")
            return cls(model, number=int(version))
        return cls(model, alias=parse_alias(version))


@lru_cache(maxsize=8192)
def _parse_version(text: str) -> VersionId:
    """Read a version; telemetry and rows name the same few over and over."""
    reference = VersionRef.parse(text)
    if reference.number is None:
        raise InvalidInput(f"{text!r} does not name a version by number", hint="write MODEL@NUMBER: tags@13")
    return VersionId(reference.model, reference.number)
