"""Quality: monitors that moved, what scorers said of each version over time, and the outputs to look at first."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from contracts.specs.monitor import MonitorSpec
from contracts.specs.service import ServiceSpec
from contracts.specs.slo import ScoreSlo
from controlplane.web.sources.serving import BINS, Spread
from controlplane.web.sources.telemetry import Example, Recorded, Scored, Told
from controlplane.web.views.period import EVER, Span

MOST_COLUMNS = 48
STRETCHES_S = (60, 300, 900, 3600, 4 * 3600, 86400)
WEEK_S = 7 * 86400
MOST_OVERLAID = 3


@dataclass(frozen=True)
class Cell:
    """The mean of one stretch of time; None where nothing was judged."""

    start_s: int
    n: int
    mean: float | None


@dataclass(frozen=True)
class Strip:
    """One version under one scorer: its mean over all, stretch by stretch, and its spread as an SVG path."""

    service: str
    metric: str
    version: str
    n: int
    mean: float
    cells: tuple[Cell, ...]
    spread: str

    @property
    def worst(self) -> Cell:
        """The stretch with the lowest mean."""
        return min((cell for cell in self.cells if cell.mean is not None), key=lambda cell: cell.mean or 0.0)


@dataclass(frozen=True)
class MonitorView:
    """One monitor of a service, and the alarms it raised in the last week, the newest first."""

    service: str
    name: str
    spec: MonitorSpec
    alarms: tuple[Told, ...]


@dataclass(frozen=True)
class Overlay:
    """The spread of one score in a few versions: how many, and an SVG path of the shares in 20 parts of [0, 1]."""

    service: str
    metric: str
    lines: tuple[tuple[str, int, str], ...]


@dataclass(frozen=True)
class QualityView:
    """Monitors (those that moved first), strips of one cell per ``stretch_s``, spreads, and the worst outputs.

    ``ungated`` names services with scorers that judge for them without being an objective.
    """

    sentence: str
    stretch_s: int
    monitors: tuple[MonitorView, ...]
    strips: tuple[Strip, ...]
    overlays: tuple[Overlay, ...]
    ungated: tuple[tuple[str, str], ...]
    examples: tuple[Example, ...]
    as_of_s: float


def view_quality(
    recorded: Recorded | None,
    specs: Mapping[str, ServiceSpec],
    spreads: Sequence[Spread] | None,
    span: Span = EVER,
    pair: frozenset[str] = frozenset(),
) -> QualityView | None:
    """Return what scorers and monitors said within a time, of the ``pair`` beside one another.

    None while nothing was recorded.
    """
    if recorded is None:
        return None
    scores = [row for row in recorded.scores if span.holds(row.start_s)]
    first_s, last_s = (scores[0].start_s, scores[-1].start_s) if scores else (0, 0)
    stretch_s = next((s for s in STRETCHES_S if (last_s - first_s) / s < MOST_COLUMNS), STRETCHES_S[-1])
    groups: dict[tuple[str, str, str], list[Scored]] = {}
    for row in scores:
        groups.setdefault((row.service, row.metric, row.version), []).append(row)
    counts = {(one.service, one.metric, one.version): one.counts for one in spreads or ()}
    paths = {key: draw_spread(bins, max(bins) / sum(bins), width=100, height=20) for key, bins in counts.items()}
    times = (first_s, last_s, stretch_s)
    strips = [_strip(key, rows, *times, spread=paths.get(key, "")) for key, rows in sorted(groups.items())]
    monitors = _monitors(recorded, specs)
    return QualityView(
        _summarise(strips, monitors),
        stretch_s,
        monitors,
        tuple(strips),
        _overlays(spreads or (), pair),
        _ungated(strips, specs),
        tuple(example for example in recorded.examples if span.holds(example.at_s)),
        recorded.newest_s,
    )


def _monitors(recorded: Recorded, specs: Mapping[str, ServiceSpec]) -> tuple[MonitorView, ...]:
    since_s = recorded.newest_s - WEEK_S
    alarms = [told for told in recorded.events if told.code == "monitor.alarm" and told.at_s >= since_s]

    def raised(told: Told, name: str, model: str) -> bool:
        return told.message.startswith(f"monitor {name}:") and told.subject.startswith(f"version/{model}@")

    found = [
        MonitorView(service, name, monitor, tuple(told for told in alarms if raised(told, name, spec.model)))
        for service, spec in sorted(specs.items())
        for name, monitor in spec.monitors.items()
    ]
    return tuple(sorted(found, key=lambda one: -max((told.at_s for told in one.alarms), default=0.0)))


def _ungated(strips: Iterable[Strip], specs: Mapping[str, ServiceSpec]) -> tuple[tuple[str, str], ...]:
    gated = {
        (service, slo.scorer)
        for service, spec in specs.items()
        for slo in spec.objectives().values()
        if isinstance(slo, ScoreSlo)
    }
    judged = dict.fromkeys((strip.service, strip.metric) for strip in strips if strip.service in specs)
    return tuple(key for key in judged if key not in gated)


def _strip(
    key: tuple[str, str, str], rows: list[Scored], first_s: int, last_s: int, stretch_s: int, *, spread: str
) -> Strip:
    sums: dict[int, tuple[int, float]] = {}
    for row in rows:
        start_s = row.start_s - row.start_s % stretch_s
        n, total = sums.get(start_s, (0, 0.0))
        sums[start_s] = (n + row.n, total + row.total)
    starts = range(first_s - first_s % stretch_s, last_s + 1, stretch_s)
    cells = tuple(Cell(s, sums[s][0], sums[s][1] / sums[s][0]) if s in sums else Cell(s, 0, None) for s in starts)
    n = sum(row.n for row in rows)
    return Strip(*key, n, sum(row.total for row in rows) / n, cells, spread)


def _overlays(spreads: Iterable[Spread], pair: frozenset[str]) -> tuple[Overlay, ...]:
    """Return each score's spread in the pair; in the versions judged most, where it was judged in neither."""
    groups: dict[tuple[str, str], list[Spread]] = {}
    for spread in spreads:
        groups.setdefault((spread.service, spread.metric), []).append(spread)
    overlays = []
    for (service, metric), every in groups.items():
        most = sorted(every, key=lambda spread: -sum(spread.counts))[:MOST_OVERLAID]
        mine = [spread for spread in every if spread.version in pair] or most
        top = max(count / sum(spread.counts) for spread in mine for count in spread.counts)
        lines = tuple((spread.version, sum(spread.counts), draw_spread(spread.counts, top)) for spread in mine)
        overlays.append(Overlay(service, metric, lines))
    return tuple(overlays)


def draw_spread(counts: Sequence[int], top: float, width: int = 240, height: int = 60) -> str:
    """Return the SVG path of a histogram's outline: shares of all, the largest of ``top`` as high as the picture."""
    total, step = sum(counts), width / BINS
    path = f"M0 {height}"
    for position, count in enumerate(counts):
        y = height - (height - 2) * count / total / top
        path += f"V{y:.1f}H{(position + 1) * step:.0f}"
    return f"{path}V{height}"


def _summarise(strips: list[Strip], monitors: tuple[MonitorView, ...]) -> str:
    if not strips:
        return "No output was judged yet."
    lowest = min(strips, key=lambda strip: strip.mean)
    judged = sum(strip.n for strip in strips)
    moved = sum(bool(monitor.alarms) for monitor in monitors)
    watched = f"{moved} of {len(monitors)} monitors moved this week; " if monitors else ""
    worst = f"lowest is {lowest.version} with a mean of {lowest.mean:.3f} in {lowest.metric}"
    return f"{watched}{judged} judgements; {worst}."
