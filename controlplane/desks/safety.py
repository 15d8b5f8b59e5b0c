"""Safety as people ask for it: a version is stopped at once, a service is frozen, and either is lifted again."""

from dataclasses import dataclass

from sqlalchemy import Connection

from contracts.errors import InvalidInput, NotFound
from contracts.events import Event
from contracts.ids import VersionRef
from controlplane.store.freezes import ALL, Freeze
from controlplane.store.kills import Kill
from controlplane.stores import Stores
from registry.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class KillView:
    """A kill, and what follows from it in one sentence."""

    kill: Kill
    effect: str


class SafetyDesk:
    """Takes what people ask for the sake of safety; the leader carries it out at its next step."""

    def __init__(self, stores: Stores, catalogue: Catalogue) -> None:
        self._stores, self._catalogue = stores, catalogue

    def kill(self, service: str, version: VersionRef, *, actor: str, reason: str) -> KillView:
        """Stop a version in a service: it is never routed to until that is lifted.

        Raises:
            InvalidInput: when actor or reason is missing.
            NotFound: when there is no such service or version.
        """
        _require_told(actor, reason)
        production = self._stores.services.production(service)
        name = str(self._catalogue.get(version).id)
        with self._stores.database.write() as connection:
            kill = self._stores.kills.kill(connection, service, name, actor=actor, reason=reason)
            event = _event("version.killed", kill.at_s, service, f"{name} is stopped: {reason}")
            self._tell(connection, kill.id, event)
        if name != production.champion:
            effect = f"{name} gets no traffic of {service}; a rollout of it ends"
        elif production.previous is None:
            effect = f"{name} is the champion and nothing came before it: nobody is served until {service} has another"
        elif production.previous in self._stores.kills.active().get(service, {}):
            effect = (
                f"{name} is the champion and {production.previous} before it is stopped, too: "
                f"nobody is served until one is revived"
            )
        else:
            effect = f"{name} gets no traffic of {service}; {production.previous} takes over as soon as it is ready"
        return KillView(kill, effect)

    def revive(self, kill: str, *, actor: str, reason: str) -> Kill:
        """Let a stopped version be served again.

        Raises:
            InvalidInput: when actor or reason is missing.
            NotFound: when there is no such kill.
        """
        _require_told(actor, reason)
        with self._stores.database.write() as connection:
            lifted = self._stores.kills.lift(connection, kill, actor=actor, reason=reason)
            told = f"{lifted.version} may be served again: {reason}"
            at_s = lifted.lifted_s or lifted.at_s
            self._tell(connection, kill, _event("version.revived", at_s, lifted.service, told))
        return lifted

    def freeze(
        self, service: str, *, actor: str, reason: str, from_s: float | None = None, until_s: float | None = None
    ) -> Freeze:
        """Freeze a service, or all with "": no rollout begins, and one that goes on is paused.

        Raises:
            InvalidInput: when actor or reason is missing, or the freeze would never hold.
            NotFound: when there is no such service.
        """
        _require_told(actor, reason)
        if service != ALL and service not in self._stores.services.names():
            raise NotFound(f"there is no service {service}", hint="apply its spec first")
        with self._stores.database.write() as connection:
            made = self._stores.freezes.freeze(
                connection, service, actor=actor, reason=reason, from_s=from_s, until_s=until_s
            )
            told = f"{service or 'every service'} is frozen: {reason}"
            self._tell(connection, made.id, _event("service.frozen", made.from_s, service or "*", told))
        return made

    def thaw(self, freeze: str, *, actor: str, reason: str) -> Freeze:
        """Lift a freeze; rollouts that it paused stay so until somebody resumes them.

        Raises:
            InvalidInput: when actor or reason is missing.
            NotFound: when there is no such freeze.
        """
        _require_told(actor, reason)
        with self._stores.database.write() as connection:
            lifted = self._stores.freezes.lift(connection, freeze, actor=actor, reason=reason)
            told = f"{lifted.service or 'every service'} is no longer frozen: {reason}"
            at_s = lifted.lifted_s or lifted.from_s
            self._tell(connection, freeze, _event("service.thawed", at_s, lifted.service or "*", told))
        return lifted

    def _tell(self, connection: Connection, key: str, event: Event) -> None:
        document = event.model_dump(mode="json")
        self._stores.outbox.put(connection, key=f"{event.code}:{key}", topic=event.code, document=document)


def _event(code: str, at_s: float, service: str, message: str) -> Event:
    return Event(code=code, at_s=at_s, subject=f"service/{service}", message=message, data={"service": service})


def _require_told(actor: str, reason: str) -> None:
    for name, text in (("actor", actor), ("reason", reason)):
        if not text.strip():
            raise InvalidInput(f"{name}: is empty", hint="say who asks and why; it is recorded")
