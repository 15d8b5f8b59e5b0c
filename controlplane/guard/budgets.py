"""Error budgets as the history tells them: how much of each is left."""

from collections.abc import Mapping
from typing import Protocol

from sqlalchemy import Integer, cast, func, select

from contracts.clock import Clock
from contracts.specs.service import ServiceSpec
from contracts.specs.slo import LatencySlo, ScoreSlo, Slo
from controlplane.store.history import COUNTS, History
from controlplane.store.telemetry_database import reading
from rollout.burn import Sample, budget_left
from rollout.evidence.counts import Tally

HOUR_S = 3600
LOOK_EVERY_S = 60.0


class Budgets(Protocol):
    """Tells how much of a service's error budgets is left."""

    def left(self, spec: ServiceSpec) -> Mapping[str, float]:
        """Return, by objective with a budget and with requests, the share that is left; below 0 when overspent."""
        ...


class RecordedBudgets:
    """Budgets from the recorded counts, looked at once a minute."""

    def __init__(self, history: History, clock: Clock) -> None:
        self._history, self._clock = history, clock
        self._known: dict[str, tuple[float, dict[str, float]]] = {}

    def left(self, spec: ServiceSpec) -> Mapping[str, float]:
        """Return what is left of each budget over its objective's window."""
        now_s = self._clock.now_s()
        seen_s, known = self._known.get(spec.service, (-LOOK_EVERY_S, {}))
        if now_s - seen_s < LOOK_EVERY_S:
            return known
        lanes = spec.lane_objectives()
        found = {}
        for name, slo in spec.objectives().items():
            if isinstance(slo, ScoreSlo):
                continue
            samples = self._samples(spec.service, name, slo, lanes.get(name), now_s)
            if samples:
                found[name] = budget_left(samples, now_s=now_s, objective=slo.objective, window_s=slo.window).left
        self._known[spec.service] = now_s, found
        return found

    def _samples(self, service: str, name: str, slo: Slo, lane: str | None, now_s: float) -> list[Sample]:
        """Return counts by the hour: users' requests for availability, attempts for latency."""
        total, bad = ("attempts", f"slow/{name}") if isinstance(slo, LatencySlo) else ("requests", "requests-bad")
        hour = cast(func.floor(COUNTS.c.start_s / HOUR_S), Integer)
        mine = [COUNTS.c.service == service, COUNTS.c.measure.in_((total, bad)), COUNTS.c.mirrored.is_(False)]
        if lane is not None:
            mine.append(COUNTS.c.lane == lane)
        query = select(hour, COUNTS.c.measure, func.sum(COUNTS.c.amount)).where(
            *mine, COUNTS.c.start_s >= now_s - slo.window
        )
        hours: dict[int, dict[str, int]] = {}
        with reading(self._history.engine) as connection:
            for begin, measure, amount in connection.execute(query.group_by(hour, COUNTS.c.measure)):
                hours.setdefault(int(begin), {})[measure] = round(amount)
        tallies = [(begin, counts.get(bad, 0), counts.get(total, 0)) for begin, counts in sorted(hours.items())]
        return [
            Sample(min((begin + 1) * HOUR_S, now_s), HOUR_S, Tally(min(n_bad, n), n)) for begin, n_bad, n in tallies
        ]
