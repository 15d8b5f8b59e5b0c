"""The peers' rules on cases worked out by hand, replay of recordings, and plans."""

import numpy as np
import pytest

from contracts.errors import InvalidInput
from rollout.evidence.mixture import Array
from rollout.observation import Observation
from rollout.peers import argo, flagger, growthbook, kayenta, sre
from rollout.peers.rule import Course, History, Rule
from rollout.peers.trial import try_rule
from rollout.phases import Phase
from rollout.plan import divergence, information_limit, plan
from rollout.replay import replay, replay_rule, tell
from rollout.simulate.engine import End, simulate
from rollout.simulate.scenario import Rates, Scenario
from tests.rollout.conftest import make_policy


def _looks(rule: Rule, failing: list[bool], *, idle: bool = False) -> list[tuple[float, End]]:
    """Return weight and end after each look, at the rule's own interval as the tick."""
    course = rule.begin(1)
    bad, total = [], []
    seen = []
    for broken in failing:
        total.append(np.array([[[0.0 if idle else 100.0, 100.0]]]))
        bad.append(np.array([[[0.0 if idle else (50.0 if broken else 0.0), 0.0]]]))
        course = rule.look(course, History(np.array(bad), np.array(total), rule.interval_s))
        seen.append((float(course.weight[0]), End(int(course.end[0]))))
    return seen


def test_flagger_counts_failures_for_ever_and_rolls_back_at_the_look_after_its_threshold() -> None:
    seen = _looks(flagger.Flagger(threshold=2), [True, False, True, False])
    assert [weight for weight, _ in seen] == pytest.approx([0.1, 0.2, 0.2, 0.0])
    assert seen[-1][1] is End.ROLLED_BACK
    good = _looks(flagger.Flagger(), [False] * 6)
    assert good[4] == (1.0, End.PROMOTED)
    assert _looks(flagger.Flagger(threshold=1), [False] * 2, idle=True)[-1][1] is End.ROLLED_BACK


def test_argo_needs_one_failure_more_than_its_limit() -> None:
    assert _looks(argo.Argo(failure_limit=3), [True] * 3)[-1][1] is End.RUNNING
    assert _looks(argo.Argo(failure_limit=3), [True] * 4)[-1] == (0.0, End.ROLLED_BACK)
    good = _looks(argo.Argo(), [False] * 40)
    assert good[9][0] == 0.4
    assert good[-1][1] is End.PROMOTED


def test_the_workbook_fires_on_a_fast_burn_and_not_on_a_slow_one() -> None:
    assert _looks(sre.Workbook(), [True])[-1][1] is End.ROLLED_BACK
    assert _looks(sre.Workbook(), [False] * 30)[-1][1] is End.PROMOTED


def test_growthbook_rolls_back_what_is_significantly_worse_and_ships_the_rest() -> None:
    rule = growthbook.GrowthBook()
    assert _looks(rule, [True])[-1][1] is End.ROLLED_BACK
    assert _looks(rule, [False] * 5)[-1][1] is End.PROMOTED
    bad, total = np.array([[[30.0, 10.0]]]), np.array([[[1000.0, 1000.0]]])
    lower = float(rule.lower_bound(bad, total)[0, 0])
    assert lower < 0.02
    assert float(rule.lower_bound(bad * 100, total * 100)[0, 0]) == pytest.approx(0.02, abs=0.005)


def test_kayenta_judges_shifts_of_points_and_not_equal_ones() -> None:
    judge = kayenta.Kayenta()
    rng = np.random.default_rng(1)
    baseline: Array = rng.normal(0.10, 0.01, 60)
    assert judge.judge(baseline + 0.05, baseline) == "high"
    assert judge.judge(rng.normal(0.10, 0.01, 60), baseline) == "pass"
    assert judge.judge(baseline, baseline[::-1]) == "pass"
    assert judge.judge(np.full(5, np.nan), baseline) == "nodata"
    x, y = np.array([3.0, 4.0, 5.0, 6.0]), np.array([1.0, 2.0, 3.0, 4.0])
    pairwise = np.median(np.subtract.outer(x, y))
    assert kayenta.mann_whitney_bound(x, y, 0.0) == pytest.approx(pairwise, abs=1.01)
    assert _looks(judge, [True] * 3)[0][1] is End.ROLLED_BACK


