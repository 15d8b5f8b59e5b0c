"""The decision ledger: every decision with all that it was made from, append-only and chained."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from contracts.errors import IntegrityError
from controlplane.store.documents import canonical, digest_of

GENESIS = "0" * 64


@dataclass(frozen=True)
class Entry:
    """One decision: what was seen (raw counts), what was decided, under which policy and code."""

    sequence: int
    at_s: float
    rollout_id: str
    policy_digest: str
    code_version: str
    observation: dict[str, Any]
    decision: dict[str, Any]
    previous: str
    digest: str


class Ledger(Protocol):
    """Where decisions are written and read back."""

    def append(
        self, *, at_s: float, rollout_id: str, policy_digest: str, observation: dict[str, Any], decision: dict[str, Any]
    ) -> Entry:
        """Write one decision durably and return it as written."""
        ...

    def entries(self, rollout_id: str | None = None, *, after: int = -1) -> Iterator[Entry]:
        """Read decisions in order, of one rollout or of all, those with a higher sequence than ``after``."""
        ...

    def verify(self) -> int:
        """Check the whole chain and return its length; ``IntegrityError`` names the first entry that is wrong."""
        ...


class FileLedger:
    """The ledger as a file of JSON lines; one writer."""

    def __init__(self, path: Path, code_version: str) -> None:
        self._path, self._code_version = path, code_version
        self._mark = (-1, 0)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        last = None
        for last in self.entries():  # noqa: B007 - the last one is wanted
            pass
        self._sequence, self._previous = (last.sequence + 1, last.digest) if last else (0, GENESIS)

    def append(
        self, *, at_s: float, rollout_id: str, policy_digest: str, observation: dict[str, Any], decision: dict[str, Any]
    ) -> Entry:
        """Write one decision, flushed to disk before it returns."""
        body: dict[str, Any] = {
            "sequence": self._sequence,
            "at_s": at_s,
            "rollout_id": rollout_id,
            "policy_digest": policy_digest,
            "code_version": self._code_version,
            "observation": observation,
            "decision": decision,
            "previous": self._previous,
        }
        entry = Entry(**body, digest=digest_of(canonical(body)))
        with self._path.open("a") as file:
            file.write(canonical({**body, "digest": entry.digest}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._sequence, self._previous = entry.sequence + 1, entry.digest
        return entry

    def entries(self, rollout_id: str | None = None, *, after: int = -1) -> Iterator[Entry]:
        """Read decisions in order; going on after the last one that was read starts where it ended in the file.

        Raises:
            IntegrityError: at a line that can't be read.
        """
        sequence, offset = self._mark if self._mark[0] <= after else (-1, 0)
        with self._path.open("rb") as file:
            file.seek(offset)
            for number, line in enumerate(file, start=sequence + 2):
                try:
                    entry = Entry(**json.loads(line))
                except (ValueError, TypeError):
                    raise IntegrityError(f"line {number} of {self._path.name} is torn", hint="see the backup") from None
                self._mark = (entry.sequence, file.tell())
                if entry.sequence > after and (rollout_id is None or entry.rollout_id == rollout_id):
                    yield entry

    def verify(self) -> int:
        """Recompute every digest and check that each entry names the one before."""
        previous, count = GENESIS, 0
        for count, entry in enumerate(self.entries(), start=1):
            body = {name: value for name, value in vars(entry).items() if name != "digest"}
            if entry.previous != previous or entry.digest != digest_of(canonical(body)) or entry.sequence != count - 1:
                raise IntegrityError(f"decision {entry.sequence} was changed, or one before it is missing", hint="")
            previous = entry.digest
        return count
