"""Records that are chained: each names the digest of the one before, so that none is changed or taken out unseen."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, insert, select, update

from contracts.errors import IntegrityError
from controlplane.store.documents import canonical, digest_of
from controlplane.store.schema import CHAINS

GENESIS = "0" * 64
PAGE = 500


@dataclass(frozen=True, slots=True)
class Link:
    """One record of a chain as it was written; ``digest`` is that of its body, which names the one before."""

    sequence: int
    body: dict[str, Any]
    digest: str


@dataclass(frozen=True, slots=True)
class Head:
    """How long a chain is and the digest of its last record: who knows both notices any change before them."""

    chain: str
    length: int
    digest: str


class Chain:
    """A chain in one table: ``noun`` is what people call a record, ``subject`` the field that it is looked up by."""

    def __init__(self, table: Table, *, noun: str, subject: str) -> None:
        self.name = table.name
        self._table, self._noun, self._subject = table, noun, subject

    def append(
        self,
        connection: Connection,
        records: Sequence[Mapping[str, Any]],
        *,
        spell: Callable[[Mapping[str, Any]], str] = canonical,
    ) -> list[Link]:
        """Add records, each with at least ``at_s`` and the subject; writers on other connections wait their turn.

        ``spell`` is how a body becomes text.
        """
        row = connection.execute(self._head().with_for_update()).one()
        length, previous = int(row.length), str(row.digest)
        links, rows = [], []
        for sequence, record in enumerate(records, start=length):
            body = {**record, "sequence": sequence, "previous": previous}
            text = spell(body)
            previous = digest_of(text)
            links.append(Link(sequence, body, previous))
            known = {"sequence": sequence, "at_s": record["at_s"], "subject": record[self._subject]}
            rows.append({**known, "body": text, "digest": previous})
        if rows:
            connection.execute(insert(self._table), rows)
            moved = update(CHAINS).where(CHAINS.c.name == self.name)
            connection.execute(moved.values(length=length + len(rows), digest=previous))
        return links

    def page(self, connection: Connection, *, subject: str | None = None, after: int = -1) -> list[Link]:
        """Return the next records after a sequence number, of one subject or of all; empty at the end."""
        found = select(self._table).where(self._table.c.sequence > after).order_by(self._table.c.sequence).limit(PAGE)
        if subject is not None:
            found = found.where(self._table.c.subject == subject)
        return [self._read(row.sequence, row.body, row.digest) for row in connection.execute(found)]

    def head(self, connection: Connection) -> Head:
        """Return where the chain ends."""
        row = connection.execute(self._head()).one()
        return Head(self.name, int(row.length), str(row.digest))

    def verify(self, connection: Connection, known: Sequence[Head] = ()) -> Head:
        """Recompute every digest, and compare with the heads that are known from elsewhere.

        Raises:
            IntegrityError: naming the first record that was edited or is missing, or how many were cut off the end.
        """
        expected = {head.length: head.digest for head in known if head.chain == self.name}
        length, previous = 0, GENESIS
        for row in self._rows(connection):
            body = self._check(row, length, previous)
            length, previous = length + 1, digest_of(body)
            if expected.pop(length, previous) != previous:
                raise self._broken(f"{self._noun} {length - 1} is not the one that was signed: the chain was rewritten")
        head = self.head(connection)
        longest = max([head.length, *expected])
        if longest > length:
            lost = f"the last {longest - length} {self._noun}s were cut off"
            raise self._broken(f"{lost}: {longest} were written, {length} are left")
        if (head.length, head.digest) != (length, previous):
            raise self._broken(f"the chain's head names {head.length} {self._noun}s and another digest")
        return head

    def _head(self) -> Any:
        return select(CHAINS.c.length, CHAINS.c.digest).where(CHAINS.c.name == self.name)

    def _rows(self, connection: Connection) -> Iterator[Any]:
        after, column = -(1 << 62), self._table.c.sequence
        while rows := connection.execute(select(self._table).where(column > after).order_by(column).limit(PAGE)).all():
            yield from rows
            after = rows[-1].sequence

    def _check(self, row: Any, sequence: int, previous: str) -> str:
        if row.sequence != sequence:
            raise self._broken(f"{self._noun} {sequence} is missing")
        link = self._read(row.sequence, row.body, row.digest)
        told = (link.body.get("sequence"), link.body.get("at_s"), link.body.get(self._subject))
        if digest_of(row.body) != row.digest or told != (row.sequence, row.at_s, row.subject):
            raise self._broken(f"{self._noun} {sequence} was edited")
        if link.body.get("previous") != previous:
            raise self._broken(f"{self._noun} {sequence} does not follow the one before: one of them was replaced")
        return str(row.body)

    def _read(self, sequence: int, body: str, digest: str) -> Link:
        try:
            return Link(sequence, json.loads(body), digest)
        except ValueError:
            raise self._broken(f"{self._noun} {sequence} was edited: it can't be read") from None

    def _broken(self, message: str) -> IntegrityError:
        return IntegrityError(message, hint="keep the database as it is, and compare it with a backup")
