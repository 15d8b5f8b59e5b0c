"""The error hierarchy. Every error a person meets has a stable code, a message and a hint.

*No data* and *inconclusive* are verdicts of the decision core and never appear here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


class RoostError(Exception):
    """Root of all errors raised on purpose.

    ``code`` is stable across releases and is what programs match on; ``message`` says what is wrong and names
    the field; ``hint`` says what to do about it.
    """

    code: ClassVar[str] = "internal"
    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def to_dict(self) -> dict[str, Any]:
        """Return the error as it goes over the wire and into ``--json``."""
        return {"code": self.code, "message": self.message, "hint": self.hint}


class InvalidInput(RoostError):
    """A value given by a person or a program can't be accepted; nothing was changed."""

    code = "input.invalid"
    exit_status = 2


class NotFound(RoostError):
    """The named thing doesn't exist."""

    code = "not-found"
    exit_status = 3


class Unauthenticated(RoostError):
    """Who asks is not known: no token, a wrong one, or one that has ended."""

    code = "unauthenticated"
    exit_status = 4


class NotPermitted(RoostError):
    """The thing asked for exists, but the rules in force forbid it."""

    code = "not-permitted"
    exit_status = 4


class Unavailable(RoostError):
    """A part that is needed doesn't answer; trying again later may work."""

    code = "unavailable"
    exit_status = 5


class Conflict(RoostError):
    """The state has moved on, or somebody else holds it: a stale revision, an old fence, a second rollout."""

    code = "conflict"


class IntegrityError(RoostError):
    """Bytes differ from what was recorded when they were registered."""

    code = "integrity"


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a document.

    ``path`` is where (``rollout.alpha``, empty for the document as a whole), ``value`` what stands there, ``message``
    what is wrong and ``remedy`` what to write instead.
    """

    path: str
    value: object
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        shown = "" if self.value is None else f" (got {self.value!r})"
        remedy = f"; {self.remedy}" if self.remedy else ""
        where = f"{self.path}: " if self.path else ""
        return f"{where}{self.message}{shown}{remedy}"


class SpecError(InvalidInput):
    """A spec with mistakes: all of them at once, each with its path, value and remedy."""

    code = "spec.invalid"
    exit_status = 6

    def __init__(self, subject: str, problems: Sequence[Problem]) -> None:
        count = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        lines = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(
            f"{subject} has {count}:\n{lines}", hint="`roost spec schema` prints the JSON Schema of a spec"
        )
        self.problems = tuple(problems)

    def to_dict(self) -> dict[str, Any]:
        """Return the error with its problems, one object each."""
        rows = [
            {"path": p.path, "value": repr(p.value), "message": p.message, "remedy": p.remedy} for p in self.problems
        ]
        return {**super().to_dict(), "problems": rows}
