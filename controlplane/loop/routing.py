"""The routing desk: keeps what traffic should do, and tells the data plane when that changes."""

from collections.abc import Collection, Mapping

from contracts.errors import Unavailable
from contracts.ids import VersionId
from contracts.records import record
from contracts.specs.service import ServiceSpec
from contracts.specs.slo import LatencySlo, ScoreSlo
from contracts.wire.routing import Endpoint, RoutingTable, ServiceRoutes, Split
from controlplane.loop.ports import DataPlane
from serving.fleet.port import Fleet, FleetState

Endpoints = dict[VersionId, tuple[Endpoint, ...]]


@record(frozen=True)
class DesiredTraffic:
    """Where one service's traffic should go; nowhere, and counted as refused, when it is ``closed``."""

    spec: ServiceSpec
    champion: VersionId
    split: Split | None = None
    closed: bool = False


class RoutingDesk:
    """Turns desired traffic into numbered routing tables; a table is pushed again until it is acknowledged.

    A service whose versions nobody answers for keeps the routes that the gateways follow: a restart of the control
    plane, which doesn't know its workers yet, changes nothing for users.
    """

    def __init__(self, data_plane: DataPlane, fleet: Fleet, *, fence: int) -> None:
        self._data_plane, self._fleet, self.fence = data_plane, fleet, fence
        self._desired: dict[str, DesiredTraffic] = {}
        self._in_force: dict[str, ServiceRoutes] = {}
        self._routed: frozenset[VersionId] = frozenset()
        self._held: frozenset[str] = frozenset()
        self._of_others = False
        self.revision = 0
        self._last_endpoints: Endpoints = {}
        self._made: dict[str, tuple[DesiredTraffic, Endpoints, ServiceRoutes]] = {}

    def adopt(self, table: RoutingTable | None) -> None:
        """Take the table that the gateways follow, whoever wrote it, as what is in force.

        One of an earlier leader is written again under our number, so that nothing of that leader's counts any more.
        """
        self._follow(dict(table.services) if table is not None else {})
        mine = table is not None and table.fence == self.fence
        self.revision = table.revision if table is not None and mine else 0
        self._of_others = table is not None and not mine
        for routes in self._in_force.values():
            for version, endpoints in routes.endpoints.items():
                self._last_endpoints.setdefault(VersionId.parse(version), endpoints)

    def want_only(self, services: Mapping[str, DesiredTraffic], *, held: Collection[str] = ()) -> None:
        """Replace what all traffic should do; ``held`` services stay as they are, others are not served any more."""
        self._desired, self._held = dict(services), frozenset(held)

    def in_force(self, service: str) -> ServiceRoutes | None:
        """Return a service's routes as gateways acknowledged them, None when they have none."""
        return self._in_force.get(service)

    def versions_in_force(self) -> frozenset[VersionId]:
        """Return every version that gateways may send a request to."""
        return self._routed

    def split_in_force(self, service: str, rollout_id: str) -> Split | None:
        """Return a rollout's split as gateways acknowledged it, None when they follow none of it."""
        routes = self._in_force.get(service)
        split = routes.split if routes is not None else None
        return split if split is not None and split.rollout_id == rollout_id else None

    def reconcile(self) -> bool:
        """Push a new table if anything differs from the one in force; tell whether all that is desired is in force.

        Raises:
            Conflict: when the gateways follow a table of a later leader.
        """
        seen = self._fleet.observe()
        found = {name: self._routes(desired, seen) for name, desired in self._desired.items()}
        routes = {name: one for name, one in found.items() if one is not None}
        routes |= {name: self._in_force[name] for name in self._held & self._in_force.keys()}
        whole = len(routes) == len(found)
        if routes == self._in_force and not self._of_others:
            return whole
        table = RoutingTable(fence=self.fence, revision=self.revision + 1, services=routes)
        self.revision += 1
        try:
            self._data_plane.push(table)
        except Unavailable:
            return False
        self._follow(routes)
        self._of_others = False
        return whole

    def _follow(self, routes: dict[str, ServiceRoutes]) -> None:
        self._in_force = routes
        found = (version for one in routes.values() for version, endpoints in one.endpoints.items() if endpoints)
        self._routed = frozenset(map(VersionId.parse, found))

    def _routes(self, desired: DesiredTraffic, seen: FleetState) -> ServiceRoutes | None:
        """Return a service's routes: those in force while a version that is to have traffic was never seen ready."""
        spec, split = desired.spec, desired.split
        if desired.closed:
            return _make_routes(desired, {desired.champion: ()})
        endpoints = {
            version: self._endpoints(spec, version, seen)
            for version in [desired.champion] + ([split.challenger] if split is not None else [])
        }
        needed = [desired.champion] + ([split.challenger] if split is not None and split.weight > 0 else [])
        if not all(endpoints[version] for version in needed):
            return self._in_force.get(spec.service)
        made = self._made.get(spec.service)
        if made is None or made[0].spec is not spec or made[0] != desired or made[1] != endpoints:
            made = self._made[spec.service] = desired, endpoints, _make_routes(desired, endpoints)
        return made[2]

    def _endpoints(self, spec: ServiceSpec, version: VersionId, seen: FleetState) -> tuple[Endpoint, ...]:
        """Return a version's endpoints; when all have gone, the last known: their failures are counted, not hidden."""
        found = seen.endpoints(version) or self._last_endpoints.get(version, ())
        self._last_endpoints[version] = found
        if not spec.lanes:
            return found
        most = max(lane.max_concurrency for lane in spec.lanes.values())
        return tuple(endpoint.model_copy(update={"max_concurrency": most}) for endpoint in found)


def _make_routes(desired: DesiredTraffic, endpoints: Endpoints) -> ServiceRoutes:
    spec, objectives = desired.spec, desired.spec.objectives()
    samples = [slo.sample for slo in objectives.values() if isinstance(slo, ScoreSlo)]
    return ServiceRoutes(
        service=spec.service,
        champion=desired.champion,
        split=desired.split,
        sticky=spec.sticky,
        lanes=spec.lanes,
        route=spec.route,
        fallback=spec.fallback,
        limits=spec.limits,
        cache=spec.cache,
        intake=spec.intake,
        post_checks=spec.post_checks,
        force=spec.force,
        endpoints={str(version): found for version, found in endpoints.items()},
        score_sample=max(samples, default=0.0),
        latency_thresholds_s={n: s.threshold for n, s in objectives.items() if isinstance(s, LatencySlo)},
        closed=desired.closed,
    )
