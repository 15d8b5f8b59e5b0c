"""Sections on serving: what served, objectives and budgets, latency and cost."""

from collections.abc import Sequence

from evaluation.report.document import Cell, Chart, Evidence, Health, Line, Section, Table
from evaluation.report.facts import DAYS, Facts, Sums, bad_of, when
from evaluation.report.figures import Figure, as_array, count, difference, mean_score, missing, quantile, rate
from evaluation.report.source import DecisionRow, Objective, ServiceFacts

LOW_BUDGET = 0.25
QUANTILES = (0.5, 0.95, 0.99)
SHOWN_COSTS = 3
ENDINGS = ("promoted", "rolled-back", "aborted", "failed")


def served_section(facts: Facts, evidence: Evidence) -> Section:
    """Return which versions answered, their share of the attempts, and what moved it."""
    rows: list[Sequence[Cell]] = []
    charts = []
    for service in facts.services:
        name = service.service
        total = facts.now.of("attempts", service=name)
        for version in facts.now.versions(name):
            for lane in facts.now.lanes(name):
                attempts = facts.now.of("attempts", service=name, version=version, lane=lane)
                if not attempts:
                    continue
                cited = evidence.cite(
                    f"served {name} {version} {lane}",
                    f"telemetry: live attempts of {version} on lane {lane or '(none)'} of {name}",
                    [("attempts", f"{attempts:.0f}"), ("all attempts of the service", f"{total:.0f}")],
                )
                before = facts.before.of("attempts", service=name, version=version, lane=lane)
                last = rate(before, facts.before.of("attempts", service=name), evidence=cited)
                rows.append([name, lane or "–", version, rate(attempts, total, evidence=cited), last])
        if total:
            charts.append(_traffic_chart(facts, name))
    moves = [
        [when(row.at_s), row.rollout_id, str(row.decision.get("sentence", "")), f"decision {row.sequence}"]
        for row in _turns(facts)
    ]
    served = ", ".join(f"{s.service}: {', '.join(facts.now.versions(s.service)) or 'nothing'}" for s in facts.services)
    return Section(
        2,
        "served",
        "What served",
        f"Answers came from {served}." if rows else "Nothing was served, or nothing was counted.",
        tables=[
            Table("Share of the service's attempts", ("service", "lane", "version", "this week", "last week"), rows),
            Table(
                "Who or what moved traffic", ("when (UTC)", "rollout", "why", "ledger"), moves, "no rollout moved it"
            ),
        ],
        charts=charts,
    )


def _turns(facts: Facts) -> list[DecisionRow]:
    """Return the decisions at which a rollout's phase changed to one that moves traffic."""
    turns, phase = list[DecisionRow](), dict[str, str]()
    for row in facts.records.decisions:
        now = str(row.decision.get("phase"))
        if phase.get(row.rollout_id) != now:
            phase[row.rollout_id] = now
            if now in {"progressing", "promoting", "rolling-back", "aborting", *ENDINGS}:
                turns.append(row)
    return turns


def _traffic_chart(facts: Facts, service: str) -> Chart:
    lines = []
    for version in facts.now.versions(service):
        points = []
        for day in range(7):
            total = facts.now.of("attempts", service=service, day=day)
            part = facts.now.of("attempts", service=service, version=version, day=day)
            points.append(_point(day, rate(part, total)))
        lines.append(Line(version, points))
    return Chart(f"{service}: share of attempts by day", "share", lines, DAYS)


def _point(day: int, figure: Figure) -> tuple[float, float, float, float, int] | None:
    if figure.value is None or figure.low is None or figure.high is None:
        return None
    return float(day), figure.low, figure.value, figure.high, figure.n


def objectives_section(facts: Facts, evidence: Evidence) -> tuple[Section, dict[tuple[str, str], Health]]:
    """Return objectives with what is left of their budgets, and how each stands."""
    rows: list[Sequence[Cell]] = []
    charts, health = [], {}
    for service in facts.services:
        for objective in service.objectives:
            row, state = _objective_row(facts, service, objective, evidence)
            rows.append(row)
            health[service.service, objective.name] = state
            if objective.kind != "score" and facts.now.of("requests", service=service.service):
                charts.append(_objective_chart(facts, service.service, objective))
    sentence = _objectives_sentence(health)
    columns = ("service", "objective", "target", "this week", "last week", "change", "budget left", "window", "state")
    table = Table("Objectives and error budgets", columns, rows, "no service has recorded objectives")
    return Section(3, "objectives", "SLOs and error budgets", sentence, [table], charts), health


