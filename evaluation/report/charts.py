"""Charts as inline SVG of our own: points with their intervals, lines between neighbours, gaps left open."""

from collections.abc import Sequence
from html import escape

from contracts.units import format_fraction
from evaluation.report.document import Chart, Line

WIDTH, HEIGHT = 340, 150
LEFT, RIGHT, TOP, BOTTOM = 46, 70, 12, 24
LABEL_HEIGHT = 10
COLOURS = ("c0", "c1", "c2", "c3", "c4", "c5")


def draw_chart(chart: Chart) -> str:
    """Return the chart as SVG; its title says the numbers for those who can't see it."""
    values = [v for line in chart.lines for p in line.points if p for v in p[1:4]]
    if not values:
        return f"<figure><figcaption>{escape(chart.title)}: no data</figcaption></figure>"
    limit = [] if chart.limit is None else [chart.limit]
    low, high = min(values + limit), max(values + limit)
    pad = max((high - low) * 0.08, 0.005)
    low, high = max(low - pad, 0.0), min(high + pad, 1.0) if high <= 1 else high + pad
    parts = [*_axes(chart, low, high)]
    if chart.limit is not None:
        y = _y(chart.limit, low, high)
        parts.append(f'<path class="limit" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 4}" y="{y + 3:.1f}">target</text>')
    for position, line in enumerate(chart.lines):
        parts += _line(line, COLOURS[position % len(COLOURS)], low, high, len(chart.x_labels))
    parts += _labels(chart, low, high)
    label = escape(_spoken(chart), quote=True)
    svg = (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{label}">'
        f"{''.join(parts)}</svg>"
    )
    return f"<figure>{svg}<figcaption>{escape(chart.title)}</figcaption></figure>"


def _axes(chart: Chart, low: float, high: float) -> list[str]:
    steps = len(chart.x_labels)
    ticks = [
        f'<text x="{_x(position, steps):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{escape(label)}</text>'
        for position, label in enumerate(chart.x_labels)
    ]
    sides = [
        f'<text x="{LEFT - 5}" y="{_y(value, low, high) + 3:.1f}" text-anchor="end">{_value(value, chart.unit)}</text>'
        for value in (low, high)
    ]
    return [f'<path class="axis" d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>', *ticks, *sides]


def _line(line: Line, colour: str, low: float, high: float, steps: int) -> list[str]:
    parts, path, last = [], "", None
    for point in line.points:
        if point is None:
            last = None
            continue
        at, bottom, value, top, n = point
        x, y = _x(at, steps), _y(value, low, high)
        parts.append(f'<path class="bar {colour}" d="M{x:.1f} {_y(bottom, low, high):.1f}V{_y(top, low, high):.1f}"/>')
        parts.append(f'<circle class="{colour}" cx="{x:.1f}" cy="{y:.1f}" r="2.6"><title>n = {n}</title></circle>')
        path += f"{'M' if last is None else 'L'}{x:.1f} {y:.1f}"
        last = (x, y)
    return [f'<path class="line {colour}" d="{path}"/>', *parts] if path else parts


def _labels(chart: Chart, low: float, high: float) -> list[str]:
    """Return each line's name at its last point, moved apart where names would lie on each other."""
    found = []
    for position, line in enumerate(chart.lines):
        ends = [point for point in line.points if point is not None]
        if ends and line.label:
            x, y = _x(ends[-1][0], len(chart.x_labels)) + 7, _y(ends[-1][2], low, high) + 3
            found.append((y, x, COLOURS[position % len(COLOURS)], line.label))
    parts, lowest = [], HEIGHT - BOTTOM + 3.0
    found.sort(reverse=True)
    for y, x, colour, label in found:
        lowest = min(y, lowest)
        parts.append(f'<text class="{colour}" x="{x:.1f}" y="{lowest:.1f}">{escape(label)}</text>')
        lowest -= LABEL_HEIGHT
    return parts


def _spoken(chart: Chart) -> str:
    said = []
    for line in chart.lines:
        points = [
            f"{chart.x_labels[int(p[0])]} {_value(p[2], chart.unit)} (n {p[4]})" for p in line.points if p is not None
        ]
        said.append(f"{line.label or 'value'}: {', '.join(points) or 'no data'}")
    return f"{chart.title}. {'; '.join(said)}"


def _value(value: float, unit: str) -> str:
    return format_fraction(value) if unit == "share" else f"{value:.3g}"


def _x(position: float, steps: int) -> float:
    return LEFT + 10 + (WIDTH - LEFT - RIGHT - 20) * position / max(steps - 1, 1)


def _y(value: float, low: float, high: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (value - low) / max(high - low, 1e-9)


def chart_grid(charts: Sequence[Chart]) -> str:
    """Return several charts side by side, as far as the page is wide."""
    return f'<div class="charts">{"".join(draw_chart(chart) for chart in charts)}</div>' if charts else ""
