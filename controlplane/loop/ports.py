"""What the loop needs of the world, beside the catalogue, the fleet and the stores."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Connection

from contracts.events import Event
from contracts.ids import VersionId
from contracts.records import record
from contracts.specs.service import ServiceSpec
from contracts.wire.counted import Counted
from contracts.wire.routing import RoutingTable
from contracts.wire.telemetry import TelemetryBatch, TelemetryReply
from controlplane.loop.evidence import Judged
from controlplane.store.services import Production
from rollout.phases import ManualAction
from rollout.state import State


class DataPlane(Protocol):
    """The gateways: they take routing tables and hand over what they counted."""

    def push(self, table: RoutingTable) -> None:
        """Put a routing table in force; ``Conflict`` when a newer one is, ``Unavailable`` when nobody answers."""
        ...

    def table(self) -> RoutingTable | None:
        """Return the routing table in force, None before there was one; ``Unavailable`` when nobody answers."""
        ...

    def fetch(self, counted: Counted) -> TelemetryReply:
        """Return all that is kept, letting go of what is counted; ``Unavailable`` when nobody answers."""
        ...


@record(frozen=True, slots=True)
class Sight:
    """What one tick brought of one service: its judged outputs, and the rollout that lives, if one does."""

    spec: ServiceSpec
    production: Production
    rollout: State | None
    batches: Sequence[TelemetryBatch]
    judged: Sequence[Judged]
    at_s: float


class Watchers(Protocol):
    """Everybody who looks on at all services: the history, the monitors, the review queue."""

    def look(self, reply: TelemetryReply, sights: Sequence[Sight]) -> dict[str, tuple[ManualAction, ...]]:
        """Take what one tick brought; return, by service, what monitors ask of its rollout.

        Called before the tick's decisions are written; after a failure the same telemetry comes again.
        """
        ...

    def take_told(self) -> list[Event]:
        """Return what monitors have to tell people since the last call."""
        ...

    def tell(self, event: Event) -> None:
        """Take an event that people are told."""
        ...

    def reload(self) -> None:
        """Forget what was learnt from telemetry that may come again."""
        ...

    def close(self) -> None:
        """End whatever runs beside the loop."""
        ...


@dataclass(frozen=True, slots=True)
class Orders:
    """What the guard asks for one service.

    ``manual`` goes to the living rollout, like a person's wish. A ``killed`` version is never routed to, from this
    very tick on. ``keep`` versions stay warm beside the champion, and ``crown`` takes the champion's place once it is
    proven ready, in the name of ``crown_by``. ``told`` goes to people.
    """

    manual: tuple[ManualAction, ...] = ()
    killed: frozenset[VersionId] = frozenset()
    keep: frozenset[VersionId] = frozenset()
    crown: VersionId | None = None
    crown_by: str = "guard"
    crown_why: str = "the guard ordered it"
    told: tuple[Event, ...] = ()


CALM = Orders()


class NoGuard:
    """A guard that sees nothing amiss."""

    def look(self, sight: Sight) -> Orders:
        """Ask for nothing."""
        return CALM

    def save(self, connection: Connection, *, fence: int) -> None:
        """Keep nothing."""

    def reload(self) -> None:
        """Forget nothing."""


class Guard(Protocol):
    """Watches what serves: burning budgets, late harm, kills and freezes."""

    def look(self, sight: Sight) -> Orders:
        """Take what one tick brought of one service, each batch once, and say what has to be done at once."""
        ...

    def save(self, connection: Connection, *, fence: int) -> None:
        """Write what was learnt, in the transaction that counts the telemetry it was learnt from."""
        ...

    def reload(self) -> None:
        """Read again what was written last: another led meanwhile, or a tick was not written."""
        ...
