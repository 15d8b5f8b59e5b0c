"""The control plane's metrics: every verdict is told, bounded, and what has no data has no sample."""

import math
from collections.abc import Mapping

import pytest
from prometheus_client.parser import text_string_to_metric_families

from contracts.clock import FakeClock
from contracts.specs.loading import load_service_spec
from controlplane.metrics.control import MOST_DETAILED, ControlMetrics
from controlplane.metrics.snapshot import ControlSnapshot, RolloutSnapshot, SloSnapshot
from controlplane.store.outbox import Backlog
from rollout.burn import Sample, budget_left, judge_burn
from rollout.evidence.counts import Tally
from rollout.phases import Phase
from rollout.policy import Policy, compile_policy
from rollout.verdicts import Outcome, Verdict

SPEC = "{service: tags, model: m, slos: {availability: {objective: 98%}, text: {scorer: s, objective: 95%}}}"


def policy() -> Policy:
    spec = load_service_spec(SPEC)
    return compile_policy(spec.rollout, spec.objectives())


def verdict(gate: int = 0, outcome: Outcome = Outcome.INCONCLUSIVE, **more: float) -> Verdict:
    numbers = {"value": 0.03, "n": 200, "evidence": math.e**2, "safe_evidence": 0.5, **more}
    return Verdict(asked=policy().gates[gate], outcome=outcome, subject="m@2", **numbers)  # type: ignore[arg-type]


def rollout(service: str = "tags", rollout_id: str = "tags-2-a", **more: object) -> RolloutSnapshot:
    values: dict[str, object] = {
        "champion": "m@1",
        "challenger": "m@2",
        "phase": Phase.PROGRESSING,
        "reason": "ramp.raised",
        "decided_s": 0.0,
        "weight": 0.1,
        "mirror_share": 0.0,
        "weight_applied": 0.05,
        "verdicts": (verdict(),),
    }
    return RolloutSnapshot(rollout_id=rollout_id, service=service, **(values | more))  # type: ignore[arg-type]


