"""The world that a control plane acts on."""

from dataclasses import dataclass

from contracts.clock import Clock
from contracts.rng import Rng
from controlplane.loop.ports import DataPlane
from registry.catalogue import Catalogue
from serving.fleet.port import Fleet


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
    memory_budget_bytes: int | None = None
