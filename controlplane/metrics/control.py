"""Prometheus: every verdict, weight, phase and budget, made from one snapshot when it is asked for.

Living rollouts are told by their service, which has one at a time: series don't grow with every rollout. Only
``roost_rollout_info`` names rollout and versions. What has no data has no sample.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from contracts.clock import Clock
from contracts.units import format_duration
from controlplane.jobs.job import JobState
from controlplane.metrics.snapshot import ControlSnapshot, RolloutSnapshot, SloSnapshot
from controlplane.store.outbox import Backlog
from rollout.phases import Phase
from rollout.verdicts import Outcome, Verdict

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
TICK_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
MOST_DETAILED = 500
"""Rollouts whose gates are told one by one; ``roost_rollouts_without_detail`` counts those beyond."""


class ControlMetrics(Collector):
    """The control plane's own registry: nothing of other libraries is in it."""

    def __init__(self, clock: Clock, snapshot: Callable[[], ControlSnapshot]) -> None:
        self._clock, self._snapshot = clock, snapshot
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._ticks = Histogram(
            "roost_tick_duration_seconds",
            "One pass over all services and rollouts.",
            buckets=TICK_BOUNDS_S,
            registry=self._registry,
        )

    def observe_tick(self, duration_s: float) -> None:
        """Count one pass of the control loop."""
        self._ticks.observe(duration_s)

    def render(self) -> bytes:
        """Return all metrics as text."""
        return generate_latest(self._registry)

    def describe(self) -> Iterator[Metric]:
        """Yield nothing: registering must not ask for a snapshot."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Yield every family; called by ``render``."""
        snapshot = self._snapshot()
        yield _gauge("roost_leader", "1 when this process leads.", [], [((), float(snapshot.leads))])
        detailed = sorted(snapshot.rollouts, key=lambda one: one.service)[:MOST_DETAILED]
        yield from _count_families(snapshot, len(snapshot.rollouts) - len(detailed))
        yield from _rollout_families(detailed, self._clock.now_s())
        yield from _gate_families(detailed)
        yield from _slo_families(snapshot.slos)
        yield from _outbox_families(snapshot.outbox)


def _count_families(snapshot: ControlSnapshot, left_out: int) -> Iterator[Metric]:
    phases = [((phase.value,), float(snapshot.rollouts_by_phase.get(phase.value, 0))) for phase in Phase]
    yield _gauge("roost_rollouts", "Rollouts that ever were, by phase.", ["phase"], phases)
    help_text = "Living rollouts beyond those whose gates are told one by one."
    yield _gauge("roost_rollouts_without_detail", help_text, [], [((), float(left_out))])
    jobs = [((state.value,), float(snapshot.jobs_by_state.get(state.value, 0))) for state in JobState]
    yield _gauge("roost_jobs", "Jobs by state.", ["state"], jobs)
    yield _gauge("roost_freezes", "Freezes in force.", [], [((), float(snapshot.frozen))])
    yield _gauge("roost_kills", "Versions stopped by the kill switch.", [], [((), float(snapshot.killed))])


def _rollout_families(rollouts: Sequence[RolloutSnapshot], now_s: float) -> Iterator[Metric]:
    info = InfoMetricFamily("roost_rollout", "The living rollout of a service.", labels=["service"])
    for one in rollouts:
        named = {"rollout": one.rollout_id, "champion": one.champion, "challenger": one.challenger}
        info.add_metric([one.service], {**named, "reason": one.reason})
    yield info
    phases = [((one.service, phase.value), float(one.phase is phase)) for one in rollouts for phase in Phase]
    yield _gauge("roost_rollout_phase", "1 for the phase the rollout is in.", ["service", "phase"], phases)
    columns: list[tuple[str, str, Callable[[RolloutSnapshot], float | None]]] = [
        ("roost_rollout_weight", "Share of traffic asked for.", lambda one: one.weight),
        ("roost_rollout_weight_applied", "Share of traffic that gateways follow.", lambda one: one.weight_applied),
        ("roost_rollout_mirror_share", "Share of traffic copied.", lambda one: one.mirror_share),
        (
            "roost_rollout_decision_age_seconds",
            "Time since the last decision.",
            lambda one: max(now_s - one.decided_s, 0.0),
        ),
    ]
    for name, help_text, read in columns:
        rows = [((one.service,), value) for one in rollouts if (value := read(one)) is not None]
        yield _gauge(name, help_text, ["service"], rows)


