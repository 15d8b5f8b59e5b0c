"""Token buckets: how much one actor, or one address, may ask."""

import threading
from collections import OrderedDict

from contracts.clock import Clock
from controlplane.statuses import TooManyRequests

MOST_KEYS = 10_000


class Buckets:
    """One bucket per key: full it holds ``burst`` requests, and ``per_s`` flow in each second. Safe for threads."""

    def __init__(self, clock: Clock, *, per_s: float, burst: int) -> None:
        self._clock, self._per_s, self._burst = clock, per_s, burst
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, key: str) -> None:
        """Take one request out of a bucket.

        Raises:
            TooManyRequests: when it is empty, with the seconds until it no longer is.
        """
        with self._lock:
            now_s = self._clock.monotonic_s()
            level, since_s = self._levels.pop(key, (float(self._burst), now_s))
            level = min(self._burst, level + (now_s - since_s) * self._per_s)
            enough = level >= 1
            self._levels[key] = (level - 1 if enough else level, now_s)
            if len(self._levels) > MOST_KEYS:
                self._levels.popitem(last=False)
        if not enough:
            raise TooManyRequests(f"too many requests by {key}", (1 - level) / self._per_s)
