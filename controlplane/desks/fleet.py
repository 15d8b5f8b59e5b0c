"""The fleet as people ask for it: a version loaded and kept warm for a while, a worker or a machine drained."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from contracts.clock import Clock
from contracts.errors import InvalidInput, NotFound, NotPermitted, Unavailable
from contracts.ids import VersionId, VersionRef
from contracts.units import format_bytes, format_duration
from controlplane.desks.offers import Offer
from controlplane.desks.words import require_words
from controlplane.loop.outlook import Outlook
from controlplane.store.fleet_wishes import FleetWish, FleetWishKind
from controlplane.stores import Stores
from registry.catalogue import Catalogue
from serving.fleet.port import FleetState, Replica, ReplicaState

LONGEST_WARM_S = 7 * 86400.0
LOOK = "roost fleet get lists the replicas"


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked of the fleet, and what follows from it in one sentence."""

    wishes: tuple[FleetWish, ...]
    effect: str


class FleetDesk:
    """Takes what people ask of the fleet; the leader carries it out. ``node`` is the name of the fleet's machine."""

    def __init__(
        self, stores: Stores, catalogue: Catalogue, clock: Clock, outlook: Outlook | None, *, node: str = ""
    ) -> None:
        self._stores, self._catalogue, self._clock, self._outlook = stores, catalogue, clock, outlook
        self.node = node or socket.gethostname()

    def offer_warm(self, version: VersionId, length_s: float) -> Offer:
        """Return what keeping a version warm for so long would do, or why it is not possible.

        Raises:
            Unavailable: when this control plane doesn't know its fleet.
        """
        outlook = self._known()
        until = datetime.fromtimestamp(self._clock.now_s() + length_s, UTC)
        if outlook.fleet().placement(version) is not None:
            effect = f"{version} runs already, and stays until {until:%H:%M} UTC whatever else ends"
            return Offer("warm", allowed=True, why_not="", effect=effect)
        spare = outlook.spare(version)
        needed = format_bytes(spare.needed_bytes)
        if not spare.fits:
            left, budget = format_bytes(spare.left_bytes or 0), format_bytes(spare.budget_bytes or 0)
            why = f"{version} needs {needed}, and {left} of {budget} are left: it waits until something else ends"
            return Offer("warm", allowed=False, why_not=why, effect="")
        effect = (
            f"{version} is loaded{_about(outlook.cold_start_s(version))} and holds {needed} until {until:%H:%M} UTC; "
            "no traffic goes to it, and none has to wait for it when it takes over"
        )
        return Offer("warm", allowed=True, why_not="", effect=effect)

    def warm(self, version: VersionRef, length_s: float, *, actor: str, reason: str) -> Asked:
        """Load a version and keep it for so long, beside whatever else runs.

        Raises:
            InvalidInput: when actor or reason is missing, or the time is no sensible one.
            NotFound: when there is no such version.
            NotPermitted: when there is no room for it.
            Unavailable: when this control plane doesn't know its fleet.
        """
        require_words(actor, reason)
        if not 0 < length_s <= LONGEST_WARM_S:
            raise InvalidInput(f"for: {length_s:g} s is not possible", hint="from 1s to 7d; ask again to go on")
        found = self._catalogue.get(version).id
        offer = self.offer_warm(found, length_s)
        if not offer.allowed:
            raise NotPermitted(f"warm of {found} is refused: {offer.why_not}", hint="roost fleet get shows what runs")
        with self._stores.database.write() as connection:
            wish = self._stores.fleet_wishes.warm(connection, found, length_s, actor=actor, reason=reason)
        return Asked((wish,), offer.effect)

    def let_go(self, wish: str, *, actor: str, reason: str) -> FleetWish:
        """Keep a version warm no longer; one that something else needs runs on.

        Raises:
            InvalidInput: when actor or reason is missing.
            NotFound: when there is no such wish.
        """
        require_words(actor, reason)
        if self._stores.fleet_wishes.get(wish).kind is not FleetWishKind.WARM:
            raise NotFound(f"{wish} keeps no version warm", hint="a drain that was asked for is carried out")
        with self._stores.database.write() as connection:
            return self._stores.fleet_wishes.let_go(connection, wish, actor=actor, reason=reason)

    def offer_drain(self, replica: Replica, wishes: Sequence[FleetWish]) -> Offer:
        """Return what draining a worker would do, or why it is not possible, where ``wishes`` were asked for already.

        Raises:
            Unavailable: when this control plane doesn't know its fleet.
        """
        outlook = self._known()
        version, name = replica.version, replica.name
        asked = {wish.process: wish for wish in wishes}.get(replica.process)
        others = _ready_beside(outlook.fleet(), replica)
        why = ""
        if replica.state is not ReplicaState.READY or not replica.process:
            why = f"{name} takes no requests: it is {replica.state.value}"
        elif asked is not None:
            why = f"{asked.actor} asked for it already"
        elif not others and not outlook.spare(version).fits:
            spare = outlook.spare(version)
            why = (
                f"{name} is the only worker of {version} that answers, and another of "
                f"{format_bytes(spare.needed_bytes)} does not fit beside it: {format_bytes(spare.left_bytes or 0)} of "
                f"{format_bytes(spare.budget_bytes or 0)} are left"
            )
        if why:
            return Offer("drain", allowed=False, why_not=why, effect="")
        return Offer("drain", allowed=True, why_not="", effect=self._effect(outlook, replica, others))

    def find(self, target: str) -> list[Replica]:
        """Return the workers that a name stands for: ``MODEL@NUMBER/NAME``, a name that is the only one, or a machine.

        Raises:
            NotFound: when nothing has that name.
            InvalidInput: when several workers have it.
        """
        replicas = list(self._known().fleet().replicas)
        if target == self.node:
            return [replica for replica in replicas if replica.state is ReplicaState.READY]
        found = [replica for replica in replicas if target in {replica.name, f"{replica.version}/{replica.name}"}]
        found = [replica for replica in found if replica.state is not ReplicaState.DRAINING] or found
        if not found:
            raise NotFound(f"there is no replica or machine called {target}", hint=LOOK)
        if len({(replica.version, replica.name) for replica in found}) > 1:
            names = ", ".join(f"{replica.version}/{replica.name}" for replica in found)
            raise InvalidInput(f"target: several replicas are called {target}", hint=f"name one of {names}")
        return found[:1]

    def offer(self, target: str) -> Offer:
        """Return what draining a worker or a machine would do, or why it is not possible.

        Raises:
            NotFound, InvalidInput: as `find` would.
        """
        found, wishes = self.find(target), self._stores.fleet_wishes.open()
        offers = [self.offer_drain(replica, wishes) for replica in found]
        refused = next((offer for offer in offers if not offer.allowed), None)
        if target != self.node:
            return refused or offers[0]
        if not found:
            why = f"no worker of {self.node} takes requests"
            return Offer("drain", allowed=False, why_not=why, effect="")
        effect = (
            f"{self.node} is the fleet's only machine: its {len(found)} workers are replaced on it one after another, "
            "each ends once another takes its requests"
        )
        return refused or Offer("drain", allowed=True, why_not="", effect=effect)

    def drain(self, target: str, *, actor: str, reason: str) -> Asked:
        """Let a worker, or those of a machine, finish what they have and be replaced.

        Raises:
            InvalidInput: when actor or reason is missing, or several workers have the name.
            NotFound: when nothing has that name.
            NotPermitted: when nothing could serve meanwhile.
            Unavailable: when this control plane doesn't know its fleet.
        """
        require_words(actor, reason)
        offer = self.offer(target)
        if not offer.allowed:
            raise NotPermitted(f"drain of {target} is refused: {offer.why_not}", hint=LOOK)
        with self._stores.database.write() as connection:
            wishes = tuple(
                self._stores.fleet_wishes.drain(
                    connection, one.version, one.name, one.process, actor=actor, reason=reason
                )
                for one in self.find(target)
            )
        return Asked(wishes, offer.effect)

    def _effect(self, outlook: Outlook, replica: Replica, others: Sequence[Replica]) -> str:
        in_flight = replica.health.in_flight if replica.health is not None else 0
        start = _about(outlook.cold_start_s(replica.version))
        if others:
            serves = ", ".join(sorted(other.name for other in others))
            return (
                f"{replica.name} takes no new request and ends when its {in_flight} in flight are done; {serves} of "
                f"{replica.version} serves meanwhile, and a new worker takes its place{start}"
            )
        return (
            f"another worker of {replica.version} is started first{start}; then {replica.name} takes no new request "
            f"and ends when its {in_flight} in flight are done"
        )

    def _known(self) -> Outlook:
        if self._outlook is None:
            raise Unavailable("this control plane supervises no fleet", hint="ask the one that does")
        return self._outlook


def _ready_beside(fleet: FleetState, replica: Replica) -> list[Replica]:
    """Return the other workers of a version that take requests."""
    mine = (one for one in fleet.replicas if one.version == replica.version and one.process != replica.process)
    return [one for one in mine if one.state is ReplicaState.READY]


def _about(seconds: float | None) -> str:
    return f" (about {format_duration(round(seconds, 1))})" if seconds is not None else ""
