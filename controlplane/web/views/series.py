"""What charts are drawn from: columns of numbers, each row a decision; thinned by leaving rows out, never by means.

Times are seconds since the rollout began. A series may be asked for from a decision on, to be added to those drawn.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any

from controlplane.web.views.period import EVER, Span
from controlplane.web.views.rollout import tolerance
from controlplane.web.views.story import Story

MOST_ROWS = 240

Columns = dict[str, list[Any]]


def chart_series(story: Story, after: int = -1, *, span: Span = EVER) -> dict[str, Columns]:
    """Return all charts' columns for the decisions after ``after``: the traffic's, and three per check."""
    rows = range(
        bisect_left(story.ticks, max(span.since_s, story.started_s), key=lambda tick: tick.at_s),
        bisect_right(story.ticks, span.until_s, key=lambda tick: tick.at_s),
    )
    first = bisect_right(story.ticks, after, key=lambda tick: tick.sequence)
    rows = range(max(rows.start, first), max(rows.stop, first))
    series = {"traffic": _traffic(story, rows)}
    for verdict in story.verdicts:
        name = verdict["gate"]
        series[f"{name}/values"] = _values(story, verdict, rows)
        series[f"{name}/evidence"] = _evidence(story, name, rows)
    return series


def sparkline(story: Story, width: int = 96, height: int = 20) -> str:
    """Return the SVG path of the asked weight over the rollout's time, as steps."""
    start_s, span_s = story.started_s, max(story.last.at_s - story.started_s, 1.0)
    path, last = "", ""
    for tick in story.ticks:
        x, y = width * (tick.at_s - start_s) / span_s, height - 1 - (height - 2) * tick.weight
        if f"{y:.1f}" != last:
            path += f"H{x:.1f}V{y:.1f}" if path else f"M0 {y:.1f}"
            last = f"{y:.1f}"
    return f"{path}H{width}"


def _traffic(story: Story, wanted: range) -> Columns:
    rows = thin(wanted, keep=[t.weight for t in story.ticks])
    return {
        "s": [story.ticks[row].sequence for row in rows],
        "t": [_time(story, row) for row in rows],
        "asked": [_short(story.ticks[row].weight) for row in rows],
        "measured": [_short(story.measured(row)) for row in rows],
    }


def _values(story: Story, verdict: Any, wanted: range) -> Columns:
    columns: Columns = {name: [] for name in ("s", "t", "challenger", "champion", "difference", "low", "high", "limit")}
    arms = story.arms.get(verdict["sli"])
    if arms is None:
        return columns
    readings = arms.readings()
    for position in thin([p for p, row in enumerate(arms.rows) if row in wanted]):
        row, reading = arms.rows[position], readings[position]
        if reading.challenger_n:
            columns["s"].append(story.ticks[row].sequence)
            columns["t"].append(_time(story, row))
            for name in ("challenger", "champion", "difference", "low", "high"):
                columns[name].append(_short(getattr(reading, name)))
            columns["limit"].append(_short(tolerance(verdict["family"], verdict["limit"], reading.champion)))
    return columns


def _evidence(story: Story, gate: str, wanted: range) -> Columns:
    course = story.gates[gate]
    positions = thin([p for p, row in enumerate(course.rows) if row in wanted], keep=course.evidence)
    return {
        "s": [story.ticks[course.rows[p]].sequence for p in positions],
        "t": [_time(story, course.rows[p]) for p in positions],
        "harm": [_short(course.evidence[p]) for p in positions],
        "safe": [_short(course.safe_evidence[p]) for p in positions],
    }


def thin(positions: Sequence[int], keep: Sequence[float] = ()) -> list[int]:
    """Leave positions out until few enough are left; of each stretch the largest of ``keep`` stays, and the last."""
    if len(positions) <= MOST_ROWS:
        return list(positions)
    stretch = -(-len(positions) // MOST_ROWS)
    parts = [positions[start : start + stretch] for start in range(0, len(positions), stretch)]
    kept = {max(part, key=lambda p: keep[p]) if keep else part[-1] for part in parts}
    return sorted(kept | {positions[0], positions[-1]})


def _time(story: Story, row: int) -> float:
    return round(story.ticks[row].at_s - story.started_s, 1)


def _short(number: float | None) -> float | None:
    """Return a number to four digits: more than a pixel shows."""
    return None if number is None else float(f"{number:.4g}")
