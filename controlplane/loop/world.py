"""The world that a control plane acts on."""

from dataclasses import dataclass, field

from contracts.clock import Clock
from contracts.rng import Rng
from controlplane.loop.ports import DataPlane
from controlplane.loop.room import Means
from registry.catalogue import Catalogue
from serving.fleet.port import Fleet


@dataclass(frozen=True)
class World:
    """The ports that the loop acts through.

    ``means`` is what the fleet's workers may use in all.
    """

    clock: Clock
    rng: Rng
    catalogue: Catalogue
    fleet: Fleet
    data_plane: DataPlane
    means: Means = field(default_factory=Means)
