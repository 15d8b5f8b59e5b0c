"""The scoring queue: outputs wait here for their scorers, in a thread of their own, within a budget per hour.

Nothing waits for a scorer: an output that finds the queue full or the hour's budget spent is dropped and counted. A
scorer that raises gives no data for that output, and the rest is judged.
"""

import threading
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from contracts.clock import Clock
from contracts.wire.telemetry import SampledOutput
from evaluation.scorers.port import Score, Scorer

HOUR_S = 3600.0
BATCH = 16


@dataclass(frozen=True, slots=True)
class Scored:
    """One output with one scorer's judgement."""

    output: SampledOutput
    metric: str
    digest: str
    score: Score


class ScoringQueue:
    """Scores outputs in the background; ``budgets`` says how many of each scorer an hour."""

    def __init__(self, scorers: Mapping[str, Scorer], budgets: Mapping[str, int], clock: Clock, *, size: int = 256):
        self._scorers, self._budgets, self._clock, self._size = scorers, budgets, clock, size
        self._waiting: deque[tuple[str, SampledOutput]] = deque()
        self._done: deque[Scored] = deque(maxlen=8 * size)
        self._spent: dict[str, deque[float]] = {name: deque() for name in budgets}
        self._changed = threading.Condition()
        self._busy = False
        self._closing = False
        self.dropped: Counter[str] = Counter()
        """Outputs that were never judged, by reason: ``queue-full``, ``budget``, ``unfetched``."""
        self._thread = threading.Thread(target=self._work, name="scoring", daemon=True)
        self._thread.start()

    def offer(self, metric: str, output: SampledOutput) -> bool:
        """Put an output before a scorer; False when it is dropped instead. Never waits."""
        with self._changed:
            reason = self._why_not(metric)
            if reason:
                self.dropped[reason] += 1
                return False
            self._spent[metric].append(self._clock.monotonic_s())
            self._waiting.append((metric, output))
            self._changed.notify()
            return True

    def take(self) -> list[Scored]:
        """Return what was judged since the last call."""
        with self._changed:
            done = list(self._done)
            self._done.clear()
            return done

    def join(self, timeout_s: float) -> bool:
        """Wait until all that was offered is judged; False when that takes longer."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._busy, timeout_s)

    def close(self, timeout_s: float = 5.0) -> None:
        """Let the batch at work end, and drop the rest."""
        with self._changed:
            self._closing = True
            self._waiting.clear()
            self._changed.notify_all()
        self._thread.join(timeout_s)

    def _why_not(self, metric: str) -> str:
        if len(self._waiting) >= self._size:
            return "queue-full"
        spent, now_s = self._spent[metric], self._clock.monotonic_s()
        while spent and spent[0] <= now_s - HOUR_S:
            spent.popleft()
        return "budget" if len(spent) >= self._budgets[metric] else ""

    def _work(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: bool(self._waiting) or self._closing)
                if self._closing:
                    return
                self._busy = True
                metric = self._waiting[0][0]
                batch: list[SampledOutput] = []
                while self._waiting and self._waiting[0][0] == metric and len(batch) < BATCH:
                    batch.append(self._waiting.popleft()[1])
            scored = self._judge(metric, batch)
            with self._changed:
                room = (self._done.maxlen or 0) - len(self._done)
                self.dropped["unfetched"] += max(len(scored) - room, 0)
                self._done.extend(scored)

    def _judge(self, metric: str, batch: Sequence[SampledOutput]) -> list[Scored]:
        """Score a batch; when that fails, each output alone, so that one bad output costs one score."""
        scorer = self._scorers[metric]
        try:
            scores = scorer.score(batch)
            digest = scorer.digest
            return [Scored(o, metric, digest, score) for o, score in zip(batch, scores, strict=True)]
        except Exception as error:  # noqa: BLE001 - a scorer may be anybody's code; what it raises is no data
            if len(batch) == 1:
                return [Scored(batch[0], metric, "", Score(None, f"the scorer raised {type(error).__name__}: {error}"))]
        return [found for output in batch for found in self._judge(metric, [output])]
