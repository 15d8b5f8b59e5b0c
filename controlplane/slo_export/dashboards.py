"""Three dashboards: is it good (executive), what is going on (on call), and why (debug)."""

from collections.abc import Sequence

from controlplane.slo_export.panels import Json, Panel, Query, make_dashboard
from controlplane.slo_export.rules import BUDGET_LEFT, WINDOWS_S, ratio_name
from rollout.burn import RULES

SERVICE = '{service=~"$service"}'
LIVE = '{service=~"$service",traffic!="mirror"}'
BAD_REQUESTS = 'roost_gateway_requests_total{service=~"$service",outcome!~"good|cancelled"}'
ALL_REQUESTS = 'roost_gateway_requests_total{service=~"$service",outcome!="cancelled"}'
REQUESTED = "roost_gateway_requests_total"
BY_OBJECTIVE = "{{service}} {{objective}}"
BUDGET_STEPS = [(0.0, "orange"), (0.25, "green")]


def make_dashboards() -> dict[str, Json]:
    """Return the dashboards by the names of their files, without the ending."""
    return {"roost-executive": _executive(), "roost-on-call": _on_call(), "roost-debug": _debug()}


def _executive() -> Json:
    left = [Query(f"min by (service, objective) ({BUDGET_LEFT}{SERVICE})", BY_OBJECTIVE)]
    asked = f"sum(increase({ALL_REQUESTS}[$__range]))"
    failed = f"(sum(increase({BAD_REQUESTS}[$__range])) or vector(0))"
    panels = [
        Panel(
            "Error budget left",
            left,
            unit="percentunit",
            kind="bargauge",
            steps=BUDGET_STEPS,
            base="red",
            about="Share of the bad events that the objective allows over its window; below zero it is overspent.",
        ),
        Panel("Requests answered", [Query(f"1 - {failed} / {asked}")], unit="percentunit", kind="stat", wide=6),
        Panel("Requests", [Query(asked)], kind="stat", wide=6),
        Panel(
            "Rollouts by how they ended",
            [Query('max by (phase) (roost_rollouts{phase=~"promoted|rolled-back|aborted|failed"})', "{{phase}}")],
            kind="bargauge",
        ),
        Panel(
            "Indicators",
            [Query(f"max by (service, objective) (roost_slo_indicator{SERVICE})", BY_OBJECTIVE)],
            unit="percentunit",
            kind="bargauge",
            about="What each objective is about: a share of good events, or a mean score.",
        ),
        Panel(
            "Error budget left over time",
            left,
            unit="percentunit",
            wide=24,
        ),
    ]
    return make_dashboard("Roost: executive", panels, services=REQUESTED, since="now-28d")


def _on_call() -> Json:
    burning = [f"{factor:g} is the limit over {window}" for window, factor in _limits()]
    panels = [
        Panel(
            "Burning error budgets",
            [Query('sum by (service, objective, severity, window) (ALERTS{alertname="RoostErrorBudgetBurn"})')],
            kind="table",
            wide=24,
            high=6,
        ),
        *(
            Panel(
                f"Bad events over {ratio_name(window_s).removeprefix('service_objective:roost_bad:ratio_rate')}",
                [Query(f"{ratio_name(window_s)}{SERVICE}", BY_OBJECTIVE)],
                unit="percentunit",
                wide=12,
                high=6,
                about="Share of bad events. " + "; ".join(burning) + " times 1 - objective.",
            )
            for window_s in WINDOWS_S[:4]
        ),
        *_rollouts_now(),
        *_control_plane(),
    ]
    return make_dashboard("Roost: on call", panels, services=REQUESTED)


def _rollouts_now() -> list[Panel]:
    """Return where rollouts stand, and how near they are to a proof."""
    return [
        Panel(
            "Rollouts",
            [
                Query(f"max by (service, phase) (roost_rollout_phase{SERVICE} == 1)"),
                Query(f"max by (service, rollout, challenger, reason) (roost_rollout_info{SERVICE})"),
            ],
            kind="table",
            wide=12,
            high=6,
        ),
        Panel(
            "Share of the challenger",
            [
                Query(f"max by (service) (roost_rollout_weight{SERVICE})", "{{service}} asked"),
                Query(f"max by (service) (roost_rollout_weight_applied{SERVICE})", "{{service}} applied"),
            ],
            unit="percentunit",
            wide=12,
            high=6,
        ),
        _proof("harm", "roost_gate_log_evidence", steps=[(1.0, "red")]),
        _proof("safety", "roost_gate_log_safe_evidence"),
    ]


def _proof(of_what: str, name: str, steps: Sequence[tuple[float, str]] = ()) -> Panel:
    share = f"max by (service, gate) ({name}{SERVICE} / {name}_needed{SERVICE})"
    return Panel(
        f"Evidence of {of_what}, as a share of what proves it",
        [Query(share, "{{service}} {{gate}}")],
        unit="percentunit",
        steps=steps,
        about=f"Logarithms of e-values: at 100 % {of_what} is proven.",
    )


