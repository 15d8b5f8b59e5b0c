"""Objectives: how much of each error budget is left, how fast it goes, and when it is gone; the least left first."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

from contracts.specs.service import ServiceSpec
from contracts.specs.slo import LatencySlo, ScoreSlo, Slo
from contracts.units import format_duration, format_fraction
from controlplane.web.sources.telemetry import MINUTE_S, Counted, Recorded
from controlplane.web.views.burn import CHALLENGER, count_within
from controlplane.web.views.period import ALL_TIME, Period, Span
from controlplane.web.views.series import MOST_ROWS, Columns, thin
from rollout.burn import RULES, Budget, Finding, Sample, budget_left, judge_burn
from rollout.evidence.counts import Tally


@dataclass(frozen=True)
class SloView:
    """One objective over its window: ``sli`` is a share of good events or a mean score, None without data.

    ``budget`` and ``findings`` (burn rates over long and short windows) are None and empty for a mean score. ``within``
    is what was measured, and of how many, in the time that is looked at; charts' times count from ``origin_s``.
    """

    service: str
    name: str
    kind: str
    lane: str
    objective: float
    window_s: float
    sli: float | None
    n: int
    bad: int
    budget: Budget | None
    findings: tuple[Finding, ...]
    sentence: str
    series: Columns
    burns: Columns | None
    origin_s: float
    within: tuple[float | None, int]

    @property
    def gone_in_s(self) -> float | None:
        """Seconds until the budget is gone at the last hour's rate, 0 when it is; None while it does not go."""
        if self.budget is None or not self.n:
            return None
        if self.budget.left <= 0:
            return 0.0
        return self.budget.gone_in_s if math.isfinite(self.budget.gone_in_s) else None

    @property
    def key(self) -> str:
        """The name of its series."""
        return f"slo/{self.service}/{self.name}"

    @property
    def is_met(self) -> bool | None:
        """Tell whether what was measured so far is no worse than the objective; None without data."""
        return None if self.sli is None else self.sli >= self.objective

    @property
    def is_missed(self) -> bool:
        """Tell whether the objective is missed: its budget is spent, or its mean score, which has none, is too low."""
        return self.budget.left <= 0 if self.budget is not None else self.is_met is False


@dataclass(frozen=True)
class SloList:
    """All objectives, the least budget left first, with one sentence about them."""

    rows: tuple[SloView, ...]
    sentence: str
    as_of_s: float


def view_slos(recorded: Recorded | None, period: Period = ALL_TIME) -> SloList | None:
    """Return all objectives, drawn over a time up to the newest telemetry; None while nothing was recorded."""
    if recorded is None:
        return None
    span = period.span(recorded.newest_s)
    rows = [
        _view_slo(recorded, spec, name, slo, span) for spec in recorded.specs for name, slo in spec.objectives().items()
    ]
    rows.sort(key=lambda row: (not row.is_missed, row.budget.left if row.budget else 2.0))
    return SloList(tuple(rows), _summarise(rows), recorded.newest_s)


def _view_slo(recorded: Recorded, spec: ServiceSpec, name: str, slo: Slo, span: Span) -> SloView:
    lane = spec.lane_objectives().get(name, "")
    now_s, begin_s = recorded.newest_s, recorded.newest_s - slo.window
    place = (spec.service, name, _kind(slo), lane, slo.objective, slo.window)
    if isinstance(slo, ScoreSlo):
        mine = [
            (row.start_s, row.n, row.total)
            for row in recorded.scores
            if (row.service, row.metric) == (spec.service, slo.scorer) and row.start_s >= begin_s
        ]
        mean, n = _mean(mine)
        sentence = "no data yet" if mean is None else f"mean {mean:.3f} of {n} scores, objective {slo.objective:.3f}"
        shown = [row for row in mine if span.holds(row[0])]
        origin_s = float(shown[0][0]) if shown else now_s
        series = _score_series(shown, slo.objective)
        return SloView(*place, mean, n, 0, None, (), sentence, series, None, origin_s, _mean(shown))
    samples = [s for s in _samples(recorded.counts, spec.service, name, slo, lane) if s.at_s > begin_s]
    bad, n = sum(s.tally.bad for s in samples), sum(s.tally.total for s in samples)
    budget = budget_left(samples, now_s=now_s, objective=slo.objective, window_s=slo.window)
    born_s = min((s.at_s - s.length_s for s in samples), default=now_s)
    findings = judge_burn(samples, now_s=now_s, objective=slo.objective, born_s=born_s)
    sentence = _tell_budget(budget, n)
    series, burns = _budget_series(samples, slo.objective, budget, span), _burn_series(samples, slo.objective, span)
    drawn = [sample for sample in samples if span.holds(sample.at_s)]
    origin_s = drawn[0].at_s if drawn else now_s
    of_drawn = _rate(sum(s.tally.bad for s in drawn), sum(s.tally.total for s in drawn))
    sli, _ = _rate(bad, n)
    return SloView(*place, sli, n, bad, budget, findings, sentence, series, burns, origin_s, of_drawn)


def _rate(bad: int, n: int) -> tuple[float | None, int]:
    return (1 - bad / n if n else None), n


def _mean(rows: list[tuple[int, int, float]]) -> tuple[float | None, int]:
    n = sum(row[1] for row in rows)
    return (sum(row[2] for row in rows) / n if n else None), n


def _kind(slo: Slo) -> str:
    if isinstance(slo, ScoreSlo):
        return "score"
    return f"latency ≤ {format_duration(slo.threshold)}" if isinstance(slo, LatencySlo) else "availability"


