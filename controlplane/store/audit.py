"""The audit: who changed what, when and why; chained like the decisions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from contracts.errors import InvalidInput
from controlplane.store.chain import Chain, Head
from controlplane.store.database import Database
from controlplane.store.schema import AUDIT

CHAIN = Chain(AUDIT, noun="audit record", subject="subject")


@dataclass(frozen=True, slots=True)
class Change:
    """One change that a person or a program asked for: ``actor`` did ``action`` to ``subject``."""

    sequence: int
    at_s: float
    actor: str
    action: str
    subject: str
    reason: str
    detail: dict[str, Any]


class Audit:
    """The audit of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(
        self,
        connection: Connection,
        *,
        actor: str,
        action: str,
        subject: str,
        reason: str,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Write a change down in the transaction that makes it: neither is there without the other.

        Raises:
            InvalidInput: when nobody is named.
        """
        if not actor:
            raise InvalidInput("actor: nobody is named", hint="say who makes the change")
        at_s = self._database.now_s(connection)
        record = {"at_s": at_s, "actor": actor, "action": action, "subject": subject, "reason": reason}
        CHAIN.append(connection, [{**record, "detail": dict(detail or {})}])

    def changes(self, subject: str | None = None, after: int = -1) -> list[Change]:
        """Return the next page of changes after a sequence number, of one subject or of all."""
        with self._database.read() as connection:
            links = CHAIN.page(connection, subject=subject, after=after)
        return [Change(**{name: value for name, value in link.body.items() if name != "previous"}) for link in links]

    def verify(self, known: Sequence[Head] = ()) -> int:
        """Check the whole chain, also against heads that were kept elsewhere, and return its length.

        Raises:
            IntegrityError: naming the first record that is wrong.
        """
        with self._database.read() as connection:
            return CHAIN.verify(connection, known).length
