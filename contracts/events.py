"""What happened, as one value that the log, the ledger, the pages and the notifications all show."""

from enum import StrEnum

from pydantic import Field

from contracts.model import Frozen


class EventCode(StrEnum):
    """Stable, machine-readable reasons; programs match on these and never on the message."""

    VERSION_REGISTERED = "version.registered"
    ALIAS_MOVED = "alias.moved"
    ROLLOUT_STARTED = "rollout.started"
    ROLLOUT_PHASE = "rollout.phase-changed"
    ROLLOUT_WEIGHT = "rollout.weight-changed"
    ROLLOUT_HELD = "rollout.held"
    ROLLOUT_PROMOTED = "rollout.promoted"
    ROLLOUT_ROLLED_BACK = "rollout.rolled-back"
    ROLLOUT_ABORTED = "rollout.aborted"
    ROLLOUT_FAILED = "rollout.failed"


class Event(Frozen):
    """One thing that happened to one subject (``rollout/ab12``, ``tags@13``) at one moment."""

    code: EventCode
    at_s: float
    subject: str
    message: str
    data: dict[str, str | int | float | bool | None] = Field(default_factory=dict)
