"""Replicas: what is routed to, what runs on this machine, and how each of them is."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from contracts.wire.routing import RoutingTable
from contracts.wire.worker import WorkerState
from controlplane.web.sources.workers import SeenWorker

TROUBLED = frozenset({"failed", "silent", "gone"})


@dataclass(frozen=True)
class ReplicaView:
    """One replica: ``state`` is ready, warming, failed, silent (no answer), gone (routed to, not running), or routed.

    ``routed`` is said of one whose worker does not report on this machine; ``takes_traffic`` when it is routed to.
    """

    service: str
    version: str
    name: str
    state: str
    takes_traffic: bool
    memory_bytes: int = 0
    in_flight: int = 0
    message: str = ""


def view_replicas(table: RoutingTable | None, workers: Sequence[SeenWorker]) -> tuple[ReplicaView, ...]:
    """Return every replica that is routed to, and every worker that runs beside them."""
    at_port = {worker.port: worker for worker in workers}
    seen: set[int] = set()
    found = []
    for service, routes in sorted(table.services.items()) if table is not None else ():
        for version, endpoints in routes.endpoints.items():
            for endpoint in endpoints:
                port = urlsplit(endpoint.url).port or 0
                worker = at_port.get(port)
                seen.add(port)
                unseen = "gone" if workers else "routed"
                found.append(_view(service, version, endpoint.replica, worker, unseen, takes_traffic=True))
    beside = (worker for worker in workers if worker.port not in seen)
    found += [_view("", one.version, one.name or f"port {one.port}", one, "", takes_traffic=False) for one in beside]
    return tuple(found)


def _view(
    service: str, version: str, name: str, worker: SeenWorker | None, unseen: str, *, takes_traffic: bool
) -> ReplicaView:
    if worker is None:
        return ReplicaView(service, version, name, unseen, takes_traffic)
    health = worker.health
    if health is None:
        return ReplicaView(service, version, name, "silent", takes_traffic)
    states = {WorkerState.READY: "ready", WorkerState.LOADING: "warming", WorkerState.FAILED: "failed"}
    state = states[health.state]
    return ReplicaView(
        service, version, name, state, takes_traffic, health.memory_bytes, health.in_flight, health.message
    )
