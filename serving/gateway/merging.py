"""Coarser telemetry: two batches as one, every count the sum of both."""

from collections.abc import Hashable, Iterable
from typing import Any, TypeVar

from contracts.model import Frozen
from contracts.sketch import merge
from contracts.wire.telemetry import AttemptCounts, Exposure, Refusals, RequestCounts, TelemetryBatch, UserSignals

MOST_FEEDBACK = 20_000
Row = TypeVar("Row", bound=Frozen)

KEYS: dict[type[Frozen], tuple[str, ...]] = {
    AttemptCounts: ("service", "version", "replica", "lane", "mirrored", "forced", "weight"),
    RequestCounts: ("service", "lane"),
    Exposure: ("service", "rollout_id", "weight"),
    Refusals: ("service", "reason"),
    UserSignals: ("service", "version"),
}
"""What the rows of each table are told apart by; all their other fields are counts, and add up."""


def merge_batches(first: TelemetryBatch, second: TelemetryBatch) -> TelemetryBatch:
    """Return one batch over the time of two neighbours of the same boot, under the second's number."""
    return second.model_copy(
        update={
            "start_s": first.start_s,
            "attempts": _merge_rows(first.attempts + second.attempts),
            "requests": _merge_rows(first.requests + second.requests),
            "exposures": _merge_rows(first.exposures + second.exposures),
            "refusals": _merge_rows(first.refusals + second.refusals),
            "signals": _merge_rows(first.signals + second.signals),
            "feedback": (first.feedback + second.feedback)[-MOST_FEEDBACK:],
        }
    )


def _merge_rows(rows: Iterable[Row]) -> tuple[Row, ...]:
    merged: dict[Hashable, Row] = {}
    for row in rows:
        keys = KEYS[type(row)]
        key = tuple(getattr(row, name) for name in keys)
        merged[key] = _add(merged[key], row, keys) if key in merged else row
    return tuple(merged.values())


def _add(first: Row, second: Row, keys: tuple[str, ...]) -> Row:
    counted = [name for name in type(first).model_fields if name not in keys]
    return first.model_copy(update={name: _sum(getattr(first, name), getattr(second, name)) for name in counted})


def _sum(first: Any, second: Any) -> Any:
    return merge([first, second]) if isinstance(first, dict) else first + second
