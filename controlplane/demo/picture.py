"""A picture of one rollout from the ledger: its share of traffic, and its gates' evidence beside what is needed."""

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from contracts.errors import NotFound
from contracts.units import format_duration
from controlplane.store.ledger import Entry, Ledger
from rollout.actions import ReasonCode

WIDTH, HEIGHT = 760, 424
LEFT, RIGHT = 74, 150
SHARE_PANEL = (116, 214)
EVIDENCE_PANEL = (260, 380)
LEAST_EVIDENCE = 0.1
LINE_HEIGHT = 15
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#1f2328}.dim{fill:#59636e}.title{font-size:15px;font-weight:600}"
    ".axis{stroke:#d1d9e0}.held{fill:#eef1f4}.limit{stroke:#59636e;stroke-dasharray:5 4}.line{fill:none;stroke-width:2}"
)

Point = tuple[float, float]


def draw_rollout(ledger: Ledger, phase: str = "rolled-back") -> str:
    """Return an SVG of the first rollout in the ledger that ended in ``phase``.

    Weights are stepped lines, evidence is on a logarithmic axis, and nothing is smoothed: every point is a decision.

    Raises:
        NotFound: when no rollout ended so.
    """
    ended = [entry.rollout_id for entry in ledger.entries() if entry.decision["phase"] == phase]
    if not ended:
        raise NotFound(f"no rollout in the ledger is {phase}", hint="run the demo first: roost demo run --home FOLDER")
    entries = [entry for entry in ledger.entries(ended[0]) if entry.decision["phase"] not in {"pending", "warming"}]
    start_s, end_s = entries[0].at_s, entries[-1].at_s
    time = _scale(0.0, max(end_s - start_s, 1.0), LEFT, WIDTH - RIGHT)
    decided = next((e for e in entries if e.decision["reason"] == "gate.harm-proven"), entries[-1])
    parts = [
        f'<text class="title" x="20" y="30">{escape(ended[0])}: {escape(phase)}</text>',
        *_wrap(str(decided.decision["sentence"]), 52),
        *_share_panel(entries, time, start_s),
        *_evidence_panel(entries, time, start_s),
        *_time_axis(end_s - start_s, time),
    ]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(str(decided.decision["sentence"]), quote=True)}">'
    )
    frame = f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#ffffff" stroke="#d1d9e0"/>'
    return "\n".join([head, f"<style>{STYLE}</style>", frame, *parts, "</svg>\n"])


def _share_panel(entries: Sequence[Entry], time: Callable[[float], float], start_s: float) -> list[str]:
    top, bottom = SHARE_PANEL
    largest = max(0.1, *(float(entry.decision["weight"]) for entry in entries))
    height = _scale(0.0, largest, bottom, top)
    points = [(time(e.at_s - start_s), height(float(e.decision["weight"]))) for e in entries]
    ticks = [f'<text class="dim" x="{LEFT - 8}" y="{height(w) + 4:.0f}" text-anchor="end">{100 * w:.0f} %</text>'
             for w in (0.0, largest)]  # fmt: skip
    return [
        f'<text class="dim" x="20" y="{top - 12}">share of live traffic</text>',
        f'<path class="axis" d="M{LEFT} {bottom}H{WIDTH - RIGHT}"/>',
        *ticks,
        f'<path class="line" stroke="{COLOURS[0]}" d="{_steps(points)}"/>',
    ]


def _evidence_panel(entries: Sequence[Entry], time: Callable[[float], float], start_s: float) -> list[str]:
    top, bottom = EVIDENCE_PANEL
    judged = [entry for entry in entries if entry.decision["verdicts"]]
    gates = [str(verdict["gate"]) for verdict in judged[0].decision["verdicts"]] if judged else []
    needed = max((float(v["needed"]) for e in judged for v in e.decision["verdicts"]), default=100.0)
    seen = max((float(v["evidence"]) for e in judged for v in e.decision["verdicts"]), default=1.0)
    height = _scale(math.log10(LEAST_EVIDENCE), math.log10(max(seen, 3 * needed)), bottom, top)
    limit = height(math.log10(needed))
    parts = [
        *_comparison(entries, time, start_s),
        f'<text class="dim" x="20" y="{top - 14}">evidence of harm (logarithmic)</text>',
        f'<path class="axis" d="M{LEFT} {bottom}H{WIDTH - RIGHT}"/>',
        f'<path class="limit" d="M{LEFT} {limit:.1f}H{WIDTH - RIGHT}"/>',
        f'<text class="dim" x="{LEFT - 8}" y="{limit + 4:.0f}" text-anchor="end">{needed:.0f}</text>',
        f'<text class="dim" x="{WIDTH - RIGHT + 8}" y="{limit + 4:.0f}">needed to roll back</text>',
        f'<text class="dim" x="{LEFT - 8}" y="{height(0) + 4:.0f}" text-anchor="end">1</text>',
    ]
    labels: list[tuple[float, float, str, str]] = []
    for position, gate in enumerate(gates):
        points = [(time(e.at_s - start_s), height(_log_evidence(e.decision["verdicts"][position]))) for e in judged]
        colour = COLOURS[1 + position % 3]
        parts.append(f'<path class="line" stroke="{colour}" d="{_line(points)}"/>')
        last_x, last_y = points[-1]
        labels.append((last_y, last_x, gate, colour))
    return parts + _labels(labels)


def _comparison(entries: Sequence[Entry], time: Callable[[float], float], start_s: float) -> list[str]:
    """Return the span in which harm was proven and it was open whether the champion suffers as much."""
    unclear = [entry.at_s - start_s for entry in entries if entry.decision["reason"] == ReasonCode.UNCLEAR]
    if not unclear:
        return []
    top, bottom = EVIDENCE_PANEL
    left, right = time(unclear[0]), time(unclear[-1])
    return [
        f'<rect class="held" x="{left:.0f}" y="{top}" width="{right - left:.0f}" height="{bottom - top}"/>',
        f'<text class="dim" x="{left:.0f}" y="{bottom - 6}">proven; is the champion as bad?</text>',
    ]


def _labels(ends: Sequence[tuple[float, float, str, str]]) -> list[str]:
    """Return names at the ends of their lines (y, x, name, colour), each above the one before: below is the axis."""
    parts: list[str] = []
    free = float(EVIDENCE_PANEL[1])
    for y, x, name, colour in sorted(ends, reverse=True):
        free = min(y, free)
        parts.append(f'<text x="{x + 8:.0f}" y="{free + 4:.0f}" style="fill:{colour}">{escape(name)}</text>')
        free -= LINE_HEIGHT
    return parts


def _time_axis(duration_s: float, time: Callable[[float], float]) -> list[str]:
    y = EVIDENCE_PANEL[1] + 20
    return [
        f'<text class="dim" x="{time(at_s):.0f}" y="{y}" text-anchor="middle">{format_duration(round(at_s))}</text>'
        for at_s in (0.0, duration_s / 2, duration_s)
    ]


def _wrap(sentence: str, y: int) -> list[str]:
    """Return a sentence as one or two lines of text."""
    halves = sentence.split("; ", 1)
    return [f'<text class="dim" x="20" y="{y + 17 * row}">{escape(half)}</text>' for row, half in enumerate(halves)]


def _log_evidence(verdict: dict[str, Any]) -> float:
    return math.log10(max(float(verdict["evidence"]), LEAST_EVIDENCE))


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _steps(points: Sequence[Point]) -> str:
    first, *rest = points
    return f"M{first[0]:.1f} {first[1]:.1f}" + "".join(f"H{x:.1f}V{y:.1f}" for x, y in rest)


def _line(points: Sequence[Point]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
