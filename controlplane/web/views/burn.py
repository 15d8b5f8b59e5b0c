"""How fast a rollout's versions burn the error budget, over a long and a short window, beside the alarm's rate."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from contracts.specs.service import ServiceSpec
from contracts.specs.slo import ScoreSlo
from controlplane.web.views.period import EVER, Span
from controlplane.web.views.series import Columns, thin
from controlplane.web.views.story import Arms, Story
from rollout.burn import RULES, BurnRule

Counts = tuple[int, int, int, int]
CHALLENGER, CHAMPION = 0, 2


@dataclass(frozen=True)
class RuleView:
    """One alarm: the challenger's burns over its windows, the champion's over the long one; None without requests."""

    rule: BurnRule
    long: float | None
    short: float | None
    champion: float | None
    n: int

    @property
    def fires(self) -> bool:
        """Tell whether both windows burn faster than the alarm's rate."""
        return min(self.long or 0.0, self.short or 0.0) > self.rule.factor


@dataclass(frozen=True)
class BurnView:
    """One indicator's burns; 1 spends the budget exactly by the end of the objective's window."""

    sli: str
    objective: float
    rules: tuple[RuleView, ...]
    columns: Columns


def view_burns(story: Story, spec: ServiceSpec | None, span: Span = EVER) -> tuple[BurnView, ...]:
    """Return the burns of each counted indicator that has an objective; drawn are those within ``span``."""
    slos = spec.objectives() if spec is not None else {}
    found = []
    for sli, arms in story.arms.items():
        slo = slos.get(sli)
        if slo is not None and not isinstance(slo, ScoreSlo) and arms.counts:
            found.append(_view(story, sli, arms, slo.objective, span))
    return tuple(found)


def _view(story: Story, sli: str, arms: Arms, objective: float, span: Span) -> BurnView:
    times = [story.ticks[row].at_s for row in arms.rows]
    budget, last = 1 - objective, len(times) - 1

    def burn(position: int, window_s: float, arm: int) -> float | None:
        bad, total = count_within(times, arms.counts, position, window_s, arm)
        return float(f"{bad / total / budget:.4g}") if total else None

    rules = tuple(
        RuleView(
            rule,
            burn(last, rule.long_s, CHALLENGER),
            burn(last, rule.short_s, CHALLENGER),
            burn(last, rule.long_s, CHAMPION),
            count_within(times, arms.counts, last, rule.long_s, CHALLENGER)[1],
        )
        for rule in RULES
    )
    rule, kept = RULES[0], thin([p for p, at_s in enumerate(times) if span.holds(at_s)])
    columns: Columns = {
        "s": [story.ticks[arms.rows[p]].sequence for p in kept],
        "t": [round(times[p] - story.started_s, 1) for p in kept],
        "long": [burn(p, rule.long_s, CHALLENGER) for p in kept],
        "short": [burn(p, rule.short_s, CHALLENGER) for p in kept],
    }
    return BurnView(sli, objective, rules, columns)


def count_within(
    times: Sequence[float], counts: Sequence[Counts], position: int, window_s: float, arm: int
) -> tuple[int, int]:
    """Return the bad and all requests of one version in the window that ends with a row of running totals."""
    before = bisect_right(times, times[position] - window_s) - 1
    now = counts[position]
    was = counts[before] if before >= 0 else (0, 0, 0, 0)
    return now[arm] - was[arm], now[arm + 1] - was[arm + 1]
