"""Freezes by rule: services to which nothing is rolled out at a time of the week, or while a budget is nearly spent."""

from collections.abc import Mapping
from dataclasses import dataclass

from contracts.specs.service import ServiceSpec
from contracts.specs.watch import MONDAY_S, WEEK_S, is_within, read_weekly
from contracts.units import format_fraction
from controlplane.web.views.slos import SloList


@dataclass(frozen=True)
class FreezeRule:
    """One rule of a service: what it says, whether it holds now, and when that changes where the calendar says so."""

    service: str
    sentence: str
    holds: bool
    changes_s: float | None = None


def view_rules(specs: Mapping[str, ServiceSpec], objectives: SloList | None, now_s: float) -> tuple[FreezeRule, ...]:
    """Return all rules, those that hold now first."""
    found: list[FreezeRule] = []
    for service, spec in sorted(specs.items()):
        if spec.freeze is None:
            continue
        for weekly in spec.freeze.weekly:
            holds = is_within(weekly, now_s)
            found.append(FreezeRule(service, f"frozen each week, {weekly} UTC", holds, _next_change(weekly, now_s)))
        if spec.freeze.budget_below is not None:
            found.append(_tell_budgets(service, spec.freeze.budget_below, objectives))
    return tuple(sorted(found, key=lambda rule: not rule.holds))


def _next_change(weekly: str, now_s: float) -> float:
    """Return when a weekly time begins or ends next."""
    second = (now_s - MONDAY_S) % WEEK_S
    return now_s + min((edge - second) % WEEK_S or WEEK_S for edge in read_weekly(weekly))


def _tell_budgets(service: str, least: float, objectives: SloList | None) -> FreezeRule:
    left = {
        row.name: row.budget.left
        for row in (objectives.rows if objectives is not None else ())
        if row.service == service and row.budget is not None and row.n
    }
    sentence = f"frozen while less than {format_fraction(least)} of an error budget is left"
    if not left:
        return FreezeRule(service, f"{sentence}; no budget has data yet", holds=False)
    name = min(left, key=lambda one: left[one])
    told = "it is overspent" if left[name] < 0 else f"{format_fraction(left[name])} of it is left"
    return FreezeRule(service, f"{sentence}; the least is {name}: {told}", left[name] < least)