def shown(snapshot: ControlSnapshot, clock: FakeClock | None = None) -> dict[tuple[str, frozenset[str]], float]:
    """Return each sample by its name and label values."""
    text = ControlMetrics(clock or FakeClock(), lambda: snapshot).render().decode()
    return {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_rollout_is_told_with_every_verdict() -> None:
    clock = FakeClock()
    found = shown(ControlSnapshot(leads=True, rollouts=(rollout(decided_s=clock.now_s() - 7),)), clock)
    tags = frozenset({"tags"})
    assert found["roost_leader", frozenset()] == 1
    assert found["roost_rollout_weight", tags] == pytest.approx(0.1)
    assert found["roost_rollout_weight_applied", tags] == pytest.approx(0.05)
    assert found["roost_rollout_decision_age_seconds", tags] == 7
    assert found["roost_rollout_phase", frozenset({"tags", "progressing"})] == 1
    assert sum(value for (name, _), value in found.items() if name == "roost_rollout_phase") == 1
    assert found["roost_rollout_info", frozenset({"tags", "tags-2-a", "m@1", "m@2", "ramp.raised"})] == 1
    gate = frozenset({"tags", "availability", "gate"})
    assert found["roost_gate_log_evidence", gate] == pytest.approx(2)
    assert found["roost_gate_log_evidence_needed", gate] == pytest.approx(math.log(1 / policy().gates[0].alpha))
    assert found["roost_gate_value", gate] == pytest.approx(0.03)
    assert found["roost_gate_limit", gate] == pytest.approx(0.02)
    assert found["roost_gate_observations", gate] == 200
    assert found["roost_gate_outcome", frozenset({"tags", "availability", "inconclusive"})] == 1
    assert found["roost_gate_outcome", frozenset({"tags", "availability", "harm"})] == 0


def test_what_has_no_data_has_no_sample_and_hopeless_evidence_is_minus_infinity() -> None:
    silent = verdict(outcome=Outcome.NO_DATA, value=math.nan, evidence=0.0, safe_evidence=math.nan)
    found = shown(ControlSnapshot(rollouts=(rollout(weight_applied=None, verdicts=(silent,)),)))
    names = {name for name, _ in found}
    assert not names & {"roost_gate_value", "roost_gate_log_safe_evidence", "roost_rollout_weight_applied"}
    assert found["roost_gate_log_evidence", frozenset({"tags", "availability", "gate"})] == -math.inf
    assert found["roost_gate_outcome", frozenset({"tags", "availability", "no-data"})] == 1


def test_objectives_tell_budget_and_burn_per_window() -> None:
    now_s, objective = 7 * 86400.0, 0.98
    samples = [Sample(at_s, 60.0, Tally(6, 100)) for at_s in range(60, int(now_s) + 1, 60)]
    budget = budget_left(samples, now_s=now_s, objective=objective, window_s=28 * 86400.0)
    findings = judge_burn(samples, now_s=now_s, objective=objective, born_s=0.0)
    slos = (
        SloSnapshot("tags", "availability", 0.94, budget, findings),
        SloSnapshot("tags", "text", 0.97),
        SloSnapshot("new", "availability", None),
    )
    found = shown(ControlSnapshot(slos=slos))
    assert found["roost_slo_indicator", frozenset({"tags", "text"})] == pytest.approx(0.97)
    # A quarter of the window at three times the budget leaves a quarter of it.
    assert found["roost_slo_budget_left_ratio", frozenset({"tags", "availability"})] == pytest.approx(0.25, abs=0.01)
    for window in ("5m", "30m", "1h", "6h", "3d"):
        assert found["roost_slo_burn_rate", frozenset({"tags", "availability", window})] == pytest.approx(3)
    assert found["roost_slo_burn_alert", frozenset({"tags", "availability", "ticket", "3d"})] == 1
    assert found["roost_slo_burn_alert", frozenset({"tags", "availability", "page", "1h"})] == 0
    assert not any("new" in labels for _, labels in found)


def test_jobs_outbox_and_ticks() -> None:
    snapshot = ControlSnapshot(
        rollouts_by_phase={"promoted": 3},
        jobs_by_state={"running": 2},
        outbox=Backlog(waiting=4, given_up=1, oldest_s=12.5),
        frozen=1,
        killed=2,
    )
    found = shown(snapshot)
    assert found["roost_rollouts", frozenset({"promoted"})] == 3
    assert found["roost_rollouts", frozenset({"rolled-back"})] == 0
    assert found["roost_jobs", frozenset({"running"})] == 2
    assert found["roost_outbox_messages", frozenset({"waiting"})] == 4
    assert found["roost_outbox_messages", frozenset({"given-up"})] == 1
    assert found["roost_outbox_oldest_seconds", frozenset()] == 12.5
    assert (found["roost_freezes", frozenset()], found["roost_kills", frozenset()]) == (1, 2)
    metrics = ControlMetrics(FakeClock(), ControlSnapshot)
    metrics.observe_tick(0.02)
    assert b"roost_tick_duration_seconds_count 1.0" in metrics.render()


def test_series_stay_bounded_and_what_is_left_out_is_told() -> None:
    rollouts = tuple(rollout(service=f"s{number}") for number in range(MOST_DETAILED + 30))
    found = shown(ControlSnapshot(rollouts=rollouts))
    assert sum(name == "roost_rollout_weight" for name, _ in found) == MOST_DETAILED
    assert found["roost_rollouts_without_detail", frozenset()] == 30


def test_the_next_rollout_of_a_service_makes_no_new_series_but_its_name() -> None:
    def series(rollout_id: str) -> Mapping[tuple[str, frozenset[str]], float]:
        return shown(ControlSnapshot(rollouts=(rollout(rollout_id=rollout_id),)))

    new = series("tags-3-b").keys() - series("tags-2-a").keys()
    assert {name for name, _ in new} == {"roost_rollout_info"}
