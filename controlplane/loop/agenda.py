"""The agenda: what is to be brought about, as the stores say it now; read once a tick."""

import json
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property

from sqlalchemy import Connection, func, select

from contracts.errors import RoostError
from contracts.ids import VersionId
from contracts.specs.service import ServiceSpec
from controlplane.store.fleet_wishes import FleetWish
from controlplane.store.rollouts import StoredRollout
from controlplane.store.schema import DECISIONS, ROLLOUTS, SERVICES
from controlplane.store.schema import SERVICE_REVISIONS as REVISIONS
from controlplane.store.services import Production
from controlplane.store.wishes import Wish
from controlplane.stores import Stores

FEW = 8
"""More than so many rows are read at once, and not one by one."""


@dataclass(frozen=True)
class Service:
    """One service: its newest spec, and who owns its production."""

    spec: ServiceSpec
    production: Production

    @property
    def name(self) -> str:
        """What clients call."""
        return self.spec.service

    @cached_property
    def champion(self) -> VersionId | None:
        """The version that owns production, None before there is one."""
        return VersionId.parse(self.production.champion) if self.production.champion else None

    @cached_property
    def previous(self) -> VersionId | None:
        """The version that owned production before, None when there was none."""
        return VersionId.parse(self.production.previous) if self.production.previous else None


@dataclass(frozen=True)
class Agenda:
    """All services by name, the living rollouts by service, what people ask of them, and what can't be read."""

    services: dict[str, Service] = field(default_factory=dict)
    rollouts: dict[str, StoredRollout] = field(default_factory=dict)
    wishes: dict[str, list[Wish]] = field(default_factory=dict)
    fleet_wishes: list[FleetWish] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)

    def alias_owner(self, model: str) -> str | None:
        """Return the service that a model's aliases follow: the first by name of those that the model serves."""
        return self._owners.get(model)

    @cached_property
    def _owners(self) -> dict[str, str]:
        champions = [(name, one.champion) for name, one in sorted(self.services.items(), reverse=True)]
        return {champion.model: name for name, champion in champions if champion is not None}


class AgendaReader:
    """Reads the agenda; a revision of a spec, and a row that nobody wrote since, is read once."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._specs: dict[tuple[str, int], ServiceSpec] = {}
        self._rows: dict[str, StoredRollout] = {}
        self._services: dict[str, tuple[object, Service]] = {}

    def read(self) -> Agenda:
        """Return the agenda.

        Raises:
            Unavailable: when the database doesn't answer.
        """
        columns = (SERVICES.c.name, SERVICES.c.revision, SERVICES.c.champion, SERVICES.c.previous)
        with self._stores.database.read() as connection:
            services = connection.execute(select(*columns, SERVICES.c.champion_since_s)).all()
            living = connection.execute(select(ROLLOUTS.c.id, ROLLOUTS.c.revision).where(~ROLLOUTS.c.ended)).all()
            revisions = {row.id: row.revision for row in living}
            if sum((row.name, row.revision) not in self._specs for row in services) > FEW:
                self._read_specs(connection)
        agenda = Agenda(wishes=self._stores.wishes.open(), fleet_wishes=self._stores.fleet_wishes.open())
        for row in sorted(services):
            known = self._services.get(row.name)
            if known is None or known[0] != row:
                try:
                    production = Production(row.name, row.champion, row.previous, row.champion_since_s)
                    known = row, Service(self.spec(row.name, row.revision), production)
                except (RoostError, ValueError) as error:
                    agenda.problems[row.name] = f"the spec can't be read: {error}"
                    continue
                self._services[row.name] = known
            agenda.services[row.name] = known[1]
        self._rows = self._read_rows(revisions)
        agenda.rollouts.update({row.service: row for row in self._rows.values() if not row.ended})
        return agenda

    def spec(self, service: str, revision: int) -> ServiceSpec:
        """Return one revision of a service's spec.

        Raises:
            NotFound: when there is none.
        """
        known = self._specs.get((service, revision))
        if known is None:
            known = self._specs[service, revision] = self._stores.services.get(service, revision).spec
        return known

    def last_flows(self) -> dict[str, tuple[float, float | None]]:
        """Return the request rate and the newest telemetry's time as last written down, by living rollout."""
        living = select(ROLLOUTS.c.id).where(~ROLLOUTS.c.ended)
        last = (
            select(func.max(DECISIONS.c.sequence)).where(DECISIONS.c.subject.in_(living)).group_by(DECISIONS.c.subject)
        )
        with self._stores.database.read() as connection:
            rows = connection.execute(
                select(DECISIONS.c.subject, DECISIONS.c.body).where(DECISIONS.c.sequence.in_(last))
            ).all()
        seen = {row.subject: json.loads(row.body)["observation"] for row in rows}
        return {rollout: (told["request_rate"], told["newest_telemetry_s"]) for rollout, told in seen.items()}

    def put(self, row: StoredRollout) -> None:
        """Take a row as it was just written."""
        self._rows[row.id] = row

    def forget(self) -> None:
        """Forget all rows; a revision of a spec never changes."""
        self._rows.clear()

    def _read_specs(self, connection: Connection) -> None:
        """Read the newest specs of all services at once."""
        newest = (REVISIONS.c.service == SERVICES.c.name) & (REVISIONS.c.revision == SERVICES.c.revision)
        for row in connection.execute(select(REVISIONS).join(SERVICES, newest)):
            with suppress(ValueError):  # one that can't be read is asked for again by itself, and told of
                self._specs[row.service, row.revision] = ServiceSpec.model_validate_json(row.document)

    def _read_rows(self, living: dict[str, int]) -> dict[str, StoredRollout]:
        """Return the living rollouts' rows, read again where somebody wrote them since."""
        rows = {id_: row for id_, row in self._rows.items() if living.get(id_) == row.revision}
        missing = living.keys() - rows.keys()
        if len(missing) > FEW:
            return {row.id: row for row in self._stores.rollouts.living()}
        return rows | {id_: self._stores.rollouts.get(id_) for id_ in missing}