@pytest.mark.parametrize(
    "rule",
    [
        flagger.code_defaults(),
        argo.code_defaults(),
        kayenta.code_default(),
        sre.with_tickets(),
        growthbook.documented_default(),
    ],
    ids=lambda rule: rule.name,
)
def test_every_rule_runs_in_a_scenario(rule: Rule) -> None:
    scenario = Scenario("bad", 20, {"availability": Rates(0.002, 1.0)}, duration_s=8 * 3600.0, tick_s=60.0)
    results = try_rule(rule, scenario, 3, np.random.default_rng(0))
    assert results.share(End.ROLLED_BACK) == 1.0
    assert (results.bad == results.requests).all()


def test_the_history_is_clipped_and_cut_into_points() -> None:
    counts = np.arange(10.0).reshape(10, 1, 1, 1) * np.ones(2)
    history = History(counts, counts, 10.0)
    assert history.window(1e9)[0].sum() == 90.0
    points, _ = history.points(30.0, 90.0)
    assert points[:, 0, 0, 0].tolist() == [1 + 2 + 3.0, 4 + 5 + 6.0, 7 + 8 + 9.0]
    assert history.points(1000.0, 2000.0)[0].shape[0] == 0
    assert Course.begin(2, 0.1).ended(End.ROLLED_BACK, np.array([True, False])).weight.tolist() == [0.0, 0.1]


def _recording() -> list[Observation]:
    scenario = Scenario("bad", 20, {"availability": Rates(0.002, 0.02)})
    return simulate(make_policy(), scenario, 2, np.random.default_rng(1), record=(1,)).traces[1]


def test_a_recording_is_decided_again_by_the_same_and_by_another_policy() -> None:
    ledger = _recording()
    told = tell(replay(make_policy(), ledger))
    assert told[-1].phase == Phase.ROLLING_BACK.value
    assert told[-1].at_s == ledger[-1].at_s
    lenient = tell(replay(make_policy(alpha=1e-9), ledger))
    assert lenient[-1].phase == Phase.PROGRESSING.value
    with pytest.raises(InvalidInput, match="ledger"):
        replay(make_policy(), [])


def test_a_recording_is_judged_by_a_peer() -> None:
    ledger = _recording()
    told = replay_rule(flagger.Flagger(threshold=1), ledger, ["availability"], tick_s=10.0)
    assert told[0].weight == pytest.approx(0.1)
    assert len(told) >= 2
    with pytest.raises(InvalidInput, match="ledger"):
        replay_rule(flagger.Flagger(), [], ["availability"], tick_s=10.0)


def test_a_plan_tells_times_and_what_it_can_not_see() -> None:
    fast = plan(make_policy(), 50.0, rng=np.random.default_rng(0), runs=20)
    assert fast.promote_s <= fast.promote_90_s < 600
    assert {one.fault for one in fast.catches} == {
        f"availability at burn {burn}" for burn in ("1.5", "2", "5", "20", "200")
    }
    assert all(one.caught == 1.0 for one in fast.catches if one.level > 0.02)
    slow = plan(make_policy(max_duration="10m"), 0.2, rng=np.random.default_rng(0), runs=20)
    assert slow.promote_s == float("inf")
    assert any("fewer than 90 %" in warning for warning in slow.warnings)
    assert any("burn 2 is caught in" in warning for warning in slow.warnings)
    relative = plan(make_policy(relative={"unacceptable": 3}), 50.0, rng=np.random.default_rng(0), runs=5)
    assert 20 < relative.proof_bad < 100
    with pytest.raises(InvalidInput, match="request_rate"):
        plan(make_policy(), 0.0, rng=np.random.default_rng(0))


def test_the_information_limit_is_walds() -> None:
    assert divergence(0.5, 0.5) == 0.0
    assert information_limit(1.0, 0.005, 0.01) == 1.0
    assert information_limit(0.01, 0.005, 0.01) == pytest.approx(np.log(100) / divergence(0.01, 0.005))
