"""Latency sketches: counts in logarithmic buckets, exact to merge in any order, quantiles within 2 %."""

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, TypeVar

from pydantic import Field

RELATIVE_ERROR = 0.02
GROWTH = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
SMALLEST, LARGEST = -400, 400
Key = TypeVar("Key", int, str)
_PER_LOG = 1 / math.log(GROWTH)

Sketch = dict[Annotated[int, Field(ge=SMALLEST, le=LARGEST)], Annotated[int, Field(ge=1)]]
"""Counts by bucket: bucket k holds durations in (GROWTH^(k-1), GROWTH^k] seconds (DDSketch's mapping)."""


def bucket_of(duration_s: float) -> int:
    """Return the bucket of a duration; what lies outside of 0.1 µs to 100 days goes to the outermost buckets."""
    if duration_s <= 1e-7:
        return SMALLEST
    return min(LARGEST, max(SMALLEST, math.ceil(math.log(duration_s) * _PER_LOG)))


def upper_edge_s(bucket: int) -> float:
    """Return the largest duration of a bucket."""
    return float(GROWTH**bucket)


def merge(sketches: Iterable[Mapping[Key, int]]) -> dict[Key, int]:
    """Return the sum of sketches, or of other counts by key: the same in whatever order they are merged."""
    merged: dict[Key, int] = {}
    for sketch in sketches:
        for bucket, count in sketch.items():
            merged[bucket] = merged.get(bucket, 0) + count
    return merged


def quantile_s(sketch: Mapping[int, int], share: float) -> float | None:
    """Return a duration within 2 % of the ``share`` quantile (nearest rank), None of an empty sketch."""
    total = sum(sketch.values())
    rank = max(1, math.ceil(share * total))
    for bucket in sorted(sketch):
        rank -= sketch[bucket]
        if rank <= 0:
            return 2 * upper_edge_s(bucket) / (1 + GROWTH)
    return None
