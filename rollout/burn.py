"""Error budgets and burn rates: multi-window, multi-burn-rate rules (Beyer et al. 2018, chapter 5, table 5-8)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from contracts.errors import InvalidInput
from rollout.evidence.counts import Tally, check_tally


class Severity(StrEnum):
    """Whether a burn wakes somebody up."""

    PAGE = "page"
    TICKET = "ticket"


@dataclass(frozen=True, slots=True)
class BurnRule:
    """Fires when the burn over the long and over the short window both exceed ``factor``."""

    severity: Severity
    long_s: float
    short_s: float
    factor: float


RULES = (
    BurnRule(Severity.PAGE, 3600.0, 300.0, 14.4),
    BurnRule(Severity.PAGE, 6 * 3600.0, 1800.0, 6.0),
    BurnRule(Severity.TICKET, 3 * 86400.0, 6 * 3600.0, 1.0),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """What was counted in the stretch that ends at ``at_s`` and lasted ``length_s``."""

    at_s: float
    length_s: float
    tally: Tally


@dataclass(frozen=True, slots=True)
class Burn:
    """Burn over one window, clipped to the version's age: ``rate`` 1 spends the budget exactly at the window's end.

    NaN without requests; ``window_s`` is what was left after clipping.
    """

    window_s: float
    tally: Tally
    rate: float


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule with its two burns, and whether it fires."""

    rule: BurnRule
    long: Burn
    short: Burn
    fires: bool

    @property
    def sentence(self) -> str:
        """The finding in one sentence."""
        state = "fires" if self.fires else "is quiet"
        return (
            f"{self.rule.severity.value} at burn {self.rule.factor:g} {state}: {self.long.rate:.3g} over "
            f"{self.long.window_s:.0f} s and {self.short.rate:.3g} over {self.short.window_s:.0f} s"
        )


@dataclass(frozen=True, slots=True)
class Budget:
    """An error budget over its window: bad events allowed and spent, and when it is gone at the present burn.

    ``left`` is the share left (negative when overspent); ``gone_in_s`` is infinite when the burn is at most zero.
    """

    allowed: float
    spent: int
    left: float
    gone_in_s: float


def burn_over(samples: Sequence[Sample], *, now_s: float, window_s: float, objective: float, born_s: float) -> Burn:
    """Return the burn over the last ``window_s`` seconds, clipped to the version's age since ``born_s``.

    A sample counts when it ended within the window.

    Raises:
        InvalidInput: when the objective isn't between 0 and 1, or a sample can't be.
    """
    if not 0.0 < objective < 1.0:
        raise InvalidInput(f"objective: {objective!r} is not between 0 and 1")
    clipped_s = max(min(window_s, now_s - born_s), 0.0)
    bad = total = 0
    for position, sample in enumerate(samples):
        check_tally(sample.tally, f"samples.{position}")
        if now_s - clipped_s < sample.at_s <= now_s:
            bad, total = bad + sample.tally.bad, total + sample.tally.total
    rate = bad / total / (1.0 - objective) if total else math.nan
    return Burn(clipped_s, Tally(bad, total), rate)


def judge_burn(
    samples: Sequence[Sample],
    *,
    now_s: float,
    objective: float,
    born_s: float,
    rules: Sequence[BurnRule] = RULES,
    min_bad: int = 1,
) -> tuple[Finding, ...]:
    """Return what each rule finds; with fewer than ``min_bad`` bad requests in the long window it stays quiet."""
    findings = []
    for rule in rules:
        long, short = (
            burn_over(samples, now_s=now_s, window_s=window_s, objective=objective, born_s=born_s)
            for window_s in (rule.long_s, rule.short_s)
        )
        fires = long.rate > rule.factor and short.rate > rule.factor and long.tally.bad >= min_bad
        findings.append(Finding(rule, long, short, fires))
    return tuple(findings)


def budget_left(
    samples: Sequence[Sample], *, now_s: float, objective: float, window_s: float, recent_s: float = 3600.0
) -> Budget:
    """Return the error budget over ``window_s`` and the time until it is gone at the burn of the last ``recent_s``.

    The budget in events is (1 - objective) times the requests of the whole window, extrapolated from those seen when
    the samples don't reach back that far.
    """
    spent = burn_over(samples, now_s=now_s, window_s=window_s, objective=objective, born_s=-math.inf)
    covered_s = min(window_s, now_s - min((s.at_s - s.length_s for s in samples), default=now_s))
    if not spent.tally.total or covered_s <= 0:
        return Budget(0.0, 0, 1.0, math.inf)
    allowed = (1.0 - objective) * spent.tally.total * window_s / covered_s
    recent_s = min(recent_s, covered_s)
    recent = burn_over(samples, now_s=now_s, window_s=recent_s, objective=objective, born_s=-math.inf)
    remaining = allowed - spent.tally.bad
    per_second = recent.tally.bad / recent_s
    gone_in_s = max(remaining, 0.0) / per_second if per_second else math.inf
    return Budget(allowed, spent.tally.bad, remaining / allowed, gone_in_s)
