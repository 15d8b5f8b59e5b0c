"""Readmissions: content that was rolled back may be tried again, because somebody says so and why."""

from contracts.errors import NotFound, NotPermitted
from contracts.events import Event
from contracts.ids import VersionRef
from controlplane.desks.four_eyes import why_not_alone
from controlplane.desks.registrations import find_registrars
from controlplane.desks.words import require_words
from controlplane.store.audit import Audit
from controlplane.store.rollouts import RolledBack
from controlplane.store.tokens import Role
from controlplane.stores import Stores
from registry.catalogue import Catalogue


class ReadmissionDesk:
    """Lifts what the memory of rollbacks refuses, for good; ``--force`` insists on one rollout alone."""

    def __init__(self, stores: Stores, catalogue: Catalogue) -> None:
        self._stores, self._catalogue, self._audit = stores, catalogue, Audit(stores.database)

    def list(self, service: str) -> list[RolledBack]:
        """Return the contents that a service refuses, the newest first.

        Raises:
            NotFound: when there is no such service.
        """
        self._stores.services.production(service)
        return self._stores.rollouts.refused(service)

    def readmit(self, service: str, version: VersionRef, *, actor: str, reason: str, role: Role) -> RolledBack:
        """Let a version's content be tried again in a service, and return how it had been rolled back.

        Raises:
            InvalidInput: when actor or reason is missing.
            NotFound: when there is no such service or version, or its content isn't refused there.
            NotPermitted: when four eyes ask for somebody else.
        """
        require_words(actor, reason)
        spec, record = self._stores.services.get(service).spec, self._catalogue.get(version)
        involved = find_registrars(self._stores, f"version/{record.id}").union(record.registered_by)
        why = why_not_alone(spec, "readmit", actor=actor, role=role, involved=involved)
        if why:
            raise NotPermitted(why, hint="ask another approver")
        with self._stores.database.write() as connection:
            past = self._stores.rollouts.readmit(connection, service, record.digest)
            if past is None:
                raise NotFound(f"the content of {record.id} is not refused in {service}", hint="start its rollout")
            at_s = self._stores.database.now_s(connection)
            self._audit.write(
                connection,
                actor=actor,
                action="version.readmit",
                subject=f"version/{record.id}",
                reason=reason,
                detail={"service": service, "digest": record.digest, "rollout": past.rollout_id, "why": past.reason},
            )
            told = f"{record.id} may be tried again, which {past.rollout_id} had rolled back: {reason}"
            code, subject = "version.readmitted", f"service/{service}"
            event = Event(code=code, at_s=at_s, subject=subject, message=told, data={"service": service})
            key = f"{code}:{service}:{past.digest}:{past.at_s!r}"[:200]
            self._stores.outbox.put(connection, key=key, topic=code, document=event.model_dump(mode="json"))
        return past
