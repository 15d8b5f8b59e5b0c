"""From what was measured to the profile: quantiles, cost, the capacity model, and how a worker is to be started."""

from collections.abc import Sequence
from statistics import median

from contracts.wire.capacity import CapacityModel, WorkerLimits
from contracts.wire.worker import GenerationDefaults
from registry.catalogue import VersionRecord
from registry.profile.document import Fitting, LoadFigures, PointFigures, Price, Profile, QuantileFigure
from registry.profile.environment import Environment
from registry.profile.fit import Seen, fit_capacity
from registry.profile.grid import Point
from registry.profile.measure import Measurement, Samples
from registry.profile.quantiles import estimate_quantile

MOST_IN_A_BATCH = 64
ENOUGH = 0.95
"""Of the best throughput measured: beyond it, a larger batch only makes people wait."""


def conclude(
    record: VersionRecord,
    measurement: Measurement,
    environment: Environment,
    *,
    price: Price | None,
    measured_at_s: float,
    fitting: Fitting | None = None,
) -> Profile:
    """Return the profile of a version from its measurement."""
    points = tuple(_figures(samples, price) for samples in measurement.samples)
    capacity = fit_points(points, device=environment.device, guidance=record.defaults.guidance_scale)
    if fitting is not None and isinstance(capacity, CapacityModel):
        pixels = fitting.height * fitting.width
        predicted = min(MOST_IN_A_BATCH, capacity.largest_batch(pixels, fitting.memory_limit_bytes))
        fitting = fitting.model_copy(update={"predicted": predicted})
    return Profile(
        version=record.id,
        digest=record.digest,
        defaults=record.defaults,
        measured_at_s=measured_at_s,
        environment=environment,
        loading=_loading(measurement),
        points=points,
        rounds=measurement.rounds,
        capacity=capacity if isinstance(capacity, CapacityModel) else None,
        no_capacity=capacity if isinstance(capacity, str) else "",
        fitting=fitting,
        limits=choose_limits(points, record.defaults, fitting),
        price=price,
    )


def fit_points(points: Sequence[PointFigures], *, device: str, guidance: float) -> CapacityModel | str:
    """Fit the capacity model to the points that were drawn with one request at a time; in words why not otherwise."""
    seen = [
        Seen(Point(p.height, p.width, p.steps, p.batch), p.peak_memory_bytes, p.p50.value_s, p.p95.value_s)
        for p in points
        if p.concurrency == 1 and p.peak_memory_bytes is not None and p.p50 is not None and p.p95 is not None
    ]
    return fit_capacity(seen, device=device, guidance=guidance)


def choose_limits(
    points: Sequence[PointFigures], defaults: GenerationDefaults, fitting: Fitting | None
) -> WorkerLimits:
    """Return how a worker is to be started: no more in a batch, and no more at once, than raises throughput.

    The batch is the smallest of those measured at the version's own size and steps with 95 % of the best throughput,
    and never more than fits the memory limit, as predicted and as tried. Without a point to go by a worker draws one
    by one.
    """
    own = [
        p
        for p in points
        if (p.height, p.width, p.steps) == (defaults.height, defaults.width, defaults.num_inference_steps)
        and p.throughput_per_s is not None
    ]
    alone = {p.batch: p.throughput_per_s or 0.0 for p in own if p.concurrency == 1}
    together = {p.concurrency: p.throughput_per_s or 0.0 for p in own if p.batch == 1}
    batch = _smallest_enough(alone)
    if fitting is not None:
        fits = fitting.measured if fitting.predicted is None else min(fitting.measured, fitting.predicted)
        batch = min(batch, max(1, fits))
    return WorkerLimits(
        memory_limit_bytes=fitting.memory_limit_bytes if fitting is not None else None,
        max_batch_size=batch,
        max_concurrency=_smallest_enough(together),
    )


def _smallest_enough(throughput: dict[int, float]) -> int:
    if not throughput:
        return 1
    best = max(throughput.values())
    return min(size for size, per_s in throughput.items() if per_s >= ENOUGH * best)


def _figures(samples: Samples, price: Price | None) -> PointFigures:
    point = samples.point
    figures = PointFigures(
        height=point.height,
        width=point.width,
        steps=point.steps,
        batch=point.batch,
        concurrency=point.concurrency,
        out_of_memory=samples.out_of_memory,
        repeats=len(samples.latencies_s),
        peak_memory_bytes=samples.peak_bytes,
        host_peak_bytes=samples.host_peak_bytes,
    )
    if not samples.latencies_s:
        return figures
    pictures = point.batch * len(samples.latencies_s)
    throughput = pictures / samples.wall_s
    return figures.model_copy(
        update={
            **{name: _quantile(samples.latencies_s, q) for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))},
            **{f"cpu_{name}": _quantile(samples.cpu_each_s, q) for name, q in (("p50", 0.5), ("p95", 0.95))},
            "throughput_per_s": throughput,
            "cpu_share": samples.cpu_s / samples.wall_s,
            "energy_j": None if samples.energy_j is None else samples.energy_j / pictures,
            "cost_per_1k": None if price is None else price.per_hour / 3600 * 1000 / throughput,
        }
    )


def _quantile(values_s: Sequence[float], q: float) -> QuantileFigure | None:
    if not values_s:
        return None
    found = estimate_quantile(values_s, q)
    return QuantileFigure(value_s=found.value, low_s=found.low, high_s=found.high)


def _loading(measurement: Measurement) -> LoadFigures:
    loads = [start.load_s for start in measurement.warm if start.load_s is not None]
    firsts = [start.first_picture_s for start in measurement.warm if start.first_picture_s is not None]
    return LoadFigures(
        starts=len(measurement.warm),
        cold_s=median(start.ready_s for start in measurement.cold),
        warm_s=median(start.ready_s for start in measurement.warm),
        load_s=median(loads) if loads else None,
        first_picture_s=median(firsts) if firsts else None,
        memory_bytes=round(median(start.memory_bytes for start in measurement.warm)),
    )