def _objectives_sentence(health: dict[tuple[str, str], Health]) -> str:
    """Return what is missed, what is close, and that the rest is met."""
    named = {
        state: [f"{name} of {service}" for (service, name), found in health.items() if found is state]
        for state in Health
    }
    parts = [f"missed or out of budget: {', '.join(named[Health.ACT])}"] if named[Health.ACT] else []
    parts += [f"to be watched: {', '.join(named[Health.WATCH])}"] if named[Health.WATCH] else []
    met = len(named[Health.HEALTHY])
    parts += [f"met: {met} of {len(health)}"] if met else []
    return f"Objectives {'; '.join(parts)}." if parts else "No objective has data this week."


def _objective_row(
    facts: Facts, service: ServiceFacts, objective: Objective, evidence: Evidence
) -> tuple[Sequence[Cell], Health]:
    now, before = (_attained(facts, service.service, objective, evidence, last=last) for last in (False, True))
    left = _budget_left(facts, service.service, objective, evidence)
    state = _health(objective, now, left)
    days = f"{objective.window_s / 86400:.3g} d"
    target = f"{100 * objective.objective:.4g} %" if objective.kind != "score" else f"mean {objective.objective:.3g}"
    change = difference(now, before, evidence=now.evidence)
    return (service.service, objective.name, target, now, before, change, left, days, state.value), state


def _attained(facts: Facts, service: str, objective: Objective, evidence: Evidence, *, last: bool) -> Figure:
    week = facts.week.before if last else facts.week
    key = f"objective {service} {objective.name} {week}"
    if objective.kind == "score":
        scores = facts.last_week_scores if last else facts.scores
        found = [r for r in scores if r.service == service and r.metric == objective.scorer and not r.mirrored]
        values = as_array([row.value for row in found])
        cited = evidence.cite(
            key,
            f"scores of {objective.scorer} on live outputs of {service}, {week}",
            [("scored", str(values.size)), ("no score", str(len(found) - values.size))],
        )
        return mean_score(values, evidence=cited)
    sums = facts.before if last else facts.now
    bad, total = bad_of(sums, service, objective)
    what = "attempts later than the threshold" if objective.kind == "latency" else "logical requests without an answer"
    cited = evidence.cite(
        key, f"telemetry of {service}, {week}: {what}", [("bad", f"{bad:.0f}"), ("all", f"{total:.0f}")]
    )
    return rate(total - bad, total, evidence=cited)


def _budget_left(facts: Facts, service: str, objective: Objective, evidence: Evidence) -> Figure:
    """Return the share of the error budget that is left over the objective's window, ended with the week."""
    if objective.kind == "score":
        return missing("a mean score has no error budget", unit="share")
    sums = facts.budgets.get(objective.window_s)
    bad, total = bad_of(sums, service, objective) if sums is not None else (0.0, 0.0)
    allowed = (1 - objective.objective) * total
    cited = evidence.cite(
        f"budget {service} {objective.name} {facts.week}",
        f"telemetry of {service} over {objective.window_s / 86400:.3g} days to the week's end",
        [("bad", f"{bad:.0f}"), ("all", f"{total:.0f}"), ("allowed", f"{allowed:.1f}")],
    )
    if not allowed:
        return missing("nothing was counted in the window", unit="share", evidence=cited)
    spent = rate(bad, total, evidence=cited)
    low, high = (1 - (edge or 0.0) / (1 - objective.objective) for edge in (spent.high, spent.low))
    return Figure(1 - bad / allowed, int(total), low, high, "share", cited)


def _health(objective: Objective, now: Figure, left: Figure) -> Health:
    if now.value is None:
        return Health.UNKNOWN
    if objective.kind == "score":
        if now.high is not None and now.high < objective.objective:
            return Health.ACT
        return Health.WATCH if now.value < objective.objective else Health.HEALTHY
    if left.value is not None and left.value <= 0:
        return Health.ACT
    low_budget = left.value is not None and left.value < LOW_BUDGET
    return Health.WATCH if low_budget or now.value < objective.objective else Health.HEALTHY


def _objective_chart(facts: Facts, service: str, objective: Objective) -> Chart:
    points = []
    for day in range(7):
        bad, total = bad_of(facts.now, service, objective, day=day)
        points.append(_point(day, rate(total - bad, total)))
    return Chart(f"{service}: {objective.name} by day", "share", [Line("", points)], DAYS, objective.objective)


