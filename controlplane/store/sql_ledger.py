"""The decision ledger in the database: chained, append-only, written in the same transaction as what was decided."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from contracts.errors import Conflict
from controlplane.store.chain import Chain, Head, Link
from controlplane.store.database import Database
from controlplane.store.documents import compact
from controlplane.store.ledger import Entry, Ledger
from controlplane.store.schema import DECISIONS

CHAIN = Chain(DECISIONS, noun="decision", subject="rollout_id")


class SqlLedger:
    """The ledger; safe for threads and processes. ``code_version`` is written into each decision."""

    def __init__(self, database: Database, code_version: str) -> None:
        self._database, self._code_version = database, code_version

    def append(
        self, *, at_s: float, rollout_id: str, policy_digest: str, observation: dict[str, Any], decision: dict[str, Any]
    ) -> Entry:
        """Write one decision in a transaction of its own."""
        record = {"at_s": at_s, "rollout_id": rollout_id, "policy_digest": policy_digest}
        made = {**record, "code_version": self._code_version, "observation": observation, "decision": decision}
        with self._database.write() as connection:
            (link,) = CHAIN.append(connection, [made])
        return _entry(link)

    def write(self, connection: Connection, records: Sequence[Mapping[str, Any]]) -> None:
        """Write decisions in the caller's transaction, each with the arguments of `append`; NaN becomes null."""
        coded = [{**record, "code_version": self._code_version} for record in records]
        CHAIN.append(connection, coded, spell=compact)

    def entries(self, rollout_id: str | None = None, *, after: int = -1) -> Iterator[Entry]:
        """Read decisions in order, page by page, those with a higher sequence than ``after``."""
        while True:
            with self._database.read() as connection:
                links = CHAIN.page(connection, subject=rollout_id, after=after)
            if not links:
                return
            yield from (_entry(link) for link in links)
            after = links[-1].sequence

    def verify(self, known: Sequence[Head] = ()) -> int:
        """Check the whole chain, also against heads that were kept elsewhere, and return its length."""
        with self._database.read() as connection:
            return CHAIN.verify(connection, known).length

    def take_over(self, other: Ledger) -> int:
        """Copy another ledger's decisions, digests and all, into this one; return how many.

        Raises:
            Conflict: when this one holds decisions already.
            IntegrityError: when the other is broken; nothing is copied.
        """
        other.verify()
        with self._database.write() as connection:
            if CHAIN.head(connection).length:
                raise Conflict("the ledger holds decisions already", hint="a ledger is taken over into an empty one")
            records = [{name: value for name, value in vars(e).items() if name != "digest"} for e in other.entries()]
            return len(CHAIN.append(connection, records))


def _entry(link: Link) -> Entry:
    return Entry(**link.body, digest=link.digest)
