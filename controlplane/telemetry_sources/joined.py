"""Gateways and other sources as one data plane: what each counted, in one reply."""

import logging
from collections.abc import Callable, Mapping

from contracts.errors import RoostError, Unavailable
from contracts.ids import VersionId
from contracts.wire.counted import Counted
from contracts.wire.routing import RoutingTable
from contracts.wire.telemetry import TelemetryBatch, TelemetryReply
from controlplane.loop.ports import DataPlane
from controlplane.telemetry_sources.prometheus import GATEWAY, PrometheusSource

log = logging.getLogger(__name__)


Find = Callable[[], PrometheusSource]
"""Return a service's source as its spec wants it now; a `RoostError` when it can't be."""


class JoinedDataPlane:
    """The gateways, and by service the sources of traffic that does not pass them.

    A source that doesn't answer leaves its service without news; the others are not kept waiting for it.
    """

    def __init__(self, gateways: DataPlane, sources: Mapping[str, Find]) -> None:
        self._gateways, self._sources = gateways, sources
        self._table: RoutingTable | None = None
        self._problems: dict[str, str] = {}

    def push(self, table: RoutingTable) -> None:
        """Put a routing table in force.

        Raises:
            Conflict: when a newer one is.
            Unavailable: when no gateway answers.
        """
        self._gateways.push(table)
        self._table = table

    def table(self) -> RoutingTable | None:
        """Return the routing table in force, None before there was one.

        Raises:
            Unavailable: when no gateway answers.
        """
        self._table = self._gateways.table()
        return self._table

    def fetch(self, counted: Counted) -> TelemetryReply:
        """Return all that is kept and not counted yet; the gateways' batches stand last.

        Raises:
            Unavailable: when no gateway answers.
        """
        reply = self._gateways.fetch(counted)
        batches: list[TelemetryBatch] = []
        for service, find in self._sources.items():
            try:
                source = find()
                batches += source.fetch(counted, self._expected(service)).batches
                self._note(service, "; ".join(source.problems))
            except RoostError as error:
                self._note(service, error.message)
        # Their senders know no routing table; the gateways' is in force.
        known = {"table_revision": self._table.revision} if self._table is not None else {}
        told = (batch.model_copy(update=known) for batch in batches)
        return reply.model_copy(update={"batches": (*told, *reply.batches)})

    def speaks_for(self, batch: TelemetryBatch, service: str) -> bool:
        """Tell whether a batch is news of a service: its own source's where it has one, else the gateways'."""
        if batch.gateway == GATEWAY:
            return any(row.service == service for row in batch.requests)
        return service not in self._sources

    def _expected(self, service: str) -> tuple[VersionId, ...]:
        """Return the versions that a service's users are sent to."""
        try:
            table = self._table or self.table()
        except Unavailable:
            table = None
        routes = table.services.get(service) if table is not None else None
        if routes is None:
            return ()
        split = routes.split
        champion = () if split is not None and split.weight == 1.0 else (routes.champion,)
        return (*champion, split.challenger) if split is not None and split.weight > 0 else champion

    def _note(self, service: str, problem: str) -> None:
        """Log a source's problem when it begins and when it is over."""
        if problem != self._problems.get(service, ""):
            log.warning("telemetry of %s from Prometheus: %s", service, problem or "complete again")
            self._problems[service] = problem
