"""Fitting the capacity model: non-negative least squares on relative errors, judged on points that were left out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from contracts.wire.capacity import CapacityModel
from registry.profile.grid import Point

FEWEST_LOADS: Final = 3
FEWEST_POINTS: Final = 6


@dataclass(frozen=True, slots=True)
class Seen:
    """What a point gave: peak memory, median latency and its 95th percentile."""

    point: Point
    peak_bytes: float
    p50_s: float
    p95_s: float


def fit_capacity(seen: Sequence[Seen], *, device: str, guidance: float) -> CapacityModel | str:
    """Return the capacity model of points with one request at a time, or in words why they don't determine one.

    The stated errors are the largest of leave-one-out: each point predicted from all others, those at the edges of the
    grid by extrapolation. The tail is the median over the points of their 95th percentile over their median.
    """
    loads = {one.point.pixels * one.point.batch for one in seen}
    steps = {one.point.steps for one in seen}
    if len(seen) < FEWEST_POINTS or len(loads) < FEWEST_LOADS or len(steps) < 2:
        return (
            f"{len(seen)} points with {len(loads)} different sizes of a batch and {len(steps)} of steps are too few: "
            f"{FEWEST_POINTS}, {FEWEST_LOADS} and 2 are needed"
        )
    memory, latency = _fit(seen, guidance)
    left_out = [_predict_without(seen, index, guidance) for index in range(len(seen))]
    memory_error, latency_error, tail_error = (max(errors) for errors in zip(*left_out, strict=True))
    return CapacityModel(
        device=device,
        memory_fixed_bytes=memory[0],
        memory_per_pixel_bytes=memory[1],
        memory_error=memory_error,
        latency_fixed_s=latency[0],
        latency_per_pixel_s=latency[1],
        latency_per_step_s=latency[2],
        latency_per_step_pixel_s=latency[3],
        latency_error=latency_error,
        tail=_tail(seen),
        tail_error=tail_error,
    )


def _fit(seen: Sequence[Seen], guidance: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    memory = _solve([_memory_row(one.point) for one in seen], [one.peak_bytes for one in seen])
    latency = _solve([_latency_row(one.point, guidance) for one in seen], [one.p50_s for one in seen])
    return memory, latency


def _predict_without(seen: Sequence[Seen], index: int, guidance: float) -> tuple[float, float, float]:
    """Return the relative errors of peak memory, median and 95th percentile of one point left out of the fit."""
    others, one = [*seen[:index], *seen[index + 1 :]], seen[index]
    memory, latency = _fit(others, guidance)
    peak_bytes = float(memory @ _memory_row(one.point))
    p50_s = float(latency @ _latency_row(one.point, guidance))
    return (
        abs(peak_bytes / one.peak_bytes - 1),
        abs(p50_s / one.p50_s - 1),
        abs(_tail(others) * p50_s / one.p95_s - 1),
    )


def _tail(seen: Sequence[Seen]) -> float:
    return max(1.0, float(np.median([one.p95_s / one.p50_s for one in seen])))


def _memory_row(point: Point) -> list[float]:
    return [1.0, point.pixels * point.batch]


def _latency_row(point: Point, guidance: float) -> list[float]:
    drawn = point.pixels * point.batch
    return [1.0, drawn, point.steps, point.steps * drawn * (2 if guidance > 1 else 1)]


def _solve(rows: Sequence[Sequence[float]], targets: Sequence[float]) -> NDArray[np.float64]:
    """Minimise the sum of squared relative errors over non-negative coefficients.

    Columns are brought to a like size first: pixels and seconds differ by ten powers of ten.
    """
    relative = np.asarray(rows, dtype=float) / np.asarray(targets, dtype=float)[:, None]
    scale = relative.max(axis=0)
    found, _ = nnls(relative / scale, np.ones(len(targets)))
    return np.asarray(found / scale, dtype=float)
