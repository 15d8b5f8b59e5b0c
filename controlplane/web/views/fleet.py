"""The fleet: what serves now, which rollouts are under way, and what needs attention, worst first."""

from dataclasses import dataclass

from contracts.wire.routing import RoutingTable, ServiceRoutes
from controlplane.web.sources.shelf import Snapshot
from controlplane.web.views.rollout import RolloutView, view_rollout
from controlplane.web.views.story import Chronicle

URGENCY = ("failed", "rolling-back", "paused", "aborting", "progressing", "mirroring", "promoting", "baking")
RECENT = 5


@dataclass(frozen=True)
class Arm:
    """One version of a service: its role, its share of live traffic, and its replicas."""

    version: str
    role: str
    share: float
    replicas: tuple[str, ...]
    description: str = ""


@dataclass(frozen=True)
class ServiceView:
    """One service as the gateway routes it: lanes, versions, and the rollout that splits its traffic."""

    service: str
    lanes: tuple[str, ...]
    sticky: str
    arms: tuple[Arm, ...]
    rollout_id: str


@dataclass(frozen=True)
class FleetView:
    """The sentence, the services, the rollouts under way (worst first) and those that ended last."""

    sentence: str
    services: tuple[ServiceView, ...]
    revision: int | None
    active: tuple[RolloutView, ...]
    ended: tuple[RolloutView, ...]


def view_fleet(chronicle: Chronicle, table: RoutingTable | None, shelf: Snapshot | None) -> FleetView:
    """Return what is known of the fleet."""
    active = [view_rollout(story) for story in chronicle.newest() if not story.is_over]
    ended = [view_rollout(story) for story in chronicle.newest() if story.is_over][:RECENT]
    active.sort(key=lambda view: URGENCY.index(view.phase) if view.phase in URGENCY else len(URGENCY))
    told = {str(r.id): r.description for records in (shelf.versions if shelf else {}).values() for r in records}
    services = tuple(_view_service(routes, told) for _, routes in sorted(table.services.items())) if table else ()
    sentence = _summarise(services, active, ended)
    return FleetView(sentence, services, table.revision if table else None, tuple(active), tuple(ended))


def _view_service(routes: ServiceRoutes, told: dict[str, str]) -> ServiceView:
    split = routes.split
    weight = split.weight if split else 0.0
    versions = [(str(routes.champion), "champion", 1 - weight)]
    if split is not None:
        versions.append((str(split.challenger), "challenger", weight))
    known = {version for version, _, _ in versions}
    versions += [(version, "standing by", 0.0) for version in routes.endpoints if version not in known]
    arms = tuple(
        Arm(version, role, share, tuple(e.replica for e in routes.endpoints.get(version, ())), told.get(version, ""))
        for version, role, share in versions
    )
    return ServiceView(
        routes.service, tuple(routes.lanes), routes.sticky.value, arms, split.rollout_id if split else ""
    )


def _summarise(services: tuple[ServiceView, ...], active: list[RolloutView], ended: list[RolloutView]) -> str:
    if not services and not active and not ended:
        return "Nothing has run here yet."
    waiting = sum(view.outlook in {"waiting", "bad"} for view in active)
    moving = len(active) - waiting
    parts = [f"{len(services)} service{'s' if len(services) != 1 else ''} routed"]
    parts.append(f"{moving} rollout{'s' if moving != 1 else ''} under way" if moving else "no rollout under way")
    if waiting:
        parts.append(f"{waiting} need{'s' if waiting == 1 else ''} a person's attention")
    return ", ".join(parts) + "."
