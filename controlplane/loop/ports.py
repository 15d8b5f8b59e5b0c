"""What the loop needs of the world, beside the catalogue, the fleet and the ledger."""

from collections.abc import Sequence
from typing import Protocol

from contracts.ids import VersionId
from contracts.wire.routing import RoutingTable
from contracts.wire.telemetry import TelemetryReply
from controlplane.loop.evidence import Judged
from rollout.phases import ManualAction


class DataPlane(Protocol):
    """The gateways: they take routing tables and hand over what they counted."""

    def push(self, table: RoutingTable) -> None:
        """Put a routing table in force; ``Conflict`` when a newer one is, ``Unavailable`` when nobody answers."""
        ...

    def pull(self) -> TelemetryReply:
        """Return what was counted since the last pull, each batch once; ``Unavailable`` when nobody answers."""
        ...


class Watcher(Protocol):
    """Looks on while a rollout runs: keeps the history, and runs the monitors."""

    def look(self, reply: TelemetryReply, judged: Sequence[Judged], challenger: VersionId) -> tuple[ManualAction, ...]:
        """Take what one tick brought; return what monitors ask of the challenger's rollout, nothing as a rule."""
        ...