def _gate_families(rollouts: Sequence[RolloutSnapshot]) -> Iterator[Metric]:
    gates = [(one.service, verdict) for one in rollouts for verdict in one.verdicts]
    outcomes = [
        ((service, verdict.gate, outcome.value), float(verdict.outcome is outcome))
        for service, verdict in gates
        for outcome in Outcome
    ]
    yield _gauge("roost_gate_outcome", "1 for what the gate says.", ["service", "gate", "outcome"], outcomes)
    columns: list[tuple[str, str, Callable[[Verdict], float]]] = [
        ("roost_gate_value", "What the gate measures.", lambda v: v.value),
        ("roost_gate_limit", "What the gate tolerates, in the same measure.", lambda v: v.limit),
        ("roost_gate_observations", "Requests or scores of the challenger.", lambda v: float(v.n)),
        ("roost_gate_log_evidence", "Natural logarithm of the e-value of harm.", lambda v: _log(v.evidence)),
        ("roost_gate_log_evidence_needed", "Logarithm at which harm is proven.", lambda v: _log(v.needed)),
        ("roost_gate_log_safe_evidence", "Logarithm of the e-value of safety.", lambda v: _log(v.safe_evidence)),
        ("roost_gate_log_safe_evidence_needed", "Logarithm that proves safety.", lambda v: _log(v.safe_needed)),
    ]
    for name, help_text, read in columns:
        rows = [((service, v.gate, v.kind.value), read(v)) for service, v in gates]
        yield _gauge(name, help_text, ["service", "gate", "kind"], rows)


def _slo_families(slos: Sequence[SloSnapshot]) -> Iterator[Metric]:
    place = ["service", "objective"]
    rows = [((one.service, one.objective), one.sli) for one in slos if one.sli is not None]
    yield _gauge("roost_slo_indicator", "Share of good events, or mean score, over the window.", place, rows)
    budgets = [((one.service, one.objective), one.budget) for one in slos if one.budget is not None]
    left = [(labels, budget.left) for labels, budget in budgets]
    yield _gauge("roost_slo_budget_left_ratio", "Share of the error budget left; negative: overspent.", place, left)
    gone = [(labels, budget.gone_in_s) for labels, budget in budgets]
    yield _gauge("roost_slo_budget_gone_seconds", "When the budget is gone at the last hour's rate.", place, gone)
    # Short windows stand in several rules: each is told once.
    burns = {
        (one.service, one.objective, format_duration(window_s)): burn.rate
        for one in slos
        for finding in one.findings
        for window_s, burn in ((finding.rule.long_s, finding.long), (finding.rule.short_s, finding.short))
    }
    yield _gauge("roost_slo_burn_rate", "1 spends the budget in its window.", [*place, "window"], burns.items())
    fires = [
        (
            (one.service, one.objective, finding.rule.severity.value, format_duration(finding.rule.long_s)),
            float(finding.fires),
        )
        for one in slos
        for finding in one.findings
    ]
    yield _gauge("roost_slo_burn_alert", "1 while the rule fires.", [*place, "severity", "window"], fires)


def _outbox_families(backlog: Backlog) -> Iterator[Metric]:
    rows = [(("waiting",), float(backlog.waiting)), (("given-up",), float(backlog.given_up))]
    yield _gauge("roost_outbox_messages", "Messages that are not sent.", ["state"], rows)
    help_text = "How long the oldest message has waited."
    yield _gauge("roost_outbox_oldest_seconds", help_text, [], [((), backlog.oldest_s)])


def _gauge(
    name: str, help_text: str, labels: Sequence[str], rows: Iterable[tuple[Sequence[str], float]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help_text, labels=labels)
    for values, number in rows:
        if not math.isnan(number):
            family.add_metric(list(values), number)
    return family


def _log(e_value: float) -> float:
    return e_value if math.isnan(e_value) else math.log(e_value) if e_value > 0 else -math.inf
