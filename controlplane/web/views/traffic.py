"""What was served: the last hour by lane and version, and what a thousand good answers cost."""

from collections.abc import Sequence
from dataclasses import dataclass

from controlplane.web.sources.serving import Cost, Served, Traffic

Share = float | None
MOST_VERSIONS = 4


@dataclass(frozen=True)
class LaneView:
    """One lane of a service with its attempts in the last hour, by version, the most first."""

    lane: str
    attempts: int
    rows: tuple[Traffic, ...]


@dataclass(frozen=True)
class CostView:
    """What 1000 good answers of a service cost in replica-seconds, over the last day and stretch by stretch.

    ``path`` is the SVG path of the stretches; those in which nothing was answered are left empty.
    """

    good: int
    replica_s_per_1k: float | None
    newest_per_1k: float | None
    stretch_s: int
    path: str


@dataclass(frozen=True)
class ServiceTraffic:
    """One service's lanes and cost."""

    lanes: tuple[LaneView, ...]
    cost: CostView


def view_traffic(served: Served | None) -> dict[str, ServiceTraffic]:
    """Return what was served, by service."""
    if served is None:
        return {}
    names = sorted({row.service for row in served.traffic} | {row.service for row in served.costs})
    return {name: ServiceTraffic(_lanes(served, name), _cost(served, name)) for name in names}


def count_oom(served: Served | None) -> dict[tuple[str, str], int]:
    """Return how many attempts of each service and version ran out of memory in the last hour."""
    counts: dict[tuple[str, str], int] = {}
    for row in served.traffic if served is not None else ():
        if row.oom:
            counts[row.service, row.version] = counts.get((row.service, row.version), 0) + row.oom
    return counts


def _lanes(served: Served, service: str) -> tuple[LaneView, ...]:
    lanes: dict[str, list[Traffic]] = {}
    for row in served.traffic:
        if row.service == service and row.attempts:
            lanes.setdefault(row.lane, []).append(row)
    return tuple(
        LaneView(lane, sum(row.attempts for row in rows), _fold(sorted(rows, key=lambda row: -row.attempts)))
        for lane, rows in sorted(lanes.items())
    )


def _fold(rows: Sequence[Traffic]) -> tuple[Traffic, ...]:
    """Return the versions with the most attempts, and the others as one row."""
    few, rest = rows[:MOST_VERSIONS], rows[MOST_VERSIONS:]
    if len(rest) < 2:
        return tuple(rows)
    sums = (sum(getattr(row, name) for row in rest) for name in ("attempts", "bad", "oom"))
    return (*few, Traffic(rest[0].service, rest[0].lane, f"{len(rest)} others", *sums))


def _cost(served: Served, service: str) -> CostView:
    rows = [row for row in served.costs if row.service == service]
    good, seconds = sum(row.good for row in rows), sum(row.replica_s for row in rows)
    newest = next((_per_1k(row) for row in reversed(rows) if row.good), None)
    whole = 1000 * seconds / good if good else None
    return CostView(good, whole, newest, served.stretch_s, draw_gaps(rows, served.stretch_s))


def _per_1k(row: Cost) -> float | None:
    return 1000 * row.replica_s / row.good if row.good else None


def draw_gaps(rows: Sequence[Cost], stretch_s: int, width: int = 160, height: int = 28) -> str:
    """Return an SVG path with a level piece per stretch; one without good answers is a gap."""
    values = {row.start_s: _per_1k(row) for row in rows}
    known = [value for value in values.values() if value is not None]
    if not known:
        return ""
    first, last, top = min(values), max(values) + stretch_s, max(known)
    path, pen = "", False
    for start_s in range(first, last, stretch_s):
        value = values.get(start_s)
        if value is None:
            pen = False
            continue
        x, end = (width * (at_s - first) / (last - first) for at_s in (start_s, start_s + stretch_s))
        y = height - 1 - (height - 2) * value / top
        path += f"{'V' if pen else f'M{x:.1f} '}{y:.1f}H{end:.1f}"
        pen = True
    return path
