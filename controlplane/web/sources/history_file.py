"""The history as a file that is only read: a question is asked again when the file has changed, and not too often."""

import asyncio
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import SQLAlchemyError

from contracts.errors import RoostError, Unavailable
from controlplane.settings import Settings

FILE = "history.db"
FRESH_S = 2.0
REST = 20.0
"""A question is asked again no sooner than this many times as long as its answer took: 5 % of a core at most."""
MOST_KEPT = 64
Answer = TypeVar("Answer")


@dataclass(slots=True)
class Kept:
    """An answer, the file's state when it was given, and until when it is good whatever happens."""

    answer: Any
    stamp: tuple[int, ...]
    fresh_until_s: float


class HistoryFile:
    """A home's history; it is never written to, and never made."""

    def __init__(self, settings: Settings) -> None:
        self._file = settings.home / FILE
        url = f"sqlite:///file:{self._file.resolve()}?mode=ro&uri=true"
        self._engine = create_engine(url, connect_args={"timeout": 5})
        self._locks: dict[Hashable, asyncio.Lock] = {}
        self._kept: dict[Hashable, Kept] = {}
        self.problem: RoostError | None = None

    @property
    def exists(self) -> bool:
        """Tell whether a history is kept here."""
        return self._file.is_file()

    async def ask(self, key: Hashable, read: Callable[[Connection], Answer]) -> Answer | None:
        """Return what ``read`` finds, which ``key`` names; the last answer where none can be had, None without any."""
        async with self._locks.setdefault(key, asyncio.Lock()):
            kept, stamp, now_s = self._kept.get(key), self._stamp(), time.monotonic()
            if self.exists and (kept is None or (kept.stamp != stamp and now_s >= kept.fresh_until_s)):
                try:
                    answer = await asyncio.to_thread(self.read, read)
                except SQLAlchemyError as error:
                    self.problem = Unavailable(f"the history can't be read: {error}".splitlines()[0])
                else:
                    took_s = time.monotonic() - now_s
                    kept = Kept(answer, stamp, now_s + max(FRESH_S, REST * took_s))
                    self.problem = None
                    self._keep(key, kept)
        return kept.answer if kept is not None else None

    def read(self, read: Callable[[Connection], Answer]) -> Answer:
        """Return what ``read`` finds now."""
        with self._engine.connect() as connection:
            return read(connection)

    def _keep(self, key: Hashable, kept: Kept) -> None:
        while len(self._kept) >= MOST_KEPT and key not in self._kept:
            oldest = next(iter(self._kept))
            self._kept.pop(oldest)
            self._locks.pop(oldest, None)
        self._kept[key] = kept

    def _stamp(self) -> tuple[int, ...]:
        files = [self._file, self._file.with_name(f"{FILE}-wal")]
        return tuple(file.stat().st_mtime_ns if file.exists() else 0 for file in files)
