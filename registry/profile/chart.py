"""A chart of latency against quality as an SVG of its own: readable in light and dark, and without seeing it.

Every mark has a number, which the list beside the chart names, and a title that tells its figures; the Pareto front is
told by shape and line as well as by colour.
"""

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Final

from contracts.units import format_bytes, format_duration, format_fraction
from registry.profile.compare import Contender

WIDTH, HEIGHT = 860, 440
LEFT, RIGHT, TOP, BOTTOM = 78, 290, 86, 60
TICKS = 5
LINE_HEIGHT = 14
LEGEND_HEIGHT = 17
SMALLEST_RADIUS, RADIUS_RANGE = 4.0, 5.0
MOST_NAMED = 20
LONGEST_NAME = 34
STYLE: Final = (
    ":root{color-scheme:light dark}text{font:12px system-ui,sans-serif;fill:#1f2328}.dim{fill:#59636e}"
    ".title{font-size:15px;font-weight:600}.frame{fill:#fff;stroke:#d1d9e0}.axis,.grid{stroke:#d1d9e0;fill:none}"
    ".grid{stroke-dasharray:2 4}.front{stroke:#0072b2;stroke-width:1.5;fill:none}.on{fill:#0072b2}"
    ".off{fill:#fff;stroke:#59636e;stroke-width:1.5}.bar{stroke:#59636e}"
    ".number{text-anchor:middle;paint-order:stroke;stroke:#fff;stroke-width:3}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.dim{fill:#9198a1}.frame{fill:#0d1117;stroke:#3d444d}"
    ".axis,.grid{stroke:#3d444d}.front{stroke:#56b4e9}.on{fill:#56b4e9}.off{fill:#0d1117;stroke:#9198a1}.bar{stroke:#9198a1}.number{stroke:#0d1117}}"
)

Scale = Callable[[float], float]


def draw_chart(contenders: Sequence[Contender], *, title: str, currency: str = "") -> str:
    """Return an SVG: 95th percentile of latency to the right, quality upwards, the Pareto front joined by a line.

    The dearer 1000 pictures are, the larger is the mark.

    Without any quality, cost is drawn upwards in its place, and without prices memory. What has no data on an axis is
    named below the chart.
    """
    y_name, y_of, y_text = _vertical(contenders, currency)
    ordered = sorted(contenders, key=lambda one: (one.p95_s is None, one.p95_s or 0.0, one.name))
    placed = [(one, one.p95_s, y) for one in ordered if one.p95_s is not None and (y := y_of(one)) is not None]
    absent = [one.name for one in ordered if one not in [known for known, _, _ in placed]]
    bars = y_name == "quality"
    x_scale, x_ticks = _axis([x for _, x, _ in placed], LEFT, WIDTH - RIGHT, low_at_zero=True)
    ends = [end for one, _, _ in placed if bars for end in (one.quality_low, one.quality_high) if end is not None]
    y_scale, y_ticks = _axis([*(y for _, _, y in placed), *ends], HEIGHT - BOTTOM, TOP, low_at_zero=not bars)
    dearer = "; the larger, the dearer" if any(one.cost_per_1k for one, _, _ in placed) else ""
    told = f"{title}. " + "; ".join(_describe(one, currency) for one in ordered)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="t d">',
        f'<title id="t">{escape(title)}</title><desc id="d">{escape(told)}</desc><style>{STYLE}</style>',
        f'<rect class="frame" x=".5" y=".5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="8"/>',
        f'<text class="title" x="20" y="28">{escape(title)}</text>',
        f'<text class="dim" x="20" y="47">filled and joined: no other is better in everything{dearer}</text>',
        *_grid(x_scale, x_ticks, y_scale, [(tick, y_text(tick)) for tick in y_ticks if not bars or tick <= 1]),
        f'<text class="dim" x="20" y="{TOP - 14}">{escape(y_name)}</text>',
        f'<text class="dim" x="{WIDTH - RIGHT}" y="{HEIGHT - 20}" text-anchor="end">p95 of one picture</text>',
        *_front(placed, x_scale, y_scale),
        *_marks(placed, x_scale, y_scale, currency, bars=bars),
        *_legend([one for one, _, _ in placed]),
    ]
    if absent:
        parts.append(f'<text class="dim" x="20" y="{HEIGHT - 20}">no data: {escape(", ".join(absent))}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _vertical(
    contenders: Sequence[Contender], currency: str
) -> tuple[str, Callable[[Contender], float | None], Callable[[float], str]]:
    if any(one.quality is not None for one in contenders):
        return "quality", lambda one: one.quality, format_fraction
    if any(one.cost_per_1k is not None for one in contenders):
        return f"cost of 1000 pictures {currency}".strip(), lambda one: one.cost_per_1k, lambda value: f"{value:.3g}"
    return "peak memory", lambda one: one.memory_bytes, lambda value: format_bytes(round(value))


