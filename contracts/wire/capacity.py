"""Capacity: what a version needs for a picture of some size, as its profile found it; and a worker's limits."""

from typing import Annotated

from pydantic import Field

from contracts.model import Frozen
from contracts.units import ByteSize

Coefficient = Annotated[float, Field(ge=0)]


class CapacityModel(Frozen):
    """Peak memory and latency of one version on one device, fitted to its profile.

    With P pixels per picture, B pictures in a batch, S steps, and G = 2 with guidance above 1 (the denoiser then draws
    every picture twice, in one batch), else 1:

        memory  = memory_fixed_bytes + memory_per_pixel_bytes · B·P
        latency = latency_fixed_s + latency_per_pixel_s · B·P
                  + S · (latency_per_step_s + latency_per_step_pixel_s · G·B·P)

    Latency is the median; 95 of 100 batches take at most ``tail`` times as long. The errors are the largest relative
    ones on points that were held out of the fit; ``tail_error`` is that of the 95th percentile.
    """

    device: str
    memory_fixed_bytes: Coefficient
    memory_per_pixel_bytes: Coefficient
    memory_error: Coefficient
    latency_fixed_s: Coefficient
    latency_per_pixel_s: Coefficient
    latency_per_step_s: Coefficient
    latency_per_step_pixel_s: Coefficient
    latency_error: Coefficient
    tail: Annotated[float, Field(ge=1)] = 1.0
    tail_error: Coefficient = 0.0

    def peak_memory_bytes(self, pixels: int, batch: int) -> float:
        """Return the peak memory of the process while it draws ``batch`` pictures of ``pixels`` pixels."""
        return self.memory_fixed_bytes + self.memory_per_pixel_bytes * pixels * batch

    def latency_s(self, pixels: int, batch: int, steps: int, guidance: float) -> float:
        """Return how long the batch takes, half of the time or more often."""
        drawn = pixels * batch
        denoised = drawn * (2 if guidance > 1 else 1)
        per_step_s = self.latency_per_step_s + self.latency_per_step_pixel_s * denoised
        return self.latency_fixed_s + self.latency_per_pixel_s * drawn + steps * per_step_s

    def p95_s(self, pixels: int, batch: int, steps: int, guidance: float) -> float:
        """Return how long the batch takes at most, 95 times of 100."""
        return self.tail * self.latency_s(pixels, batch, steps, guidance)

    def largest_batch(self, pixels: int, memory_limit_bytes: float) -> int:
        """Return the largest batch that fits a memory limit with the stated error to spare; 0 when none does."""
        room_bytes = memory_limit_bytes / (1 + self.memory_error) - self.memory_fixed_bytes
        per_picture_bytes = self.memory_per_pixel_bytes * pixels
        if room_bytes <= 0:
            return 0
        return int(room_bytes / per_picture_bytes) if per_picture_bytes > 0 else 1


class WorkerLimits(Frozen):
    """What one worker may use: its memory, the pictures it draws at once, and how many requests may wait.

    ``batch_window_s`` is how long a request may wait for others that can be drawn with it; 0 never waits.
    """

    memory_limit_bytes: ByteSize | None = None
    max_batch_size: Annotated[int, Field(ge=1, le=64)] = 1
    batch_window_s: Annotated[float, Field(ge=0, le=10)] = 0.0
    max_queue: Annotated[int, Field(ge=1)] = 16
    max_concurrency: Annotated[int, Field(ge=1)] = 1


class ServingPlan(Frozen):
    """How a worker of a version is to be started on one kind of device, as its profile found.

    ``cold_start_s`` is how long it took from the start of a worker, its files out of the page cache, until it could
    serve.
    """

    limits: WorkerLimits = WorkerLimits()
    capacity: CapacityModel | None = None
    cold_start_s: Annotated[float, Field(ge=0)] | None = None
