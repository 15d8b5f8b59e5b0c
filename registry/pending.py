"""Registrations under way, on record and locked: what a killed process left half done is found and settled by the next.

A record is a file that its process holds a lock on; the operating system lets go of it however the process ends.
"""

import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO


@dataclass(frozen=True)
class Pending:
    """A registration that was begun: MLflow's run that its files went to, their place, and what they are."""

    run: str
    model: str
    digest: str
    location: str


class PendingFolder:
    """The records of registrations under way, by run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def hold(self, pending: Pending) -> Iterator[None]:
        """Keep a registration on record while it is under way; one that fails stays on record, to be settled."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{pending.run}.json"
        with tempfile.NamedTemporaryFile("w", dir=self._folder, suffix=".part", delete=False) as file:
            try:
                # Locked before it has its name: whoever finds it there finds it locked.
                fcntl.flock(file, fcntl.LOCK_EX)
                json.dump(asdict(pending), file)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).rename(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
            yield
            path.unlink()

    def settle(self, end: Callable[[Pending], None]) -> None:
        """Call ``end`` for each that is on record and nobody works on; its record goes when that went well."""
        for path in sorted(self._folder.glob("*.json")):
            with suppress(FileNotFoundError), path.open() as file:
                if _take(file):
                    end(Pending(**json.load(file)))
                    path.unlink()


def _take(file: IO[str]) -> bool:
    """Lock a record unless somebody works on it; one that was settled meanwhile is none any more."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(file.fileno()).st_nlink > 0
