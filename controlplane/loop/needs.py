"""Needs: what one worker of a version takes, and how much of a service's traffic it carries, by its profile."""

from math import ceil

from contracts.specs.service import ServiceSpec
from contracts.wire.capacity import CapacityModel, WorkerLimits
from contracts.wire.worker import WorkerSpec
from controlplane.loop.room import Need, Smaller
from serving.fleet.budget import expect_bytes
from serving.fleet.port import FleetState


def need_of(worker: WorkerSpec, service: ServiceSpec, seen: FleetState) -> Need:
    """Return what a worker takes and carries; see ``memory_of`` for versions without a profile."""
    memory_bytes = memory_of(worker, seen)
    if worker.capacity is None:
        return Need(worker.version, memory_bytes, threads=worker.threads)
    limits = worker.limits
    batches = range(limits.max_batch_size - 1, 0, -1)
    smaller = [_smaller(worker, worker.capacity, service, batch) for batch in batches]
    return Need(
        worker.version,
        memory_bytes,
        rate=_rate(worker, worker.capacity, service, limits.max_batch_size),
        threads=worker.threads,
        smaller=tuple(one for one in smaller if one.memory_bytes < memory_bytes),
    )


def memory_of(worker: WorkerSpec, seen: FleetState) -> int:
    """Return the memory that a worker takes: by limit or profile, else the most that any of its kind was seen with."""
    if worker.capacity is not None or worker.limits.memory_limit_bytes is not None:
        return expect_bytes(worker)
    mine = (replica.health for replica in seen.replicas if replica.version == worker.version)
    held = (max(health.memory_bytes, health.peak_memory_bytes) for health in mine if health is not None)
    return max(held, default=0) or expect_bytes(worker)


def _smaller(worker: WorkerSpec, capacity: CapacityModel, service: ServiceSpec, batch: int) -> Smaller:
    limits = worker.limits
    pixels = worker.defaults.height * worker.defaults.width
    memory_bytes = ceil(capacity.peak_memory_bytes(pixels, batch) * (1 + capacity.memory_error))
    lowered = WorkerLimits(
        memory_limit_bytes=memory_bytes,
        max_batch_size=batch,
        batch_window_s=limits.batch_window_s,
        max_queue=limits.max_queue,
        max_concurrency=min(limits.max_concurrency, batch),
    )
    return Smaller(lowered, memory_bytes, _rate(worker, capacity, service, batch))


def _rate(worker: WorkerSpec, capacity: CapacityModel, service: ServiceSpec, batch: int) -> float:
    """Return the requests per second of a worker that always draws, were all of them in the slowest lane."""
    drawn = worker.defaults
    pixels = drawn.height * drawn.width
    lanes = [(lane.steps, lane.guidance) for lane in service.lanes.values()] or [(None, None)]
    slowest_s = max(
        capacity.latency_s(
            pixels,
            batch,
            steps if steps is not None else drawn.num_inference_steps,
            guidance if guidance is not None else drawn.guidance_scale,
        )
        for steps, guidance in lanes
    )
    return batch / slowest_s if slowest_s > 0 else float("inf")