def cost_section(facts: Facts, evidence: Evidence, usd_per_hour: float | None) -> Section:
    """Return latency quantiles by lane and version, and what a thousand good answers of each lane cost."""
    timing: list[Sequence[Cell]] = []
    for service in facts.services:
        for lane in facts.now.lanes(service.service):
            for version in facts.now.versions(service.service):
                row = _latency_row(facts, service.service, lane, version, evidence)
                timing += [row] if row else []
    costs = [
        row
        for service in facts.services
        for lane in facts.now.lanes(service.service)
        if (row := _cost_row(facts, service.service, lane, evidence, usd_per_hour))
    ]
    columns = ("service", "lane", "good answers", "replica-seconds per 1 000", "cost per 1 000", "last week")
    return Section(
        10,
        "cost",
        "Latency, capacity and cost",
        _cost_sentence(costs, usd_per_hour),
        [
            Table("Latency of good answers", ("service", "lane", "version", "p50", "p95", "p99", "failed", "oom",
                  "first on a replica"), timing, "no answer was timed"),
            Table("Cost per 1 000 good answers", columns, costs, "nothing was counted"),
        ],
    )  # fmt: skip


def _cost_sentence(costs: Sequence[Sequence[Cell]], usd_per_hour: float | None) -> str:
    """Return what a thousand good answers of the dearest lanes cost, and by which measure."""
    if not costs:
        return "Nothing was counted that has a cost."
    cell = 3 if usd_per_hour is None else 4
    told = [(row[cell], f"{row[0]}, {row[1]}") for row in costs if isinstance(row[cell], Figure)]
    dearest = sorted(told, key=lambda one: -(one[0].value or 0.0))[:SHOWN_COSTS]  # type: ignore[union-attr]
    lanes = "; ".join(f"{figure.text} on {lane}" for figure, lane in dearest)  # type: ignore[union-attr]
    priced = "" if usd_per_hour is None else f", at $ {usd_per_hour:g} per replica-hour"
    return (
        f"A thousand good answers cost {lanes}{priced}: the time in which replicas answered, shared between lanes by "
        f"the time their answers took."
    )


def _latency_row(facts: Facts, service: str, lane: str, version: str, evidence: Evidence) -> Sequence[Cell] | None:
    where = {"service": service, "lane": lane, "version": version}
    attempts = facts.now.of("attempts", **where)  # type: ignore[arg-type]
    if not attempts:
        return None
    sketch = {int(bucket): int(n) for bucket, n in facts.now.split("latency/", **where).items()}
    bad, oom, cold = (facts.now.of(m, **where) for m in ("attempts-bad", "bad/oom", "cold"))  # type: ignore[arg-type]
    cited = evidence.cite(
        f"latency {service} {lane} {version}",
        f"telemetry: live attempts of {version} on lane {lane or '(none)'} of {service}, latency buckets of 2 %",
        [("attempts", f"{attempts:.0f}"), ("timed", str(sum(sketch.values()))), ("failed", f"{bad:.0f}")],
    )
    quantiles = [quantile(sketch, share, evidence=cited) for share in QUANTILES]
    shares = [rate(part, attempts, evidence=cited) for part in (bad, oom, cold)]
    return (service, lane or "–", version, *quantiles, *shares)


def _cost_row(
    facts: Facts, service: str, lane: str, evidence: Evidence, usd_per_hour: float | None
) -> Sequence[Cell] | None:
    good, seconds = _lane_cost(facts.now, service, lane)
    if not good:
        return None
    was_good, was_seconds = _lane_cost(facts.before, service, lane)
    cited = evidence.cite(
        f"cost {service} {lane}",
        f"telemetry of {service}: seconds of the ticks in which a replica answered, share of lane {lane or '(none)'}",
        [("replica-seconds", f"{seconds:.0f}"), ("good answers", f"{good:.0f}")],
    )
    time = Figure(1000 * seconds / good, int(good), unit="seconds", evidence=cited)
    if usd_per_hour is None:
        price = last = missing("no price was given (--usd-per-hour)", unit="usd", evidence=cited)
    else:
        price = Figure(1000 * seconds / good / 3600 * usd_per_hour, int(good), unit="usd", evidence=cited)
        value = 1000 * was_seconds / was_good / 3600 * usd_per_hour if was_good else None
        last = Figure(value, int(was_good), unit="usd", evidence=cited)
    return (service, lane or "–", count(good, evidence=cited), time, price, last)


def _lane_cost(sums: Sums, service: str, lane: str) -> tuple[float, float]:
    """Return a lane's good answers and its part of the replica-seconds, by the time its answers took."""
    good = sums.of("attempts", service=service, lane=lane) - sums.of("attempts-bad", service=service, lane=lane)
    mine = sums.of("latency-sum-s", service=service, lane=lane)
    every = sums.of("latency-sum-s", service=service)
    return good, sums.of("replica/", service=service, lane="") * (mine / every if every else 0.0)
