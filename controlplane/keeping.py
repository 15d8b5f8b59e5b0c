"""How long what is done is kept, as the home's ``keep.yaml`` says."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from contracts.model import Frozen
from contracts.units import Duration
from controlplane.settings_files import read_settings
from controlplane.store.database import Database
from controlplane.store.replies import KEPT_S
from controlplane.store.upkeep import remove_jobs, remove_messages, remove_replies

FILE = "keep.yaml"
DAY_S = 86_400.0


class KeepSpec(Frozen):
    """How long the database keeps what is done with: ``messages`` that were sent or given up, ``jobs`` that ended.

    Services, rollouts, decisions and the audit are kept for ever.
    """

    messages: Annotated[Duration, Field(ge=DAY_S)] = 30 * DAY_S
    jobs: Annotated[Duration, Field(ge=DAY_S)] = 90 * DAY_S


def load_keep(home: Path) -> KeepSpec:
    """Return how long a home keeps things; the defaults where it has no ``keep.yaml``.

    Raises:
        InvalidInput: when it can't be read; `SpecError` with every mistake in it.
    """
    return read_settings(home / FILE, KeepSpec) or KeepSpec()


def remove_what_is_done(database: Database, keep: KeepSpec) -> dict[str, int]:
    """Remove what is past its time, and return how many rows of each kind."""
    return {
        "messages": remove_messages(database, keep.messages),
        "jobs": remove_jobs(database, keep.jobs),
        "replies": remove_replies(database, KEPT_S),
    }