def _samples(counts: Iterable[Counted], service: str, name: str, slo: Slo, lane: str) -> list[Sample]:
    """Return what was good and bad per bucket: requests for availability, attempts for latency."""
    total_of, bad_of = ("attempts", f"slow/{name}") if isinstance(slo, LatencySlo) else ("requests", "requests-bad")
    buckets: dict[tuple[int, int], list[int]] = {}
    for row in counts:
        if row.service == service and row.measure in {total_of, bad_of} and (not lane or row.lane == lane):
            bucket = buckets.setdefault((row.start_s, row.length_s), [0, 0])
            bucket[row.measure == total_of] += round(row.amount)
    return [
        Sample(float(start_s + length_s), float(length_s), Tally(min(bad, total), total))
        for (start_s, length_s), (bad, total) in sorted(buckets.items())
    ]


def show_left(left: float) -> str:
    """Return the share of a budget that is left, to a tenth of a percent and never rounded up: 99.98 % is 99.9 %."""
    return format_fraction(math.floor(1000 * left) / 1000, digits=4)


def _tell_budget(budget: Budget, n: int) -> str:
    if not n:
        return "no data yet: no request was counted"
    left = f"{show_left(budget.left)} of the budget left" if budget.left >= 0 else "the budget is overspent"
    if math.isinf(budget.gone_in_s) or budget.left <= 0:
        return left
    return f"{left}, gone in {format_duration(budget.gone_in_s)} at the last hour's rate"


def _budget_series(samples: list[Sample], objective: float, budget: Budget, span: Span) -> Columns:
    """Return share of good events and budget left, bucket by bucket; where nothing was counted the share is left out.

    The budget goes on at what it was: nothing was spent meanwhile.
    """
    columns: Columns = {name: [] for name in ("s", "t", "sli", "left", "limit")}
    spent = list(accumulate(sample.tally.bad for sample in samples))
    drawn = [i for i, sample in enumerate(samples) if span.holds(sample.at_s)]
    stretch = -(-len(drawn) // MOST_ROWS) or 1
    kept = sorted({*drawn[::stretch], *drawn[-1:]})
    begin_s = before_s = samples[kept[0]].at_s if kept else 0.0
    for i in kept:
        sample, left = samples[i], 1 - spent[i] / budget.allowed if budget.allowed else None
        if sample.at_s - before_s > stretch * sample.length_s:
            _add(columns, before_s + sample.length_s, begin_s, {"sli": None, "left": columns["left"][-1]})
        rate = 1 - sample.tally.bad / sample.tally.total if sample.tally.total else None
        _add(columns, sample.at_s, begin_s, {"sli": rate, "left": left})
        before_s = sample.at_s
    columns["limit"] = [objective] * len(columns["s"])
    return columns


def _add(columns: Columns, at_s: float, begin_s: float, values: dict[str, float | None]) -> None:
    columns["s"].append(int(at_s))
    columns["t"].append(at_s - begin_s)
    for name, value in values.items():
        columns[name].append(value)


def _burn_series(samples: list[Sample], objective: float, span: Span) -> Columns:
    """Return the burn over the first alarm's windows, at the end of each bucket."""
    times = [sample.at_s for sample in samples]
    totals = list(accumulate((s.tally for s in samples), lambda a, b: Tally(a.bad + b.bad, a.total + b.total)))
    counts = [(total.bad, total.total, 0, 0) for total in totals]
    kept, rule = thin([p for p, at_s in enumerate(times) if span.holds(at_s)]), RULES[0]

    def burn(position: int, window_s: float) -> float | None:
        bad, total = count_within(times, counts, position, window_s, CHALLENGER)
        return bad / total / (1 - objective) if total else None

    return {
        "s": [int(times[p]) for p in kept],
        "t": [times[p] - times[kept[0]] for p in kept],
        "long": [burn(p, rule.long_s) for p in kept],
        "short": [burn(p, rule.short_s) for p in kept],
    }


def _score_series(rows: list[tuple[int, int, float]], objective: float) -> Columns:
    minutes: dict[int, tuple[int, float]] = {}
    for start_s, n, total in rows:
        known = minutes.get(start_s, (0, 0.0))
        minutes[start_s] = (known[0] + n, known[1] + total)
    stretch = -(-len(minutes) // MOST_ROWS) or 1
    kept = sorted(minutes)[::stretch]
    columns: Columns = {"s": [], "t": [], "sli": []}
    before_s = kept[0] if kept else 0
    for start_s in kept:
        if start_s - before_s > stretch * MINUTE_S:
            _add(columns, before_s + MINUTE_S, kept[0], {"sli": None})
        _add(columns, start_s, kept[0], {"sli": minutes[start_s][1] / minutes[start_s][0]})
        before_s = start_s
    return {**columns, "limit": [objective] * len(columns["s"])}


def _summarise(rows: list[SloView]) -> str:
    if not rows:
        return "No service with objectives was recorded yet."
    missed, below = [row for row in rows if row.is_missed], [row for row in rows if row.is_met is False]
    firing = [row for row in rows if any(finding.fires for finding in row.findings)]
    if missed:
        names = ", ".join(f"{row.service} {row.name}" for row in missed)
        return f"{len(missed)} of {len(rows)} objectives {'is' if len(missed) == 1 else 'are'} missed: {names}."
    told = f"All {len(rows)} objectives are in budget" if len(rows) > 1 else "The one objective is in budget"
    if firing:
        return f"{told}; {len(firing)} burn{'s' if len(firing) == 1 else ''} too fast."
    if below:
        names = ", ".join(f"{row.service} {row.name}" for row in below)
        return f"{told}; so far {names} {'is' if len(below) == 1 else 'are'} below what is aimed at."
    return f"{told}."
