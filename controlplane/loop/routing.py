"""The routing desk: keeps what traffic should do, and tells the data plane when that changes."""

from dataclasses import dataclass, replace

from contracts.errors import Unavailable
from contracts.ids import VersionId
from contracts.specs.service import ServiceSpec
from contracts.specs.slo import LatencySlo, ScoreSlo
from contracts.wire.routing import Endpoint, RoutingTable, ServiceRoutes, Split
from controlplane.loop.ports import DataPlane
from serving.fleet.port import Fleet


@dataclass(frozen=True)
class DesiredTraffic:
    """Where one service's traffic should go."""

    spec: ServiceSpec
    champion: VersionId
    split: Split | None = None


class RoutingDesk:
    """Turns desired traffic into numbered routing tables; a table is pushed again until it is acknowledged."""

    def __init__(self, data_plane: DataPlane, fleet: Fleet, *, fence: int = 1) -> None:
        self._data_plane, self._fleet, self.fence = data_plane, fleet, fence
        self._desired: dict[str, DesiredTraffic] = {}
        self._in_force: dict[str, ServiceRoutes] = {}
        self._revision = 0
        self._last_endpoints: dict[VersionId, tuple[Endpoint, ...]] = {}

    def want(self, desired: DesiredTraffic) -> None:
        """Replace what a service's traffic should do."""
        self._desired[desired.spec.service] = desired

    def desired(self, service: str) -> DesiredTraffic:
        """Return what a service's traffic should do."""
        return self._desired[service]

    def want_weight(self, service: str, weight: float, mirror_share: float) -> None:
        """Change the challenger's share of a service that has a split; does nothing without one."""
        desired = self._desired[service]
        if desired.split is not None:
            split = desired.split.model_copy(update={"weight": weight, "mirror_share": mirror_share})
            self._desired[service] = replace(desired, split=split)

    def split_in_force(self, service: str, rollout_id: str) -> Split | None:
        """Return a rollout's split as gateways acknowledged it, None when they follow none of it."""
        routes = self._in_force.get(service)
        split = routes.split if routes is not None else None
        return split if split is not None and split.rollout_id == rollout_id else None

    def reconcile(self) -> bool:
        """Push a new table if anything differs from the one in force; tell whether all that is desired is in force."""
        routes = {name: self._routes(desired) for name, desired in self._desired.items()}
        if routes == self._in_force:
            return True
        table = RoutingTable(fence=self.fence, revision=self._revision + 1, services=routes)
        self._revision += 1
        try:
            self._data_plane.push(table)
        except Unavailable:
            return False
        self._in_force = routes
        return True

    def _routes(self, desired: DesiredTraffic) -> ServiceRoutes:
        spec, split = desired.spec, desired.split
        objectives = spec.objectives()
        samples = [slo.sample for slo in objectives.values() if isinstance(slo, ScoreSlo)]
        return ServiceRoutes(
            service=spec.service,
            champion=desired.champion,
            split=split,
            sticky=spec.sticky,
            lanes=spec.lanes,
            route=spec.route,
            fallback=spec.fallback,
            limits=spec.limits,
            cache=spec.cache,
            intake=spec.intake,
            post_checks=spec.post_checks,
            force=spec.force,
            endpoints={
                str(version): self._endpoints(spec, version)
                for version in [desired.champion] + ([split.challenger] if split is not None else [])
            },
            score_sample=max(samples, default=0.0),
            latency_thresholds_s={n: s.threshold for n, s in objectives.items() if isinstance(s, LatencySlo)},
        )

    def _endpoints(self, spec: ServiceSpec, version: VersionId) -> tuple[Endpoint, ...]:
        """Return a version's endpoints; when all have gone, the last known: their failures are counted, not hidden."""
        found = self._fleet.observe().endpoints(version) or self._last_endpoints.get(version, ())
        self._last_endpoints[version] = found
        if not spec.lanes:
            return found
        most = max(lane.max_concurrency for lane in spec.lanes.values())
        return tuple(endpoint.model_copy(update={"max_concurrency": most}) for endpoint in found)
