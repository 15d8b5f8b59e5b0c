"""Prometheus rules: error budgets with multi-window, multi-burn-rate alerts (Beyer et al. 2018, chapter 5).

The windows and factors are those that the control plane itself judges by.
"""

from collections.abc import Sequence
from typing import Any

import yaml

from contracts.specs.slo import ScoreSlo
from controlplane.slo_export.indicators import Indicator, prometheus_duration
from rollout.burn import RULES, BurnRule

BAD_RATIO = "service_objective:roost_bad:ratio_rate"
BUDGET_LEFT = "service_objective:roost_error_budget:left_ratio"
BUDGET_EVERY = "5m"
WINDOWS_S = tuple(sorted({window_s for rule in RULES for window_s in (rule.long_s, rule.short_s)}))

Rule = dict[str, Any]


def make_rules(found: Sequence[Indicator]) -> str:
    """Return the rules of all objectives as Prometheus reads them (YAML)."""
    counted = [one for one in found if one.total]
    scores = [(one, one.slo) for one in found if isinstance(one.slo, ScoreSlo)]
    groups = [
        {"name": "roost-burn", "rules": [_bad_ratio(one, window_s) for one in counted for window_s in WINDOWS_S]},
        {"name": "roost-budget", "interval": BUDGET_EVERY, "rules": [_budget(one) for one in counted]},
        {"name": "roost-alerts", "rules": [_burn_alert(one, rule) for one in counted for rule in RULES]},
        {"name": "roost-scores", "rules": [_score_alert(one, slo.objective - slo.margin) for one, slo in scores]},
        {"name": "roost-control", "rules": _control_alerts()},
    ]
    return yaml.safe_dump({"groups": [group for group in groups if group["rules"]]}, sort_keys=False, width=1000)


def ratio_name(window_s: float) -> str:
    """Return the name of the recorded share of bad events over a window."""
    return BAD_RATIO + prometheus_duration(window_s)


def _bad_ratio(one: Indicator, window_s: float) -> Rule:
    window = prometheus_duration(window_s)
    # Nothing bad has no series: then the share is zero as long as there is anything at all.
    bad = f"(sum(rate({one.bad}[{window}])) or vector(0))"
    return {
        "record": ratio_name(window_s),
        "expr": f"{bad} / (sum(rate({one.total}[{window}])) > 0)",
        "labels": one.labels,
    }


def _budget(one: Indicator) -> Rule:
    window = prometheus_duration(one.slo.window)
    bad = f"(sum(increase({one.bad}[{window}])) or vector(0))"
    spent = f"{bad} / (sum(increase({one.total}[{window}])) > 0)"
    return {"record": BUDGET_LEFT, "expr": f"1 - {spent} / {_budget_of(one)}", "labels": one.labels}


def _burn_alert(one: Indicator, rule: BurnRule) -> Rule:
    long, short = prometheus_duration(rule.long_s), prometheus_duration(rule.short_s)
    limit = f"{rule.factor:g} * {_budget_of(one)}"
    both = " and ".join(f"{ratio_name(window_s)}{one.selector} > {limit}" for window_s in (rule.long_s, rule.short_s))
    return {
        "alert": "RoostErrorBudgetBurn",
        "expr": both,
        "labels": {**one.labels, "severity": rule.severity.value, "window": long},
        "annotations": {
            "summary": f"{one.service} spends the error budget of {one.name} {rule.factor:g} times too fast",
            "description": (
                f"{{{{ $value | humanizePercentage }}}} were bad over {long}, and too many over {short} as well; "
                f"promised is {one.promise}."
            ),
        },
    }


def _score_alert(one: Indicator, tolerable: float) -> Rule:
    return {
        "alert": "RoostScoreLow",
        "expr": f"max by (service, objective) (roost_slo_indicator{one.selector}) < {round(tolerable, 12)!r}",
        "for": "30m",
        "labels": {**one.labels, "severity": "ticket"},
        "annotations": {
            "summary": f"{one.service} draws worse than {one.name} promises",
            "description": f"The mean is {{{{ $value | humanizePercentage }}}}; promised is {one.promise}.",
        },
    }


def _control_alerts() -> list[Rule]:
    return [
        _alert("RoostGatewayUnseen", "page", "5m", "absent(roost_gateway_table_revision)", "No gateway is scraped"),
        _alert("RoostNoLeader", "page", "2m", "max(roost_leader) < 1", "No control plane leads"),
        _alert("RoostControlUnseen", "page", "5m", "absent(roost_leader)", "No control plane is scraped"),
        _alert(
            "RoostDecisionOld",
            "page",
            "1m",
            "max by (service) (roost_rollout_decision_age_seconds) > 60",
            "A living rollout is not decided on",
        ),
        _alert(
            "RoostMessagesLost",
            "ticket",
            "0m",
            'max(roost_outbox_messages{state="given-up"}) > 0',
            "Messages could not be sent and were given up",
        ),
    ]


def _alert(name: str, severity: str, wait: str, expression: str, summary: str) -> Rule:
    return {
        "alert": name,
        "expr": expression,
        "for": wait,
        "labels": {"severity": severity},
        "annotations": {"summary": summary},
    }


def _budget_of(one: Indicator) -> str:
    """Return 1 - objective without the noise of its binary digits."""
    return repr(round(1.0 - one.slo.objective, 12))
