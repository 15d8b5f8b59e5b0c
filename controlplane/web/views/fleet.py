"""The fleet: what serves now, what needs a person, which rollouts are under way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from contracts.wire.routing import RoutingTable, ServiceRoutes
from controlplane.web.sources.shelf import Snapshot
from controlplane.web.views.replicas import ReplicaView
from controlplane.web.views.rollout import RolloutView, view_rollout
from controlplane.web.views.slos import SloList
from controlplane.web.views.story import Chronicle
from controlplane.web.views.traffic import ServiceTraffic

URGENCY = ("failed", "rolling-back", "paused", "aborting", "progressing", "mirroring", "promoting", "baking")
RECENT = 5


@dataclass(frozen=True)
class Arm:
    """One version of a service: its role, the share of live traffic asked for it, and its replicas."""

    version: str
    role: str
    share: float
    replicas: tuple[ReplicaView, ...]
    description: str = ""


@dataclass(frozen=True)
class ServiceView:
    """One service as the gateway routes it: lanes, versions, what was served, and the rollout that splits it."""

    service: str
    lanes: tuple[str, ...]
    sticky: str
    arms: tuple[Arm, ...]
    rollout_id: str
    traffic: ServiceTraffic | None


@dataclass(frozen=True)
class FleetView:
    """The services, workers that no service routes to, rollouts under way (worst first) and those that ended last."""

    services: tuple[ServiceView, ...]
    beside: tuple[ReplicaView, ...]
    revision: int | None
    active: tuple[RolloutView, ...]
    ended: tuple[RolloutView, ...]


def view_fleet(
    chronicle: Chronicle,
    table: RoutingTable | None,
    shelf: Snapshot | None,
    replicas: Sequence[ReplicaView],
    traffic: dict[str, ServiceTraffic],
) -> FleetView:
    """Return what is known of the fleet."""
    active = [view_rollout(story) for story in chronicle.newest() if not story.is_over]
    ended = [view_rollout(story) for story in chronicle.newest() if story.is_over][:RECENT]
    active.sort(key=lambda view: URGENCY.index(view.phase) if view.phase in URGENCY else len(URGENCY))
    told = {str(r.id): r.description for records in (shelf.versions if shelf else {}).values() for r in records}
    services = []
    for name, routes in sorted(table.services.items()) if table else ():
        mine = [replica for replica in replicas if replica.service == name]
        services.append(_view_service(routes, told, mine, traffic.get(name)))
    beside = tuple(replica for replica in replicas if not replica.service)
    return FleetView(tuple(services), beside, table.revision if table else None, tuple(active), tuple(ended))


def _view_service(
    routes: ServiceRoutes, told: dict[str, str], replicas: Sequence[ReplicaView], traffic: ServiceTraffic | None
) -> ServiceView:
    split = routes.split
    weight = split.weight if split else 0.0
    versions = [(str(routes.champion), "champion", 1 - weight)]
    if split is not None:
        versions.append((str(split.challenger), "challenger", weight))
    known = {version for version, _, _ in versions}
    versions += [(version, "standing by", 0.0) for version in routes.endpoints if version not in known]
    arms = tuple(
        Arm(version, role, share, tuple(r for r in replicas if r.version == version), told.get(version, ""))
        for version, role, share in versions
    )
    rollout_id = split.rollout_id if split else ""
    return ServiceView(routes.service, tuple(routes.lanes), routes.sticky.value, arms, rollout_id, traffic)


def choose(fleet: FleetView, by: str, owners: Mapping[str, str], starters: Mapping[str, str]) -> FleetView:
    """Return what is somebody's: services whose spec they applied last, and rollouts that they started."""
    return replace(
        fleet,
        services=tuple(one for one in fleet.services if owners.get(one.service) == by),
        beside=(),
        active=tuple(one for one in fleet.active if starters.get(one.rollout_id) == by),
        ended=tuple(one for one in fleet.ended if starters.get(one.rollout_id) == by),
    )


def summarise(fleet: FleetView, needing: int, objectives: SloList | None) -> str:
    """Return the page's sentence: rollouts, what needs a person, and how the objectives stand."""
    if not fleet.services and not fleet.active and not fleet.ended:
        return "Nothing has run here yet."
    waiting = sum(view.outlook == "waiting" for view in fleet.active)
    moving = len(fleet.active) - waiting
    parts = [f"{moving} rollout{'s' if moving != 1 else ''} under way" if moving else "No rollout is under way"]
    if waiting:
        parts.append(f"{waiting} wait{'s' if waiting == 1 else ''} for a person")
    parts.append(tell_objectives(objectives))
    parts.append(f"{needing} thing{'s' if needing != 1 else ''} to look at" if needing else "nothing to look at")
    return ", ".join(part for part in parts if part) + "."


def tell_objectives(objectives: SloList | None) -> str:
    """Return in a few words how the objectives stand; nothing where none is known."""
    if objectives is None or not objectives.rows:
        return ""
    silent = sum(row.is_met is None for row in objectives.rows)
    outside = sum(row.is_missed for row in objectives.rows)
    if outside:
        return f"{outside} of {len(objectives.rows)} SLOs missed"
    if silent:
        return f"{len(objectives.rows) - silent} of {len(objectives.rows)} SLOs in budget, {silent} without data"
    return "all SLOs in budget"
