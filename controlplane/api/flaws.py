"""What is wrong with a request, in words: not the pattern that it was held against, but what to write."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from contracts.ids import NAME_PATTERN
from controlplane.api.documents import ID_PATTERN, NUMBER_PATTERN, VERSION_PATTERN
from controlplane.api.parameters import RECORD_PATTERN, WHY_PATTERN

WORDS: Mapping[str, tuple[str, str]] = {
    NAME_PATTERN: ("a name", "use at most 100 letters, digits and, between them, dots, dashes and underscores"),
    VERSION_PATTERN: ("a version", "write MODEL@NUMBER or MODEL@ALIAS, such as tags@13"),
    NUMBER_PATTERN: ("a number or an alias", "write 13, or champion"),
    ID_PATTERN: ("an id", "copy it from a list, where ids stand whole"),
    RECORD_PATTERN: ("an id", "copy it from a list, where ids stand whole"),
    r"^[A-Za-z0-9](?:[A-Za-z0-9._@/-]{0,198}[A-Za-z0-9])?$": (
        "a replica or a machine",
        "write MODEL@NUMBER/REPLICA, or a name out of roost fleet get",
    ),
    r"\S": ("a reason", "say why; it is recorded"),
    WHY_PATTERN: ("a reason", "say why; it is recorded"),
    r"^\S(?:.*\S)?$": ("somebody's name", "begin and end it with a letter"),
    r"^[a-z][a-z0-9-]{0,99}$": ("a kind of job", "write its name, such as evaluate"),
    r"^[1-9][0-9]{0,5}[smhdw]$": ("a length of time", "write 30d or 12h"),
    r"^[0-9]{4}-W[0-9]{2}$": ("a week", "write its year and number: 2026-W46"),
    r"^(?:[0-9]{1,15}-[0-9]{1,15})?$": ("a position in the stream", "send the last event's id, or 0-0"),
    r"^[\x21-\x7e]+$": ("a subject", "write KIND/NAME, such as service/tags"),
    r"^[\x21-\x7e]{1,200}$": ("a key", "use 1 to 200 plain characters without spaces; a UUID will do"),
}
"""What each pattern of the API's description stands for, and how that is written."""
PLACES = frozenset({"body", "query", "path", "header"})
DOCUMENT = "the API's description is at openapi.json"
LONGEST_SHOWN = 100


class Flaw(BaseModel):
    """One mistake in what was sent."""

    path: str
    value: str
    message: str
    remedy: str


def describe_flaws(errors: Iterable[Mapping[str, Any]], media_type: str) -> list[Flaw]:
    """Return what was found wrong with a request whose body claims to be ``media_type``."""
    return [_describe(error, media_type) for error in errors]


def sum_up(flaws: Sequence[Flaw]) -> tuple[str, str]:
    """Return the first mistake in one sentence, and what to do about it."""
    if not flaws:
        return "the request is not what the API takes", DOCUMENT
    first = flaws[0]
    place, _, rest = first.path.partition(".")
    where = rest if place in PLACES and rest else first.path
    return f"{where}: {first.message}", first.remedy or DOCUMENT


def _describe(error: Mapping[str, Any], media_type: str) -> Flaw:
    path, given = ".".join(str(step) for step in error["loc"]), error.get("input")
    value, message, remedy = repr(given)[:LONGEST_SHOWN], str(error["msg"]), ""
    if error["loc"] == ("body",) and isinstance(given, bytes):
        message, remedy = f"it came as {media_type or 'nothing'}, not as JSON", "send Content-Type: application/json"
    elif error["type"] == "string_pattern_mismatch":
        noun, remedy = WORDS.get(error["ctx"]["pattern"], ("what is wanted here", ""))
        message = f"{value} is not {noun}"
    return Flaw(path=path, value=value, message=message, remedy=remedy)
