"""The memory guard: what the profile says will not fit is refused, or drawn in smaller batches, before it is tried."""

from contracts.wire.capacity import CapacityModel, WorkerLimits


class MemoryGuard:
    """Predicts, from a version's capacity model, how many pictures of a size fit a worker's memory limit."""

    def __init__(self, capacity: CapacityModel | None, limits: WorkerLimits) -> None:
        self._capacity, self._limit_bytes = capacity, limits.memory_limit_bytes

    def largest_batch(self, pixels: int) -> int | None:
        """Return how many pictures of so many pixels fit at once, 0 when not even one; None when nothing is known."""
        if self._capacity is None or self._limit_bytes is None:
            return None
        return self._capacity.largest_batch(pixels, self._limit_bytes)
