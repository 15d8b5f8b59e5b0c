"""The journal: what MLflow does not keep. Pins, alias moves and waivers, each row written once and never changed.

MLflow's aliases have no history and its tags can be edited by anybody; what this file says is what Roost did.
"""

import fcntl
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from contracts.errors import IntegrityError, InvalidInput, Unavailable
from contracts.ids import VersionId

MoveKind = Literal["intended", "undoing", "moved", "undone", "adopted", "abandoned"]

TABLES = {
    "pins": "model TEXT, number INTEGER, digest TEXT NOT NULL, location TEXT NOT NULL, at_s REAL NOT NULL, "
    "PRIMARY KEY (model, number)",
    "moves": "sequence INTEGER PRIMARY KEY, at_s REAL NOT NULL, model TEXT NOT NULL, alias TEXT NOT NULL, "
    "kind TEXT NOT NULL, origin INTEGER, target INTEGER, actor TEXT NOT NULL, reason TEXT NOT NULL",
    "waivers": "sequence INTEGER PRIMARY KEY, at_s REAL NOT NULL, digest TEXT NOT NULL, actor TEXT NOT NULL, "
    "reason TEXT NOT NULL",
}
INDEX = "CREATE INDEX IF NOT EXISTS moves_of_alias ON moves (model, alias, sequence)"


@dataclass(frozen=True, slots=True)
class Pin:
    """What a version was when it was registered: its digest, and where its bytes lie."""

    version: VersionId
    digest: str
    location: str


@dataclass(frozen=True, slots=True)
class Move:
    """One line of an alias's history: who pointed it where, when (seconds since 1970) and why.

    ``origin`` and ``target`` are None where the alias pointed nowhere.
    """

    sequence: int
    at_s: float
    model: str
    alias: str
    kind: MoveKind
    origin: VersionId | None
    target: VersionId | None
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class Waiver:
    """An approver's word that content with this digest may be used although the rules refuse it."""

    sequence: int
    at_s: float
    digest: str
    actor: str
    reason: str


class Journal:
    """The journal as one SQLite file; triggers refuse every change of a row. Safe for threads and processes."""

    def __init__(self, path: Path, now_s: Callable[[], float] = time.time) -> None:
        self._path, self._now_s = path, now_s
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as database:
            for name, columns in TABLES.items():
                database.execute(f"CREATE TABLE IF NOT EXISTS {name} ({columns}) STRICT")
                for verb in ("UPDATE", "DELETE"):
                    database.execute(
                        f"CREATE TRIGGER IF NOT EXISTS {name}_no_{verb.lower()} BEFORE {verb} ON {name} "
                        "BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END"
                    )
            database.execute(INDEX)

    def pin(self, version: VersionId, digest: str, location: str) -> None:
        """Write down what a version is; the same again is fine.

        Raises:
            IntegrityError: when it was pinned as something else.
        """
        known = self.find_pin(version)
        if known is None:
            row = (version.model, version.number, digest, location, self._now_s())
            self._write("INSERT INTO pins VALUES (?, ?, ?, ?, ?)", row)
        elif (known.digest, known.location) != (digest, location):
            raise IntegrityError(
                f"{version} was registered as {known.digest}, not as {digest}",
                hint="was MLflow's store replaced? restore it, or begin with a new home folder",
            )

    def find_pin(self, version: VersionId) -> Pin | None:
        """Return what a version was registered as, if that was written down."""
        rows = self._read(
            "SELECT digest, location FROM pins WHERE model = ? AND number = ?", (version.model, version.number)
        )
        return Pin(version, *rows[0]) if rows else None

    def write_move(
        self,
        model: str,
        alias: str,
        kind: MoveKind,
        origin: VersionId | None,
        target: VersionId | None,
        *,
        actor: str,
        reason: str,
    ) -> None:
        """Append one line to an alias's history, on disk before it returns."""
        ends = (origin.number if origin else None, target.number if target else None)
        self._write(
            "INSERT INTO moves (at_s, model, alias, kind, origin, target, actor, reason) VALUES (?,?,?,?,?,?,?,?)",
            (self._now_s(), model, alias, kind, *ends, actor, reason),
        )

    def moves(self, model: str, alias: str | None = None) -> list[Move]:
        """Return the history of a model's aliases, or of one of them, oldest first."""
        query = "SELECT sequence, at_s, model, alias, kind, origin, target, actor, reason FROM moves WHERE model = ?"
        rows = self._read(
            query + (" AND alias = ?" if alias else "") + " ORDER BY sequence", (model, alias) if alias else (model,)
        )
        return [
            Move(*row[:5], *(VersionId(model, number) if number is not None else None for number in row[5:7]), *row[7:])
            for row in rows
        ]

    def aliases(self, model: str) -> list[str]:
        """Return the names of the aliases of a model that were ever moved."""
        return [row[0] for row in self._read("SELECT DISTINCT alias FROM moves WHERE model = ?", (model,))]

    def write_waiver(self, digest: str, *, actor: str, reason: str) -> None:
        """Waive the refusal of content with this digest; it stands for ever, with its author and reason.

        Raises:
            InvalidInput: when actor or reason is empty.
        """
        for field, text in (("actor", actor), ("reason", reason)):
            if not text.strip():
                raise InvalidInput(f"{field}: a waiver must have one", hint="say who approves it, and why")
        row = (self._now_s(), digest, actor, reason)
        self._write("INSERT INTO waivers (at_s, digest, actor, reason) VALUES (?, ?, ?, ?)", row)

    def waivers(self, digest: str | None = None) -> list[Waiver]:
        """Return the waivers of a digest, or all, oldest first."""
        query = "SELECT sequence, at_s, digest, actor, reason FROM waivers"
        rows = self._read(
            query + (" WHERE digest = ?" if digest else "") + " ORDER BY sequence", (digest,)[: bool(digest)]
        )
        return [Waiver(*row) for row in rows]

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the lock under which aliases move: one holder among all threads and processes of this home."""
        with self._path.with_suffix(".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._path, timeout=20)) as database, database:
                database.execute("PRAGMA synchronous = FULL")
                yield database
        except (sqlite3.OperationalError, sqlite3.DatabaseError) as error:
            raise Unavailable(
                f"the journal {self._path.name} can't be used: {error}",
                hint="is the disk full, or the folder read-only?",
            ) from None

    def _write(self, statement: str, row: tuple[Any, ...]) -> None:
        with self._open() as database:
            database.execute(statement, row)

    def _read(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._open() as database:
            return database.execute(query, values).fetchall()
