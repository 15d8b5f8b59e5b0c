"""What happened, as one value that the log, the ledger, the pages and the notifications all show."""

from typing import Annotated

from pydantic import Field, StringConstraints

from contracts.model import Frozen

Code = Annotated[str, StringConstraints(pattern=r"^[a-z]+(-[a-z]+)*(\.[a-z]+(-[a-z]+)*)+$")]
"""A stable, machine-readable reason such as ``gate.harm-proven``; programs match on it and never on the message."""


class Event(Frozen):
    """One thing that happened to one subject (``rollout/ab12``, ``tags@13``) at one moment.

    ``message`` is one plain sentence for people; ``data`` the numbers behind it, for programs.
    """

    code: Code
    at_s: float
    subject: str
    message: str
    data: dict[str, str | int | float | bool | None] = Field(default_factory=dict)
