"""The world that a control plane acts on."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from contracts.clock import Clock
from contracts.rng import Rng
from controlplane.loop.ports import DataPlane
from controlplane.store.ledger import Ledger
from registry.catalogue import Catalogue
from serving.fleet.port import Fleet

if TYPE_CHECKING:
    from controlplane.loop.routing import RoutingDesk


@dataclass(frozen=True)
class World:
    """The ports that the loop acts through.

    ``memory_budget_bytes`` is what the fleet's workers may hold in all, None where nobody knows.
    """

    clock: Clock
    rng: Rng
    catalogue: Catalogue
    fleet: Fleet
    data_plane: DataPlane
    desk: "RoutingDesk" = None  # type: ignore[assignment]
    ledger: Ledger = None  # type: ignore[assignment]
    memory_budget_bytes: int | None = None
