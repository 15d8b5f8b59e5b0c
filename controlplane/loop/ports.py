"""What the loop needs of the world, beside the catalogue, the fleet and the ledger."""

from typing import Protocol

from contracts.wire.routing import RoutingTable
from contracts.wire.telemetry import TelemetryReply


class DataPlane(Protocol):
    """The gateways: they take routing tables and hand over what they counted."""

    def push(self, table: RoutingTable) -> None:
        """Put a routing table in force; ``Conflict`` when a newer one is, ``Unavailable`` when nobody answers."""
        ...

    def pull(self) -> TelemetryReply:
        """Return what was counted since the last pull, each batch once; ``Unavailable`` when nobody answers."""
        ...