def _control_plane() -> list[Panel]:
    """Return whether the control plane itself does its work."""
    return [
        Panel("Leaders", [Query("sum(roost_leader)")], kind="stat", wide=4, high=5),
        Panel(
            "Oldest decision",
            [Query(f"max(roost_rollout_decision_age_seconds{SERVICE})")],
            unit="s",
            kind="stat",
            wide=5,
            high=5,
            steps=[(10.0, "orange"), (60.0, "red")],
        ),
        Panel("Freezes", [Query("max(roost_freezes)")], kind="stat", wide=5, high=5, steps=[(1.0, "orange")]),
        Panel("Killed versions", [Query("max(roost_kills)")], kind="stat", wide=5, high=5, steps=[(1.0, "red")]),
        Panel(
            "Messages not sent",
            [Query("max by (state) (roost_outbox_messages)", "{{state}}")],
            kind="stat",
            wide=5,
            high=5,
            steps=[(1.0, "orange")],
        ),
    ]


def _limits() -> list[tuple[str, float]]:
    return [(ratio_name(rule.long_s).rpartition("rate")[2], rule.factor) for rule in RULES]


def _debug() -> Json:
    panels = [*_traffic(), *_inside()]
    return make_dashboard("Roost: debug", panels, services=REQUESTED, since="now-1h")


def _traffic() -> list[Panel]:
    """Return what versions did with what they were sent."""
    attempts, slow = f"roost_gateway_attempts_total{LIVE}", f"roost_gateway_slow_attempts_total{LIVE}"
    return [
        Panel(
            "Attempts by version and outcome",
            [Query(f"sum by (version, outcome) (rate({attempts}[$__rate_interval]))", "{{version}} {{outcome}}")],
            unit="reqps",
        ),
        Panel(
            "Latency that 95 % keep to",
            [Query(_quantile("roost_gateway_attempt_latency_seconds"), "{{version}}")],
            unit="s",
            about="From histogram buckets; objectives are counted exactly instead.",
        ),
        Panel(
            "Slow attempts by objective",
            [Query(f"sum by (version, objective) (rate({slow}[$__rate_interval]))", "{{version}} {{objective}}")],
            unit="reqps",
        ),
        Panel("Wait that 95 % keep to", [Query(_quantile("roost_gateway_queue_seconds"), "{{version}}")], unit="s"),
        Panel(
            "On replicas and in the queue",
            [
                Query(f"sum by (version) (roost_gateway_outstanding{SERVICE})", "{{version}} on replicas"),
                Query(f"sum by (version) (roost_gateway_waiting{SERVICE})", "{{version}} waiting"),
            ],
        ),
        Panel(
            "Fallbacks, cached answers, first attempts on a replica, refusals",
            [
                Query(_rate("roost_gateway_fallbacks_total"), "fallbacks"),
                Query(_rate("roost_gateway_cached_total"), "cached"),
                Query(_rate("roost_gateway_cold_attempts_total"), "cold"),
                Query("sum(rate(roost_gateway_refusals_total[$__rate_interval]))", "refused"),
            ],
            unit="reqps",
        ),
    ]


def _inside() -> list[Panel]:
    """Return what gates, gateways and the control loop are busy with."""
    ticks = "roost_tick_duration_seconds_bucket"
    return [
        Panel(
            "What gates measure, and their limits",
            [
                Query(f"max by (service, gate) (roost_gate_value{SERVICE})", "{{service}} {{gate}}"),
                Query(f"max by (service, gate) (roost_gate_limit{SERVICE})", "{{service}} {{gate}} limit"),
            ],
        ),
        Panel(
            "Observations of gates",
            [Query(f"max by (service, gate) (roost_gate_observations{SERVICE})", "{{service}} {{gate}}")],
        ),
        Panel(
            "Telemetry not fetched, and lost",
            [
                Query("max(roost_gateway_spooled_batches)", "batches kept"),
                Query("sum(rate(roost_gateway_dropped_batches_total[$__rate_interval]))", "batches lost"),
                Query("sum(rate(roost_gateway_dropped_samples_total[$__rate_interval]))", "samples lost"),
                Query("sum(rate(roost_gateway_dropped_copies_total[$__rate_interval]))", "copies not made"),
            ],
        ),
        Panel("Routing table", [Query("max by (instance) (roost_gateway_table_revision)", "{{instance}}")]),
        Panel(
            "Control loop: duration of a pass",
            [Query(f"histogram_quantile(0.95, sum by (le) (rate({ticks}[$__rate_interval])))", "95 %")],
            unit="s",
        ),
        Panel("Jobs", [Query("max by (state) (roost_jobs)", "{{state}}")]),
    ]


def _quantile(histogram: str) -> str:
    return f"histogram_quantile(0.95, sum by (le, version) (rate({histogram}_bucket{LIVE}[$__rate_interval])))"


def _rate(counter: str) -> str:
    return f"sum(rate({counter}{SERVICE}[$__rate_interval]))"
