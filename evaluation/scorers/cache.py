"""Scores kept by what was judged and who judged it, so that nothing is judged twice."""

import hashlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from contracts.errors import Unavailable
from contracts.wire.telemetry import SampledOutput
from evaluation.scorers.port import Score, Scorer

MAX_ROWS = 200_000
"""About 40 MB."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS scores (
    scorer TEXT NOT NULL, sample TEXT NOT NULL, value REAL NOT NULL, reason TEXT NOT NULL, used INTEGER NOT NULL,
    PRIMARY KEY (scorer, sample)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS scores_used ON scores (used);
"""


def digest_sample(sample: SampledOutput) -> str:
    """Return the SHA-256 of what a scorer may look at: the prompt and the picture's bytes."""
    prompt = sample.prompt.encode()
    return hashlib.sha256(len(prompt).to_bytes(8, "big") + prompt + sample.image_png).hexdigest()


class ScoreCache:
    """A SQLite file of scores; above ``max_rows`` those unused for longest go.

    What has no data is not kept: the next attempt may find some.
    """

    def __init__(self, path: Path, *, max_rows: int = MAX_ROWS) -> None:
        self._max_rows = max_rows
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, isolation_level=None, timeout=20.0)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.executescript(SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise Unavailable(f"the cache of scores {path} can't be used: {error}", hint="remove the file") from None
        (newest,) = self._connection.execute("SELECT coalesce(max(used), 0) FROM scores").fetchone()
        self._use = int(newest)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def find(self, scorer: str, samples: Sequence[str]) -> dict[str, Score]:
        """Return the scores kept, by sample digest, and note that they were used."""
        self._use += 1
        found = {}
        for sample in samples:
            row = self._connection.execute(
                "UPDATE scores SET used = ? WHERE scorer = ? AND sample = ? RETURNING value, reason",
                (self._use, scorer, sample),
            ).fetchone()
            if row is not None:
                found[sample] = Score(row[0], row[1])
        return found

    def keep(self, scorer: str, scores: dict[str, Score]) -> None:
        """Keep scores by sample digest, and let go of the oldest when there are too many."""
        rows = [
            (scorer, s, score.value, score.reason, self._use) for s, score in scores.items() if score.value is not None
        ]
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?, ?)", rows)
        (count,) = self._connection.execute("SELECT count(*) FROM scores").fetchone()
        if count > self._max_rows:
            self._connection.execute(
                "DELETE FROM scores WHERE (scorer, sample) IN"
                " (SELECT scorer, sample FROM scores ORDER BY used LIMIT ?)",
                (count - self._max_rows,),
            )
        self._connection.execute("COMMIT")


class CachedScorer:
    """Asks the scorer inside only for what the cache does not hold."""

    def __init__(self, inner: Scorer, cache: ScoreCache) -> None:
        self._inner, self._cache = inner, cache

    @property
    def name(self) -> str:
        """The name of the scorer inside."""
        return self._inner.name

    @property
    def digest(self) -> str:
        """The digest of the scorer inside."""
        return self._inner.digest

    def score(self, samples: Sequence[SampledOutput]) -> list[Score]:
        """Return one score for each sample, from the cache where it can."""
        keys = [digest_sample(sample) for sample in samples]
        identity = f"{self.name} {self.digest}"
        found = self._cache.find(identity, keys)
        missing = {key: sample for key, sample in zip(keys, samples, strict=True) if key not in found}
        fresh = dict(zip(missing, self._inner.score(list(missing.values())), strict=True)) if missing else {}
        if fresh:
            self._cache.keep(identity, fresh)
        return [(found | fresh)[key] for key in keys]
