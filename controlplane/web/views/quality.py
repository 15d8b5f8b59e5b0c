"""Quality: what scorers said of each version over time, and the outputs to look at first."""

from dataclasses import dataclass

from controlplane.web.sources.telemetry import Example, Recorded, Scored

MOST_COLUMNS = 48
STRETCHES_S = (60, 300, 900, 3600, 4 * 3600, 86400)


@dataclass(frozen=True)
class Cell:
    """The mean of one stretch of time; None where nothing was judged."""

    start_s: int
    n: int
    mean: float | None


@dataclass(frozen=True)
class Strip:
    """One version under one scorer: its mean over all, and stretch by stretch."""

    service: str
    metric: str
    version: str
    n: int
    mean: float
    cells: tuple[Cell, ...]

    @property
    def worst(self) -> Cell:
        """The stretch with the lowest mean."""
        return min((cell for cell in self.cells if cell.mean is not None), key=lambda cell: cell.mean or 0.0)


@dataclass(frozen=True)
class QualityView:
    """All strips, one cell per ``stretch_s``, and the worst outputs of the newest day."""

    sentence: str
    stretch_s: int
    strips: tuple[Strip, ...]
    examples: tuple[Example, ...]
    as_of_s: float


def view_quality(recorded: Recorded | None) -> QualityView | None:
    """Return what scorers said; None while nothing was recorded."""
    if recorded is None:
        return None
    scores = recorded.scores
    first_s, last_s = (scores[0].start_s, scores[-1].start_s) if scores else (0, 0)
    stretch_s = next((s for s in STRETCHES_S if (last_s - first_s) / s < MOST_COLUMNS), STRETCHES_S[-1])
    groups: dict[tuple[str, str, str], list[Scored]] = {}
    for row in scores:
        groups.setdefault((row.service, row.metric, row.version), []).append(row)
    strips = [_strip(key, rows, first_s, last_s, stretch_s) for key, rows in sorted(groups.items())]
    return QualityView(_summarise(strips), stretch_s, tuple(strips), tuple(recorded.examples), recorded.newest_s)


def _strip(key: tuple[str, str, str], rows: list[Scored], first_s: int, last_s: int, stretch_s: int) -> Strip:
    sums: dict[int, tuple[int, float]] = {}
    for row in rows:
        start_s = row.start_s - row.start_s % stretch_s
        n, total = sums.get(start_s, (0, 0.0))
        sums[start_s] = (n + row.n, total + row.total)
    starts = range(first_s - first_s % stretch_s, last_s + 1, stretch_s)
    cells = tuple(Cell(s, sums[s][0], sums[s][1] / sums[s][0]) if s in sums else Cell(s, 0, None) for s in starts)
    n = sum(row.n for row in rows)
    return Strip(*key, n, sum(row.total for row in rows) / n, cells)


def _summarise(strips: list[Strip]) -> str:
    if not strips:
        return "No output was judged yet."
    lowest = min(strips, key=lambda strip: strip.mean)
    judged = sum(strip.n for strip in strips)
    return f"{judged} judgements; lowest is {lowest.version} with a mean of {lowest.mean:.3f} in {lowest.metric}."
