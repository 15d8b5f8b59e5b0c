"""How quickly two versions answered: quantiles over a rollout's time, stretch by stretch, and over all of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from contracts.sketch import Sketch, merge, quantile_s
from contracts.specs.service import ServiceSpec
from contracts.specs.slo import LatencySlo
from controlplane.web.sources.serving import Timed
from controlplane.web.views.series import Columns
from controlplane.web.views.story import Story

SHARES = (0.5, 0.95, 0.99)


@dataclass(frozen=True)
class LatencyRow:
    """One version's quantiles (within 2 %) in seconds: the median, the 95th and 99th percentile, of ``n`` answers."""

    version: str
    role: str
    n: int
    quantiles_s: tuple[float | None, ...]


@dataclass(frozen=True)
class LatencyView:
    """Both versions over the whole rollout, and what the chart is drawn from; ``limit_s`` is the tightest objective."""

    rows: tuple[LatencyRow, ...]
    stretch_s: int
    limit_s: float | None
    columns: Columns


def view_latency(story: Story, timed: Timed | None, spec: ServiceSpec | None) -> LatencyView | None:
    """Return how quickly both versions answered in the time that was read; None while no answer was timed."""
    if timed is None or not timed.sketches:
        return None
    rows = []
    for version, role in ((story.champion, "champion"), (story.challenger, "challenger")):
        whole = merge(sketch for (_, name), sketch in timed.sketches.items() if name == version)
        rows.append(LatencyRow(version, role, sum(whole.values()), tuple(quantile_s(whole, share) for share in SHARES)))
    slos = spec.objectives().values() if spec is not None else ()
    limits = [slo.threshold for slo in slos if isinstance(slo, LatencySlo)]
    return LatencyView(tuple(rows), timed.stretch_s, min(limits, default=None), _columns(story, timed))


def _columns(story: Story, timed: Timed) -> Columns:
    """Return a row per stretch, also for those in which nobody answered: they stay empty."""
    starts = sorted({start_s for start_s, _ in timed.sketches})
    every = range(starts[0], starts[-1] + timed.stretch_s + 1, timed.stretch_s)
    columns: Columns = {"s": list(every), "t": [round(start_s - story.started_s, 1) for start_s in every]}
    for version, name in ((story.challenger, "challenger"), (story.champion, "champion")):
        for share in SHARES[:2]:
            column = f"{name}{round(100 * share)}"
            columns[column] = [_quantile(timed.sketches, start_s, version, share) for start_s in every]
    return columns


def _quantile(sketches: Mapping[tuple[int, str], Sketch], start_s: int, version: str, share: float) -> float | None:
    value_s = quantile_s(sketches.get((start_s, version), {}), share)
    return None if value_s is None else float(f"{value_s:.4g}")
