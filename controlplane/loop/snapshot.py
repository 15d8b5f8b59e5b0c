"""What the loop knows now, as plain values for pages, metrics and commands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from contracts.records import record
from controlplane.loop.agenda import Agenda
from controlplane.loop.book import Page
from controlplane.loop.hands import Hands
from controlplane.loop.sorting import Sorter
from controlplane.loop.trial import Trial
from rollout.machine import Decision
from serving.fleet.port import FleetState


@record(frozen=True, slots=True)
class ServiceView:
    """One service after a tick.

    ``replicas`` are the champion's ready ones; ``busiest_rate`` is the most requests per second of late; ``decision``
    the living rollout's last, ``weight_applied`` the share that gateways follow (None: unknown). ``problem`` is what
    keeps the service from being as it should, "" for nothing.
    """

    service: str
    champion: str | None
    previous: str | None
    replicas: int
    request_rate: float
    newest_telemetry_s: float | None
    busiest_rate: float | None = None
    rollout_id: str | None = None
    generation: int = 0
    challenger: str | None = None
    decision: Decision | None = None
    weight_applied: float | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The loop after a tick.

    ``fence`` is the leader's number (0: not leading), ``at_s`` the time of the tick, ``tick_s`` how long it took;
    ``problem`` is why the last tick was not written, "" if it was.
    """

    leads: bool = False
    fence: int = 0
    at_s: float = 0.0
    tick_s: float = 0.0
    ticks: int = 0
    services: Mapping[str, ServiceView] = field(default_factory=dict)
    problem: str = ""


def make_views(
    agenda: Agenda,
    trials: Mapping[str, Trial],
    pages: Sequence[Page],
    *,
    hands: Hands,
    seen: FleetState,
    sorter: Sorter,
    problems: Mapping[str, str],
) -> dict[str, ServiceView]:
    """Return every service as a tick left it."""
    decisions = {page.trial.row.id: page.decision for page in pages}
    views = {}
    for name, service in agenda.services.items():
        trial, champion, flow = trials.get(name), service.champion, sorter.flow(name)
        views[name] = ServiceView(
            service=name,
            champion=service.production.champion,
            previous=service.production.previous,
            replicas=len(seen.endpoints(champion)) if champion is not None else 0,
            request_rate=flow.request_rate,
            newest_telemetry_s=flow.newest_s,
            busiest_rate=flow.busiest_rate,
            rollout_id=trial.row.id if trial is not None else None,
            generation=trial.row.generation if trial is not None else 0,
            challenger=trial.state.challenger if trial is not None else None,
            decision=decisions.get(trial.row.id) if trial is not None else None,
            weight_applied=hands.applied(trial)[0] if trial is not None else None,
            problem=problems.get(name, ""),
        )
    return views
