"""Services as they were applied: every revision with its digest, and who applied it when and why."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from contracts.errors import Conflict, InvalidInput, NotFound
from contracts.specs.service import ServiceSpec
from controlplane.store.audit import Audit
from controlplane.store.database import Database, insert_new
from controlplane.store.documents import canonical, digest_of
from controlplane.store.schema import SERVICE_REVISIONS as REVISIONS
from controlplane.store.schema import SERVICES


@dataclass(frozen=True, slots=True)
class ServiceRevision:
    """One revision of a service's spec; revisions count from 1."""

    service: str
    revision: int
    digest: str
    spec: ServiceSpec
    at_s: float
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class Production:
    """Which version owns a service's production, the one before it, and since when; None before there was one."""

    service: str
    champion: str | None
    previous: str | None
    since_s: float | None


class Services:
    """The services of one database."""

    def __init__(self, database: Database) -> None:
        self._database, self._audit = database, Audit(database)

    def apply(
        self, spec: ServiceSpec, *, actor: str, reason: str, expected: int | None = None, champion: str | None = None
    ) -> ServiceRevision:
        """Make ``spec`` the newest revision of its service; applied again, it is the revision that is there.

        ``expected`` is the revision that the caller has seen, 0 for none: applied on another it is refused.
        ``champion`` is crowned with it, as the first one that the service has: both are written, or neither.

        Raises:
            InvalidInput: when nobody is named.
            Conflict: when somebody else applied another revision, or another champion was crowned, meanwhile.
        """
        if not actor:
            raise InvalidInput("actor: nobody is named", hint="say who applies the spec")
        document = canonical(spec.model_dump(mode="json"))
        digest, name = digest_of(document), spec.service
        with self._database.write() as connection:
            insert_new(connection, SERVICES, {"name": name, "revision": 0, "digest": ""})
            there = connection.execute(select(SERVICES).where(SERVICES.c.name == name).with_for_update()).one()
            if there.digest != digest:
                if expected is not None and there.revision != expected:
                    raise Conflict(
                        f"service {name} has revision {there.revision}, not {expected}",
                        hint="look at what changed, then apply again",
                    )
                told = {"actor": actor, "reason": reason}
                number = {"revision": there.revision + 1, "digest": digest}
                at_s = self._database.now_s(connection)
                connection.execute(update(SERVICES).where(SERVICES.c.name == name).values(number))
                connection.execute(
                    insert(REVISIONS).values(service=name, document=document, at_s=at_s, **number, **told)
                )
                self._audit.write(connection, action="service.apply", subject=f"service/{name}", detail=number, **told)
            if champion is not None:
                self._crown_first(connection, name, champion, actor=actor, reason=reason)
            return self._newest(connection, name)

    def get(self, service: str, revision: int | None = None) -> ServiceRevision:
        """Return one revision of a service, by default the newest.

        Raises:
            NotFound: when there is none.
        """
        with self._database.read() as connection:
            if revision is None:
                return self._newest(connection, service)
            wanted = (REVISIONS.c.service == service) & (REVISIONS.c.revision == revision)
            row = connection.execute(select(REVISIONS).where(wanted)).one_or_none()
        if row is None:
            raise NotFound(f"service {service} has no revision {revision}")
        return _read(row)

    def names(self) -> list[str]:
        """Return the names of all services."""
        with self._database.read() as connection:
            return [row.name for row in connection.execute(select(SERVICES.c.name).order_by(SERVICES.c.name))]

    def history(self, service: str) -> list[ServiceRevision]:
        """Return all revisions of a service, the newest first.

        Raises:
            NotFound: when there is no such service.
        """
        wanted = select(REVISIONS).where(REVISIONS.c.service == service).order_by(REVISIONS.c.revision.desc())
        with self._database.read() as connection:
            rows = connection.execute(wanted).all()
        if not rows:
            raise _no_service(service)
        return [_read(row) for row in rows]

    def production(self, service: str) -> Production:
        """Return which version owns a service's production.

        Raises:
            NotFound: when there is no such service.
        """
        with self._database.read() as connection:
            row = connection.execute(select(SERVICES).where(SERVICES.c.name == service)).one_or_none()
        if row is None:
            raise _no_service(service)
        return Production(row.name, row.champion, row.previous, row.champion_since_s)

    def productions(self) -> list[Production]:
        """Return which version owns each service's production, by name."""
        with self._database.read() as connection:
            rows = connection.execute(select(SERVICES).order_by(SERVICES.c.name)).all()
        return [Production(row.name, row.champion, row.previous, row.champion_since_s) for row in rows]

    def crown(self, connection: Connection, service: str, champion: str) -> Production:
        """Make a version a service's champion, in the transaction of what decided it; the one before is kept.

        Raises:
            NotFound: when there is no such service.
        """
        there = connection.execute(select(SERVICES).where(SERVICES.c.name == service).with_for_update()).one_or_none()
        if there is None:
            raise _no_service(service)
        if there.champion == champion:
            return Production(service, there.champion, there.previous, there.champion_since_s)
        at_s = self._database.now_s(connection)
        now = {"champion": champion, "previous": there.champion, "champion_since_s": at_s}
        connection.execute(update(SERVICES).where(SERVICES.c.name == service).values(now))
        return Production(service, champion, there.champion, at_s)

    def _crown_first(self, connection: Connection, service: str, champion: str, *, actor: str, reason: str) -> None:
        before = connection.execute(select(SERVICES.c.champion).where(SERVICES.c.name == service)).scalar_one()
        if before == champion:
            return
        if before is not None:
            raise Conflict(f"service {service} has got another champion meanwhile: {before}", hint="look at it again")
        self.crown(connection, service, champion)
        subject, detail = f"service/{service}", {"champion": champion}
        self._audit.write(
            connection, actor=actor, action="service.crown", subject=subject, reason=reason, detail=detail
        )

    @staticmethod
    def _newest(connection: Connection, service: str) -> ServiceRevision:
        newest = select(REVISIONS).where(REVISIONS.c.service == service).order_by(REVISIONS.c.revision.desc()).limit(1)
        row = connection.execute(newest).one_or_none()
        if row is None:
            raise _no_service(service)
        return _read(row)


def _read(row: Row[Any]) -> ServiceRevision:
    spec = ServiceSpec.model_validate_json(row.document)
    return ServiceRevision(row.service, row.revision, row.digest, spec, row.at_s, row.actor, row.reason)


def _no_service(service: str) -> NotFound:
    return NotFound(f"there is no service {service}", hint="apply its spec first")
