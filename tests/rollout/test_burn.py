"""Burn rates, budgets and the ramp."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import InvalidInput
from contracts.specs.rollout import RolloutSpec
from rollout.burn import RULES, Sample, Severity, budget_left, burn_over, judge_burn
from rollout.evidence.counts import Tally
from rollout.ramp import adaptive_weight


def _samples(bad: int, total: int, minutes: int) -> list[Sample]:
    return [Sample(60.0 * (k + 1), 60.0, Tally(bad, total)) for k in range(minutes)]


def test_windows_are_clipped_to_the_age_of_the_version() -> None:
    samples = _samples(1, 100, 10)
    burn = burn_over(samples, now_s=600.0, window_s=3600.0, objective=0.995, born_s=300.0)
    assert burn.window_s == 300.0
    assert burn.tally == Tally(5, 500)
    assert burn.rate == pytest.approx(2.0)
    assert math.isnan(burn_over([], now_s=10.0, window_s=60.0, objective=0.995, born_s=0.0).rate)


def test_rules_need_both_windows_and_enough_events() -> None:
    findings = judge_burn(_samples(20, 100, 60), now_s=3600.0, objective=0.99, born_s=0.0)
    assert [finding.fires for finding in findings] == [True, True, True]
    assert "page at burn 14.4 fires" in findings[0].sentence
    recovered = [*_samples(20, 100, 50), *(Sample(60.0 * k, 60.0, Tally(0, 100)) for k in range(51, 61))]
    page = judge_burn(recovered, now_s=3600.0, objective=0.99, born_s=0.0)[0]
    assert page.rule.severity is Severity.PAGE
    assert not page.fires
    assert not judge_burn(_samples(1, 1, 1), now_s=60.0, objective=0.99, born_s=0.0, min_bad=12)[0].fires
    assert [rule.factor for rule in RULES] == [14.4, 6.0, 1.0]


def test_the_budget_ends_when_the_burn_says_so() -> None:
    day = 86400.0
    budget = budget_left(_samples(2, 100, 60), now_s=3600.0, objective=0.99, window_s=day)
    assert budget.spent == 120
    assert budget.allowed == pytest.approx(6000 * 24 * 0.01)
    assert budget.gone_in_s == pytest.approx((1440 - 120) / (120 / 3600))
    assert budget.left == pytest.approx(1 - 120 / 1440)
    assert budget_left([], now_s=0.0, objective=0.99, window_s=day).gone_in_s == math.inf
    assert budget_left(_samples(0, 100, 5), now_s=300.0, objective=0.99, window_s=day).gone_in_s == math.inf


def test_what_can_not_be_is_refused() -> None:
    with pytest.raises(InvalidInput, match="objective"):
        burn_over([], now_s=0.0, window_s=1.0, objective=1.0, born_s=0.0)
    with pytest.raises(InvalidInput, match=r"samples\.0"):
        burn_over([Sample(1.0, 1.0, Tally(2, 1))], now_s=1.0, window_s=9.0, objective=0.9, born_s=0.0)


@given(st.floats(-1, 1), st.floats(0, 1e9), st.floats(0, 1))
def test_the_weight_is_always_within_bounds_and_growth(excess: float, rate: float, last: float) -> None:
    spec = RolloutSpec()
    weight = float(adaptive_weight(spec, np.array(excess), np.array(rate), np.array(last)))
    assert spec.min_weight <= weight <= spec.max_weight
    assert weight <= max(last, spec.min_weight) * spec.growth + 1e-12
    if weight > spec.min_weight:
        assert weight * rate * spec.reaction_lag * max(excess, 0.0) <= spec.harm_budget * (1 + 1e-9)