def _axis(values: Sequence[float], start: float, end: float, *, low_at_zero: bool) -> tuple[Scale, list[float]]:
    """Return a linear scale that holds the values with a little room, and round ticks on it."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    low = 0.0 if low_at_zero else low - room
    high += room
    rough = (high - low) / TICKS
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    ticks = [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return lambda value: start + (value - low) / (high - low) * (end - start), ticks


def _grid(x_scale: Scale, x_ticks: list[float], y_scale: Scale, y_ticks: list[tuple[float, str]]) -> list[str]:
    floor, wall = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [f'<path class="axis" d="M{LEFT} {TOP}V{floor}H{wall}"/>']
    for tick in x_ticks:
        x = x_scale(tick)
        parts.append(f'<path class="grid" d="M{x:.1f} {TOP}V{floor}"/>')
        text = format_duration(tick)
        parts.append(f'<text class="dim" x="{x:.1f}" y="{floor + 18}" text-anchor="middle">{text}</text>')
    for tick, text in y_ticks:
        y = y_scale(tick)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{wall}"/>')
        parts.append(f'<text class="dim" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(text)}</text>')
    return parts


def _front(placed: Sequence[tuple[Contender, float, float]], x_scale: Scale, y_scale: Scale) -> list[str]:
    corners = sorted((x, y) for one, x, y in placed if one.on_front)
    if len(corners) < 2:
        return []
    return [f'<path class="front" d="M{"L".join(f"{x_scale(x):.1f} {y_scale(y):.1f}" for x, y in corners)}"/>']


def _marks(
    placed: Sequence[tuple[Contender, float, float]], x_scale: Scale, y_scale: Scale, currency: str, *, bars: bool
) -> list[str]:
    parts: list[str] = []
    dearest = max((one.cost_per_1k or 0.0 for one, _, _ in placed), default=0.0)
    taken: list[tuple[float, float]] = []
    for number, (one, x_value, y_value) in enumerate(placed, 1):
        x, y = x_scale(x_value), y_scale(y_value)
        if bars and one.quality_low is not None and one.quality_high is not None:
            low, high = y_scale(one.quality_low), y_scale(one.quality_high)
            parts.append(f'<path class="bar" d="M{x:.1f} {low:.1f}V{high:.1f}"/>')
        radius = SMALLEST_RADIUS + (RADIUS_RANGE * (one.cost_per_1k or 0.0) / dearest if dearest else 1.0)
        kind = "on" if one.on_front else "off"
        title = f"<title>{escape(_describe(one, currency))}</title>"
        parts.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}">{title}</circle>')
        label_y = y + 20
        while any(
            abs(x - other_x) < LINE_HEIGHT and abs(label_y - other_y) < LINE_HEIGHT for other_x, other_y in taken
        ):
            label_y += LINE_HEIGHT
        taken.append((x, label_y))
        parts.append(f'<text class="number" x="{x:.1f}" y="{label_y:.1f}">{number}</text>')
    return parts


def _legend(placed: Sequence[Contender]) -> list[str]:
    """Return the names by number; of very many, those on the front."""
    named = [(number, one) for number, one in enumerate(placed, 1) if len(placed) <= MOST_NAMED or one.on_front]
    parts = []
    for row, (number, one) in enumerate(named[:MOST_NAMED]):
        name = one.name if len(one.name) <= LONGEST_NAME else one.name[: LONGEST_NAME - 1] + "…"
        weight = "" if one.on_front else ' class="dim"'
        y = TOP + LEGEND_HEIGHT * row
        parts.append(f'<text{weight} x="{WIDTH - RIGHT + 22}" y="{y}">{number}. {escape(name)}</text>')
    return parts


def _describe(one: Contender, currency: str) -> str:
    figures = [
        f"p95 {format_duration(one.p95_s)}" if one.p95_s is not None else "",
        f"quality {format_fraction(one.quality)}" if one.quality is not None else "",
        f"memory {format_bytes(round(one.memory_bytes))}" if one.memory_bytes is not None else "",
        f"cost {one.cost_per_1k:.3g} {currency} per 1000".replace("  ", " ") if one.cost_per_1k is not None else "",
        "on the front" if one.on_front else "",
    ]
    return f"{one.name}: {', '.join(figure for figure in figures if figure) or 'no data'}"
