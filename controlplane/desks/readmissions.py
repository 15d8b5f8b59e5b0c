"""Readmissions: content that was rolled back may be tried again, because somebody says so and why."""

from contracts.errors import NotFound
from contracts.ids import VersionRef
from controlplane.desks.four_eyes import require_second
from controlplane.desks.words import require_words
from controlplane.store.rollouts import RolledBack
from controlplane.store.tokens import Role
from controlplane.stores import Stores
from controlplane.telling import of_service, tell
from registry.catalogue import Catalogue


class ReadmissionDesk:
    """Lifts what the memory of rollbacks refuses, for good; ``--force`` insists on one rollout alone."""

    def __init__(self, stores: Stores, catalogue: Catalogue) -> None:
        self._stores, self._catalogue = stores, catalogue

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
        require_second(self._stores, spec, "readmit", record, actor=actor, role=role)
        with self._stores.database.write() as connection:
            past = self._stores.rollouts.readmit(connection, service, record.digest)
            if past is None:
                raise NotFound(f"the content of {record.id} is not refused in {service}", hint="start its rollout")
            at_s = self._stores.database.now_s(connection)
            self._stores.audit.write(
                connection,
                actor=actor,
                action="version.readmit",
                subject=f"version/{record.id}",
                reason=reason,
                detail={"service": service, "digest": record.digest, "rollout": past.rollout_id, "why": past.reason},
            )
            told = f"{record.id} may be tried again, which {past.rollout_id} had rolled back: {reason}"
            event = of_service("version.readmitted", at_s, service, told)
            tell(self._stores.outbox, connection, event, f"{event.code}:{service}:{past.digest}:{past.at_s!r}")
        return past
