"""The agenda: what is to be brought about, as the stores say it now; read once a tick."""

import json
from dataclasses import dataclass, field

from sqlalchemy import select

from contracts.errors import RoostError
from contracts.ids import VersionId
from contracts.specs.service import ServiceSpec
from controlplane.store.rollouts import StoredRollout
from controlplane.store.schema import DECISIONS, ROLLOUTS, SERVICES
from controlplane.store.services import Production
from controlplane.store.wishes import Wish
from controlplane.stores import Stores
from rollout.observation import Observation


@dataclass(frozen=True, slots=True)
class Service:
    """One service: its newest spec, and who owns its production."""

    spec: ServiceSpec
    production: Production

    @property
    def name(self) -> str:
        """What clients call."""
        return self.spec.service

    @property
    def champion(self) -> VersionId | None:
        """The version that owns production, None before there is one."""
        return VersionId.parse(self.production.champion) if self.production.champion else None

    @property
    def previous(self) -> VersionId | None:
        """The version that owned production before, None when there was none."""
        return VersionId.parse(self.production.previous) if self.production.previous else None


@dataclass(frozen=True)
class Agenda:
    """All services by name, the living rollouts by service, what people ask of them, and what can't be read."""

    services: dict[str, Service] = field(default_factory=dict)
    rollouts: dict[str, StoredRollout] = field(default_factory=dict)
    wishes: dict[str, list[Wish]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def alias_owner(self, model: str) -> str | None:
        """Return the service that a model's aliases follow: the first by name of those that the model serves."""
        return next(
            (s.name for s in self.services.values() if s.champion is not None and s.champion.model == model), None
        )


class AgendaReader:
    """Reads the agenda; a revision of a spec, and a row that nobody wrote since, is read once."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._specs: dict[tuple[str, int], ServiceSpec] = {}
        self._rows: dict[str, StoredRollout] = {}

    def read(self) -> Agenda:
        """Return the agenda.

        Raises:
            Unavailable: when the database doesn't answer.
        """
        columns = (SERVICES.c.name, SERVICES.c.revision, SERVICES.c.champion, SERVICES.c.previous)
        with self._stores.database.read() as connection:
            services = connection.execute(select(*columns, SERVICES.c.champion_since_s)).all()
            living = connection.execute(select(ROLLOUTS.c.id, ROLLOUTS.c.revision).where(~ROLLOUTS.c.ended)).all()
        agenda = Agenda(wishes=self._stores.wishes.open())
        for row in sorted(services, key=lambda row: str(row.name)):
            production = Production(row.name, row.champion, row.previous, row.champion_since_s)
            try:
                agenda.services[row.name] = Service(self.spec(row.name, row.revision), production)
            except (RoostError, ValueError) as error:
                agenda.problems[row.name] = f"the spec can't be read: {error}"
        rows = {row.id: self._row(row.id, row.revision) for row in living}
        self._rows = rows
        agenda.rollouts.update({row.service: row for row in rows.values() if not row.ended})
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

    def last_observation(self, rollout: str) -> Observation | None:
        """Return what was last written down of a rollout's traffic, None before its first decision."""
        mine = select(DECISIONS.c.body).where(DECISIONS.c.subject == rollout)
        with self._stores.database.read() as connection:
            body = connection.execute(mine.order_by(DECISIONS.c.sequence.desc()).limit(1)).scalar()
        return None if body is None else Observation.from_json(json.dumps(json.loads(body)["observation"]))

    def put(self, row: StoredRollout) -> None:
        """Take a row as it was just written."""
        self._rows[row.id] = row

    def forget(self) -> None:
        """Forget all that was read."""
        self._specs.clear()
        self._rows.clear()

    def _row(self, rollout: str, revision: int) -> StoredRollout:
        known = self._rows.get(rollout)
        return known if known is not None and known.revision == revision else self._stores.rollouts.get(rollout)
