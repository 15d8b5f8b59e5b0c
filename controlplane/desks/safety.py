"""Safety as people ask for it: a version is stopped at once, a service is frozen, and either is lifted again."""

from dataclasses import dataclass

from sqlalchemy import Connection

from contracts.errors import Conflict, NotFound
from contracts.events import Event
from contracts.ids import VersionId, VersionRef
from contracts.units import format_duration
from controlplane.desks.offers import Offer
from controlplane.desks.words import require_words
from controlplane.loop.outlook import Outlook
from controlplane.store.freezes import ALL, Freeze
from controlplane.store.kills import Kill
from controlplane.stores import Stores
from controlplane.telling import of_service, tell
from registry.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class KillView:
    """A kill, and what follows from it in one sentence."""

    kill: Kill
    effect: str


class SafetyDesk:
    """Takes what people ask for the sake of safety; the leader carries it out at its next step."""

    def __init__(self, stores: Stores, catalogue: Catalogue, outlook: Outlook | None = None) -> None:
        self._stores, self._catalogue, self._outlook = stores, catalogue, outlook

    def kill(self, service: str, version: VersionRef, *, actor: str, reason: str) -> KillView:
        """Stop a version in a service: it is never routed to until that is lifted.

        Raises:
            InvalidInput: when actor or reason is missing.
            NotFound: when there is no such service or version.
        """
        require_words(actor, reason)
        name = str(self._catalogue.get(version).id)
        effect = self._effect(service, name)
        with self._stores.database.write() as connection:
            kill = self._stores.kills.kill(connection, service, name, actor=actor, reason=reason)
            event = of_service("version.killed", kill.at_s, service, f"{name} is stopped: {reason}")
            self._tell(connection, kill.id, event)
        return KillView(kill, effect)

    def offer_kill(self, service: str, version: VersionRef) -> Offer:
        """Return what stopping a version would do, and what to do before where nobody would be served for a while.

        Raises:
            NotFound: when there is no such service or version.
        """
        effect = self._effect(service, str(self._catalogue.get(version).id))
        return Offer("kill", allowed=True, why_not="", effect=effect)

    def tell_kill(self, kill: Kill) -> KillView:
        """Return a kill with what follows from it now."""
        if kill.lifted_s is not None:
            return KillView(kill, f"lifted: {kill.version} may be served again by {kill.service}")
        return KillView(kill, self._effect(kill.service, kill.version))

    def _effect(self, service: str, name: str) -> str:
        """Return what follows from a version being stopped, as things stand."""
        production = self._stores.services.production(service)
        if name != production.champion:
            return f"{name} gets no traffic of {service}; a rollout of it ends"
        if production.previous is None:
            return f"{name} is the champion and nothing came before it: nobody is served until {service} has another"
        if production.previous in self._stores.kills.active().get(service, {}):
            return (
                f"{name} is the champion and {production.previous} before it is stopped, too: "
                f"nobody is served until one is revived"
            )
        return f"{name} gets no traffic of {service}; {production.previous} {self._takes_over(production.previous)}"

    def _takes_over(self, previous: str) -> str:
        """Return how long users wait for the version before: it may have to be loaded first."""
        version = VersionId.parse(previous)
        if self._outlook is None:
            return "takes over as soon as it is ready"
        if self._outlook.fleet().endpoints(version):
            return "is loaded and takes over within seconds"
        start_s = self._outlook.cold_start_s(version)
        known = "how long is not known" if start_s is None else f"about {format_duration(round(start_s, 1))}"
        return (
            f"is not loaded and takes over once it is: until then nobody is served ({known}); "
            f"roost fleet warm {previous} before the kill leaves no such gap"
        )

    def revive(self, kill: str, *, actor: str, reason: str) -> Kill:
        """Let a stopped version be served again.

        Raises:
            InvalidInput: when actor or reason is missing.
            NotFound: when there is no such kill.
        """
        require_words(actor, reason)
        with self._stores.database.write() as connection:
            lifted = self._stores.kills.lift(connection, kill, actor=actor, reason=reason)
            told = f"{lifted.version} may be served again: {reason}"
            at_s = lifted.lifted_s or lifted.at_s
            self._tell(connection, kill, of_service("version.revived", at_s, lifted.service, told))
        return lifted

    def freeze(
        self, service: str, *, actor: str, reason: str, from_s: float | None = None, until_s: float | None = None
    ) -> Freeze:
        """Freeze a service, or all with "": no rollout begins, and one that goes on is paused.

        Raises:
            InvalidInput: when actor or reason is missing, or the freeze would never hold.
            NotFound: when there is no such service.
        """
        require_words(actor, reason)
        if service != ALL and service not in self._stores.services.names():
            raise NotFound(f"there is no service {service}", hint="apply its spec first")
        with self._stores.database.write() as connection:
            made = self._stores.freezes.freeze(
                connection, service, actor=actor, reason=reason, from_s=from_s, until_s=until_s
            )
            told = f"{service or 'every service'} is frozen: {reason}"
            self._tell(connection, made.id, of_service("service.frozen", made.from_s, service or "*", told))
        return made

    def thaw(self, freeze: str, *, actor: str, reason: str) -> Freeze:
        """Lift a freeze; rollouts that it paused stay so until somebody resumes them.

        Raises:
            InvalidInput: when actor or reason is missing.
            NotFound: when there is no such freeze.
        """
        require_words(actor, reason)
        with self._stores.database.write() as connection:
            lifted = self._stores.freezes.lift(connection, freeze, actor=actor, reason=reason)
            told = f"{lifted.service or 'every service'} is no longer frozen: {reason}"
            at_s = lifted.lifted_s or lifted.from_s
            self._tell(connection, freeze, of_service("service.thawed", at_s, lifted.service or "*", told))
        return lifted

    def offer_undo(self, service: str) -> Offer:
        """Return what going back to the version before the champion would do, or why it is not possible.

        Raises:
            NotFound: when there is no such service.
        """
        production = self._stores.services.production(service)
        champion, previous = production.champion, production.previous
        living = next((row.id for row in self._stores.rollouts.living() if row.service == service), None)
        asked = self._stores.undos.open().get(service)
        why = ""
        if champion is None or previous is None:
            why = f"{service} had no champion before {champion or 'its first'}"
        elif living is not None:
            why = f"{living} is in progress: abort it, or wait for its end"
        elif previous in self._stores.kills.active().get(service, {}):
            why = f"{previous} was stopped: revive it first"
        elif asked is not None:
            why = f"{asked.actor} asked for it already: {previous} takes over as soon as it is ready"
        effect = f"all traffic of {service} goes from {champion} back to {previous} as soon as that is ready"
        return Offer("undo", allowed=not why, why_not=why, effect="" if why else effect)

    def undo(self, service: str, *, actor: str, reason: str) -> Offer:
        """Bring the version before the champion back, without a trial: it has served this traffic before.

        Raises:
            InvalidInput: when actor or reason is missing.
            NotFound: when there is no such service.
            Conflict: when there is nothing to go back to, or a rollout is in progress.
        """
        require_words(actor, reason)
        offer, champion = self.offer_undo(service), self._stores.services.production(service).champion
        if not offer.allowed or champion is None:
            raise Conflict(f"{service} can't be undone: {offer.why_not}")
        with self._stores.database.write() as connection:
            made = self._stores.undos.undo(connection, service, champion, actor=actor, reason=reason)
            told = f"{actor} goes back from {champion}: {reason}"
            self._tell(connection, made.id, of_service("service.undone", made.at_s, service, told))
        return offer

    def _tell(self, connection: Connection, key: str, event: Event) -> None:
        tell(self._stores.outbox, connection, event, f"{event.code}:{key}")
