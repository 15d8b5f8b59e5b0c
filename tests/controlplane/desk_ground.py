"""Desks on a real store with a virtual clock, for the tests of what people may ask."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sqlalchemy import Table, update

from contracts.clock import FakeClock
from contracts.ids import CHAMPION, VersionId, VersionRef
from contracts.rng import SeededRng
from contracts.specs.loading import load_service_spec
from contracts.specs.service import ServiceSpec
from controlplane.desks.readmissions import ReadmissionDesk
from controlplane.desks.rollouts import RolloutDesk
from controlplane.desks.services import ServiceDesk
from controlplane.policies import policy_of
from controlplane.store.migrate import open_store
from controlplane.store.rollouts import Step, StoredRollout
from controlplane.stores import Stores
from registry.catalogue import Registration, VersionRecord
from registry.fake_catalogue import FakeCatalogue
from rollout.machine import decide
from rollout.observation import Observation
from rollout.phases import ManualAction, ManualKind
from rollout.state import State
from tests.prepared import prepare_store

SPEC = """
service: tags
model: m
slos: {availability: {objective: 98%}}
rollout: {relative: null, steps: [{weight: 25%, hold: 1h}, {weight: 50%, hold: 1h, pause: true}]}
"""
TWO = VersionRef("m", number=2)


def spec(*, four_eyes: bool = False, objective: str = "98%") -> ServiceSpec:
    text = SPEC.replace("98%", objective)
    return load_service_spec(text + ("approval: {four_eyes: true}\n" if four_eyes else ""))


class Golden:
    """A precondition that refuses the versions that it is told to."""

    def __init__(self) -> None:
        self.faults: dict[int, str] = {}

    def why_not(self, spec: ServiceSpec, champion: VersionId, challenger: VersionRecord) -> str:
        return self.faults.get(challenger.id.number, "")


class Calendar:
    """A freeze that holds while it has a reason."""

    why = ""

    def why_frozen(self, service: str) -> str:
        return self.why


class Desks:
    """Both desks on one database, with three versions of one model of which the first is MLflow's champion."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.stores = Stores.on(open_store(prepare_store(folder / "roost.db"), self.clock), b"k" * 32, self.clock)
        self.catalogue, self.golden, self.calendar = FakeCatalogue(), Golden(), Calendar()
        for _ in range(3):
            self.catalogue.register("m", Registration(folder, registered_by=("rhea", "local")))
        self.catalogue.move_alias(VersionId("m", 1), CHAMPION, actor="test", reason="the first")
        self.services = ServiceDesk(self.stores, self.catalogue)
        self.readmissions = ReadmissionDesk(self.stores, self.catalogue)
        self.rollouts = RolloutDesk(
            self.stores,
            self.catalogue,
            self.clock,
            SeededRng(1),
            preconditions=(self.golden,),
            freeze=self.calendar,
        )

    def apply(self, wanted: ServiceSpec | None = None) -> None:
        self.services.apply(wanted or spec(), actor="eva", reason="first")

    def start(self, version: VersionRef = TWO, **changed: object) -> StoredRollout:
        told: dict[str, object] = {"actor": "eva", "reason": "faster", **changed}
        return self.rollouts.start("tags", version, **told)  # type: ignore[arg-type]

    def lead(self, change: Callable[[State], State], *, is_over: bool = False) -> None:
        """Write a state as the leader would."""
        (row,) = self.stores.rollouts.living()
        lease = self.stores.leases.acquire("leader", "a", 1000.0)
        assert lease is not None
        with self.stores.database.write() as connection:
            step = Step(row.revision, change(State.from_json(row.state)), is_over)
            self.stores.rollouts.save(connection, lease, [step])
        self.stores.leases.release(lease)

    def progress(self) -> None:
        """Let the machine bring the rollout to its first share of traffic."""
        self.clock.advance(1.0)
        seen = Observation(at_s=self.clock.now_s(), newest_telemetry_s=self.clock.now_s(), ready=True)
        self.lead(lambda state: decide(policy_of(spec()), state, seen).state)

    def spoil(self, table: Table, **columns: str) -> None:
        """Write into every row what nothing of ours would."""
        with self.stores.database.write() as connection:
            connection.execute(update(table).values(columns))

    def actions(self) -> list[str]:
        return [change.action for change in self.stores.audit.changes()]


def asked(kind: ManualKind, actor: str = "eva", **changed: object) -> ManualAction:
    return replace(ManualAction(kind, actor, "because"), **changed)  # type: ignore[arg-type]
