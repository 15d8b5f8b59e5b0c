"""Charts as they are first painted, and read without scripts: a browser with scripts draws them anew, with axes."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

from contracts.notation import format_evidence
from contracts.units import format_duration, format_fraction
from controlplane.web.views.charts import LIMIT, Chart, Number
from controlplane.web.views.series import Columns

WIDTH, HEIGHT = 1000, 100
MOST_POINTS = 90
LEAST_EVIDENCE = 0.01
"""As far down as the log axis of evidence reaches."""
ROOM = 0.06

Values = Sequence[float | None]


def show_seconds(seconds: float | None) -> str:
    """Return a latency to three digits: milliseconds below a second."""
    if seconds is None:
        return "–"
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def show_points(number: float | None, family: str) -> str:
    """Return a difference with its sign: percentage points of a rate, or of a score from 0 to 1."""
    if number is None or not math.isfinite(number):
        return "–"
    sign = "−" if number < 0 else "+"
    return f"{sign}{abs(number):.3f}" if family == "score" else f"{sign}{100 * abs(number):.2f} pp"


WRITTEN: Mapping[Number, Callable[[float], str]] = {
    Number.SHARE: format_fraction,
    Number.SCORE: lambda value: f"{value:.3f}",
    Number.POINTS: lambda value: show_points(value, "burn"),
    Number.SIGNED: lambda value: show_points(value, "score"),
    Number.EVIDENCE: format_evidence,
    Number.SECONDS: show_seconds,
    Number.TIMES: lambda value: f"{value:.3g}×",
}


def draw_chart(chart: Chart, columns: Columns) -> Markup:
    """Return a chart as SVG without axes, stretched to the place it has; its newest values as text without scripts."""
    times = columns["t"]
    if not times:
        return Markup("")
    rows = _thin(len(times))
    low, high = _extent(chart, columns)
    begin, span = times[0], max(times[-1] - times[0], 1.0)
    xs = [round(WIDTH * (times[row] - begin) / span) for row in rows]

    def ys(values: Values) -> list[int | None]:
        scaled = (None if values[row] is None else _scale(chart, values[row]) for row in rows)
        return [None if value is None else round(HEIGHT * (high - value) / (high - low)) for value in scaled]

    parts = []
    if chart.band is not None:
        parts.append(("band", _band(xs, *(ys(columns[name]) for name in chart.band))))
    for _, value in chart.limits:
        parts.append(("dashed", f"M0 {round(HEIGHT * (high - _scale(chart, value)) / (high - low))}h{WIDTH}"))
    for line in chart.lines:
        style = "dashed" if line.style == LIMIT else f"line {line.style}"
        parts.append((style, _path(xs, ys(columns[line.column]), stepped=line.stepped)))
    paths = Markup("").join(Markup('<path class="{}" d="{}"/>').format(style, d) for style, d in parts if d)
    words = _describe(chart, columns)
    return Markup(
        '<svg class="first" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>'
        "<noscript><output>{}</output></noscript>"
    ).format(WIDTH, HEIGHT, f"{chart.title}, {words}", paths, words)


def _scale(chart: Chart, value: Any) -> float:
    return math.log10(max(value, LEAST_EVIDENCE)) if chart.log else float(value)


def _extent(chart: Chart, columns: Columns) -> tuple[float, float]:
    """Return the lowest and highest value shown, with a little room."""
    names = [line.column for line in chart.lines] + list(chart.band or ())
    shown = [value for name in names for value in columns[name] if value is not None]
    fixed = [value for _, value in chart.limits] + [v for v in (chart.floor, chart.ceiling) if v is not None]
    scaled = [_scale(chart, value) for value in shown + fixed] or [0.0]
    low, high = min(scaled), max(scaled)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    room = ROOM * (high - low)
    return (low if chart.floor is not None else low - room), high + room


def _thin(count: int) -> list[int]:
    """Leave rows out until few enough are left; the last one stays."""
    stretch = -(-count // MOST_POINTS)
    return sorted({*range(0, count, stretch), count - 1})


def _path(xs: Sequence[int], ys: Sequence[int | None], *, stepped: bool) -> str:
    """Return a line; a missing value leaves a gap, a stepped line goes across and then up or down."""
    text, last = "", None
    for x, y in zip(xs, ys, strict=True):
        if y is None:
            text += f"H{x}" if last is not None and stepped else ""
        elif last is None:
            text += f"M{x} {y}"
        elif not stepped:
            text += f"L{x} {y}"
        elif y != last:
            text += f"H{x}V{y}"
        last = y
    return f"{text}H{xs[-1]}" if last is not None and (stepped or len(xs) == 1) else text


def _band(xs: Sequence[int], lows: Sequence[int | None], highs: Sequence[int | None]) -> str:
    rows = [
        (x, low, high) for x, low, high in zip(xs, lows, highs, strict=True) if low is not None and high is not None
    ]
    if not rows:
        return ""
    upper = [f"{x} {high}" for x, _, high in rows]
    lower = [f"{x} {low}" for x, low, _ in reversed(rows)]
    return f"M{'L'.join(upper + lower)}Z"


def _describe(chart: Chart, columns: Columns) -> str:
    """Return the newest values in words, and from when to when they are drawn."""
    write = WRITTEN[chart.number]
    told = []
    for line in chart.lines:
        value = next((value for value in reversed(columns[line.column]) if value is not None), None)
        if value is not None:
            told.append(f"{line.label} {write(value)}")
    told += [f"{name} {write(value)}" for name, value in chart.limits]
    begin, end = columns["t"][0], columns["t"][-1]
    over = f"over {format_duration(round(end - begin))}"
    if chart.origin_s is not None:
        first, last = (datetime.fromtimestamp(chart.origin_s + t, UTC) for t in (begin, end))
        over = f"from {first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S} UTC"
    return f"{over}, newest: {', '.join(told)}"
