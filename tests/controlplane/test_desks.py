"""The desks: what people may ask of services and rollouts, what is refused and why; nothing half-done stays."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, update

from contracts.clock import FakeClock
from contracts.errors import Conflict, InvalidInput, NotFound, NotPermitted, RoostError
from contracts.ids import CHAMPION, VersionId, VersionRef
from contracts.rng import SeededRng
from contracts.specs.loading import load_service_spec
from contracts.specs.service import ServiceSpec
from controlplane.desks.readmissions import ReadmissionDesk
from controlplane.desks.registrations import open_registrations
from controlplane.desks.rollouts import RolloutDesk
from controlplane.desks.services import ServiceDesk
from controlplane.policies import policy_of
from controlplane.settings import Settings
from controlplane.store.audit import Audit
from controlplane.store.migrate import open_store
from controlplane.store.rollouts import Step, StoredRollout
from controlplane.store.schema import ROLLOUTS
from controlplane.store.tokens import Role
from controlplane.stores import Stores
from registry.catalogue import Registration, VersionRecord
from registry.fake_catalogue import FakeCatalogue
from rollout.machine import decide
from rollout.observation import Observation
from rollout.phases import ManualAction, ManualKind, Phase
from rollout.state import State

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
        self.stores = Stores.on(open_store(f"sqlite:///{folder / 'roost.db'}", self.clock), b"k" * 32, self.clock)
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


@pytest.fixture
def desks(tmp_path: Path) -> Iterator[Desks]:
    made = Desks(tmp_path)
    yield made
    made.stores.close()


def asked(kind: ManualKind, actor: str = "eva", **changed: object) -> ManualAction:
    return replace(ManualAction(kind, actor, "because"), **changed)  # type: ignore[arg-type]


def test_the_first_champion_is_the_one_that_mlflow_names(desks: Desks) -> None:
    desks.apply()
    view = desks.services.show("tags")
    assert view.production.champion == "m@1"
    assert view.note == ""
    assert desks.actions() == ["service.apply", "service.crown"]


def test_the_first_champion_is_crowned_with_the_spec_and_written_down_or_nothing_is(
    desks: Desks, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Audit.write

    def die_at_the_crown(audit: Audit, *words: Any, **told: Any) -> None:
        if told["action"] == "service.crown":
            raise RuntimeError("killed")
        write(audit, *words, **told)

    monkeypatch.setattr(Audit, "write", die_at_the_crown)
    with pytest.raises(RuntimeError):
        desks.apply()
    assert desks.services.list() == []
    assert desks.actions() == []


def test_the_first_champion_is_the_one_that_is_named(desks: Desks) -> None:
    desks.services.apply(spec(), actor="eva", reason="", champion=TWO)
    assert desks.services.show("tags").production.champion == "m@2"


def test_a_service_without_a_champion_says_so_and_rolls_nothing_out(desks: Desks) -> None:
    desks.catalogue.aliases.clear()
    desks.apply()
    assert "no champion" in desks.services.show("tags").note
    with pytest.raises(NotPermitted, match="no champion"):
        desks.start()


def test_applying_again_changes_nothing_and_crowns_nobody_else(desks: Desks) -> None:
    desks.apply()
    desks.apply()
    assert desks.services.show("tags").revision.revision == 1
    with pytest.raises(Conflict, match="serves m@1"):
        desks.services.apply(spec(), actor="eva", reason="", champion=TWO)
    with pytest.raises(Conflict, match="revision 1, not 7"):
        desks.services.apply(spec(objective="97%"), actor="eva", reason="", expected=7)
    assert desks.services.show("tags").production.champion == "m@1"


@pytest.mark.parametrize(
    ("champion", "text", "error", "words"),
    [
        (VersionRef("m", number=9), SPEC, NotFound, "m@9"),
        (VersionRef("other", number=1), SPEC, InvalidInput, "other@1"),
        (None, SPEC.replace("model: m", "model: nobody"), NotFound, "nobody"),
    ],
)
def test_a_spec_that_refers_to_what_is_not_there_leaves_nothing(
    desks: Desks, champion: VersionRef | None, text: str, error: type[RoostError], words: str
) -> None:
    with pytest.raises(error, match=words):
        desks.services.apply(load_service_spec(text), actor="eva", reason="", champion=champion)
    assert desks.services.list() == []
    assert desks.actions() == []


def test_a_dry_run_tells_each_value_that_changes(desks: Desks) -> None:
    assert desks.services.preview(spec()).before == 0
    desks.apply()
    preview = desks.services.preview(spec(objective="97%"))
    assert [(c.path, c.before, c.after) for c in preview.changes] == [("slos.availability.objective", 0.98, 0.97)]
    assert (preview.before, preview.after, preview.crowned) == (1, 2, False)
    assert desks.services.diff(spec()) == ()
    assert desks.services.show("tags").revision.revision == 1


def test_a_model_is_not_changed_under_its_champion(desks: Desks) -> None:
    desks.apply()
    desks.catalogue.register("n", Registration(Path()))
    with pytest.raises(InvalidInput, match="not a version of n"):
        desks.services.apply(load_service_spec(SPEC.replace("model: m", "model: n")), actor="eva", reason="")


def test_a_rollout_is_written_with_who_asked_and_why(desks: Desks) -> None:
    desks.apply()
    row = desks.start()
    assert (row.champion, row.challenger, row.phase, row.actor, row.reason) == (
        "m@1",
        "m@2",
        "pending",
        "eva",
        "faster",
    )
    change = desks.stores.audit.changes(f"rollout/{row.id}")[0]
    assert (change.action, change.actor, change.reason) == ("rollout.start", "eva", "faster")


def test_two_rollouts_at_once_are_refused_by_name(desks: Desks) -> None:
    desks.apply()
    first = desks.start()
    with pytest.raises(Conflict, match=first.id):
        desks.start(VersionRef("m", number=3))


@pytest.mark.parametrize(
    ("service", "version", "changed", "error", "words"),
    [
        ("tags", VersionRef("m", number=9), {}, NotFound, "m@9"),
        ("nobody", TWO, {}, NotFound, "nobody"),
        ("tags", VersionRef("m", alias=CHAMPION), {}, InvalidInput, "m@1 is the champion"),
        ("tags", VersionRef("n", number=1), {}, InvalidInput, "n@1"),
        ("tags", TWO, {"reason": " "}, InvalidInput, "reason"),
        ("tags", TWO, {"actor": ""}, InvalidInput, "actor"),
    ],
)
def test_a_start_that_can_not_be_leaves_nothing(
    desks: Desks,
    service: str,
    version: VersionRef,
    changed: dict[str, str],
    error: type[RoostError],
    words: str,
) -> None:
    desks.apply()
    told = {"actor": "eva", "reason": "faster", **changed}
    with pytest.raises(error, match=words):
        desks.rollouts.start(service, version, **told)  # type: ignore[arg-type]
    assert desks.stores.rollouts.living() == []
    assert "rollout.start" not in desks.actions()


def test_rolled_back_content_needs_force(desks: Desks) -> None:
    desks.apply()
    row = desks.start()
    with desks.stores.database.write() as connection:
        desks.stores.rollouts.remember(connection, row, row.digest, "2 % more errors")
    desks.lead(lambda state: replace(state, phase=Phase.ROLLED_BACK), is_over=True)
    with pytest.raises(NotPermitted, match="2 % more errors"):
        desks.start()
    assert desks.start(force=True).forced


def test_rolled_back_content_is_readmitted_for_good_by_somebody_with_a_reason(desks: Desks) -> None:
    desks.apply()
    row = desks.start()
    with desks.stores.database.write() as connection:
        desks.stores.rollouts.remember(connection, row, row.digest, "2 % more errors")
    desks.lead(lambda state: replace(state, phase=Phase.ROLLED_BACK), is_over=True)
    assert [past.rollout_id for past in desks.readmissions.list("tags")] == [row.id]
    told: dict[str, Any] = {"actor": "mia", "role": Role.OPERATOR}
    with pytest.raises(InvalidInput, match="reason"):
        desks.readmissions.readmit("tags", TWO, reason=" ", **told)
    past = desks.readmissions.readmit("tags", TWO, reason="the load generator was at fault", **told)
    assert (past.rollout_id, past.reason) == (row.id, "2 % more errors")
    assert not desks.start().forced
    assert desks.readmissions.list("tags") == []
    change = desks.stores.audit.changes("version/m@2")[-1]
    assert (change.action, change.actor, change.reason) == ("version.readmit", "mia", "the load generator was at fault")
    assert change.detail["why"] == "2 % more errors"
    with pytest.raises(NotFound, match="is not refused"):
        desks.readmissions.readmit("tags", TWO, reason="again", **told)


def test_with_four_eyes_an_approver_readmits(desks: Desks) -> None:
    desks.apply(spec(four_eyes=True))
    row = desks.start()
    with desks.stores.database.write() as connection:
        desks.stores.rollouts.remember(connection, row, row.digest, "2 % more errors")
    with pytest.raises(NotPermitted, match="needs an approver"):
        desks.readmissions.readmit("tags", TWO, actor="eva", reason="x", role=Role.OPERATOR)
    desks.readmissions.readmit("tags", TWO, actor="mia", reason="x", role=Role.APPROVER)


def test_a_precondition_refuses_before_traffic_unless_forced(desks: Desks) -> None:
    desks.apply()
    desks.golden.faults[2] = "7 of 8 golden prompts are black"
    with pytest.raises(NotPermitted, match="golden prompts are black"):
        desks.start()
    assert desks.start(force=True).forced


def test_a_freeze_is_not_lifted_by_force(desks: Desks) -> None:
    desks.apply()
    desks.calendar.why = "until Monday: holidays"
    for force in (False, True):
        with pytest.raises(NotPermitted, match="holidays"):
            desks.start(force=force)


def test_a_version_that_was_stopped_is_not_started_even_by_force(desks: Desks) -> None:
    desks.apply()
    with desks.stores.database.write() as connection:
        desks.stores.kills.kill(connection, "tags", "m@2", actor="mia", reason="draws faces")
    for force in (False, True):
        with pytest.raises(NotPermitted, match="draws faces"):
            desks.start(force=force)
    assert desks.start(VersionRef("m", number=3)).challenger == "m@3"


def unreadable_state(desks: Desks) -> None:
    desks.spoil(ROLLOUTS, state='{"schema": 99}')


def another_policy(desks: Desks) -> None:
    state = State.from_json(desks.stores.rollouts.living()[0].state)
    desks.spoil(ROLLOUTS, state=replace(state, policy_digest="0" * 64).to_json())


@pytest.mark.parametrize("spoil", [unreadable_state, another_policy])
def test_a_rollout_that_can_not_be_gone_on_with_is_ended_by_hand(desks: Desks, spoil: Callable[[Desks], None]) -> None:
    desks.apply()
    row = desks.start()
    desks.progress()
    spoil(desks)
    offers = {offer.name: offer for offer in desks.rollouts.offers(row.id)}
    assert [name for name, offer in offers.items() if offer.allowed] == ["abort"]
    assert "all traffic goes to m@1" in offers["abort"].effect
    assert "can't be gone on with" in offers["pause"].why_not
    with pytest.raises(NotPermitted, match=r"pause of .* can't be gone on with"):
        desks.rollouts.act(row.id, asked(ManualKind.PAUSE))
    with pytest.raises(NotPermitted, match="needs an operator"):
        desks.rollouts.act(row.id, asked(ManualKind.ABORT), role=Role.VIEWER)
    wish = desks.rollouts.act(row.id, asked(ManualKind.ABORT))
    assert wish.met_s is not None
    view = desks.rollouts.show(row.id)
    assert (view.row.phase, view.row.ended) == ("aborted", True)
    assert desks.actions()[-1] == "rollout.abort"
    (message,) = [one for one in desks.stores.outbox.take() if one.topic == "rollout.aborted"]
    assert "eva ended" in message.document["message"]
    with pytest.raises(NotPermitted, match="ended"):
        desks.rollouts.act(row.id, asked(ManualKind.ABORT))
    assert desks.start(VersionRef("m", number=3)).challenger == "m@3"


def test_offers_tell_effects_in_numbers(desks: Desks) -> None:
    desks.apply()
    row = desks.start()
    desks.progress()
    offers = {offer.name: offer for offer in desks.rollouts.offers(row.id)}
    assert "25 % of traffic returns to m@1 within about 2s" in offers["abort"].effect.replace("\u2009", " ")
    assert "from 25 % to 50 % of traffic" in offers["promote-step"].effect.replace("\u2009", " ")
    assert not offers["resume"].allowed
    assert "not while progressing" in offers["resume"].why_not
    assert not offers["promote-all"].allowed
    assert "availability" in offers["promote-all"].why_not
    assert all(offer.effect if offer.allowed else offer.why_not for offer in offers.values())


def test_a_viewer_is_offered_nothing(desks: Desks) -> None:
    desks.apply()
    row = desks.start()
    offers = desks.rollouts.offers(row.id, actor="mia", role=Role.VIEWER)
    assert [offer.name for offer in offers if offer.allowed] == []
    assert {offer.name: offer.why_not for offer in offers}["abort"] == "this needs an operator"
    with pytest.raises(NotPermitted, match="needs an operator"):
        desks.rollouts.act(row.id, asked(ManualKind.ABORT, "mia"), role=Role.VIEWER)


def test_an_action_is_kept_for_the_leader_and_audited(desks: Desks) -> None:
    desks.apply()
    row = desks.start()
    desks.progress()
    wish = desks.rollouts.act(row.id, asked(ManualKind.PAUSE))
    assert desks.stores.wishes.open()[row.id] == [wish]
    assert desks.actions()[-1] == "rollout.pause"


@pytest.mark.parametrize(
    ("action", "error", "words"),
    [
        (asked(ManualKind.RESUME), NotPermitted, "not while progressing"),
        (asked(ManualKind.PROMOTE_ALL), NotPermitted, "not proven safe"),
        (asked(ManualKind.OVERRIDE, gates=("nonsense",)), NotPermitted, "nonsense"),
        (asked(ManualKind.ABORT, reason=""), InvalidInput, "reason"),
    ],
)
def test_an_action_that_is_refused_leaves_no_wish(
    desks: Desks, action: ManualAction, error: type[RoostError], words: str
) -> None:
    desks.apply()
    row = desks.start()
    desks.progress()
    with pytest.raises(error, match=words):
        desks.rollouts.act(row.id, action)
    assert desks.stores.wishes.open() == {}


def test_an_ended_rollout_takes_no_action(desks: Desks) -> None:
    desks.apply()
    row = desks.start()
    desks.lead(lambda state: replace(state, phase=Phase.ABORTED), is_over=True)
    with pytest.raises(NotPermitted, match="has ended"):
        desks.rollouts.act(row.id, asked(ManualKind.ABORT))
    assert not any(offer.allowed for offer in desks.rollouts.offers(row.id))


@pytest.mark.parametrize(
    ("actor", "role", "why"),
    [
        ("eva", Role.ADMIN, "another approver"),
        ("tom", Role.ADMIN, "another approver"),
        ("rhea", Role.ADMIN, "another approver"),
        ("local", Role.ADMIN, "another approver"),
        ("mia", Role.OPERATOR, "needs an approver"),
        ("mia", Role.APPROVER, ""),
    ],
)
def test_four_eyes_ask_for_an_approver_who_had_no_part(desks: Desks, actor: str, role: Role, why: str) -> None:
    desks.apply(spec(four_eyes=True))
    with desks.stores.database.write() as connection:
        told = {"actor": "tom", "action": "version.register", "subject": "version/m@2", "reason": ""}
        desks.stores.audit.write(connection, **told)  # type: ignore[arg-type]
    row = desks.start()
    desks.progress()
    action = asked(ManualKind.PROMOTE_STEP, actor)
    if why:
        with pytest.raises(NotPermitted, match=why):
            desks.rollouts.act(row.id, action, role=role)
    else:
        desks.rollouts.act(row.id, action, role=role)
    offered = {offer.name: offer for offer in desks.rollouts.offers(row.id, actor=actor, role=role)}
    assert offered["promote-step"].allowed == (not why)
    assert offered["abort"].allowed


def test_who_registers_at_this_machine_can_not_approve_under_any_of_their_names(
    desks: Desks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROOST_DATABASE_URL", f"sqlite:///{tmp_path / 'roost.db'}")
    settings = Settings(tmp_path / "home")
    settings.token_key.parent.mkdir(parents=True)
    settings.token_key.write_bytes(b"k" * 32)
    settings.token_key.chmod(0o600)
    _, token = desks.stores.tokens.create("zoe", Role.APPROVER, actor="admin", reason="her own")
    monkeypatch.setenv("ROOST_TOKEN", token)
    with open_registrations(settings, "ada") as desk:
        assert desk.names == ("ada", "zoe")
        desk.write(VersionId("m", 2), f"sha256:{2:064x}", reason="faster")
    (told,) = desks.stores.audit.changes("version/m@2")
    assert (told.actor, told.action, told.detail["names"]) == ("ada", "version.register", ["ada", "zoe"])
    desks.apply(spec(four_eyes=True))
    for name in ("ada", "zoe"):
        with pytest.raises(NotPermitted, match="had a part"):
            desks.start(actor=name, role=Role.APPROVER, force=True)
    row = desks.start(force=True, actor="mia", role=Role.APPROVER)
    desks.progress()
    for name in ("ada", "zoe", "rhea"):
        with pytest.raises(NotPermitted, match="had a part"):
            desks.rollouts.act(row.id, asked(ManualKind.PROMOTE_STEP, name), role=Role.APPROVER)
    desks.rollouts.act(row.id, asked(ManualKind.PROMOTE_STEP, "max"), role=Role.APPROVER)


def test_nobody_registers_under_a_name_of_the_control_planes_own(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="control plane's own"), open_registrations(Settings(tmp_path), "guard/x"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_four_eyes_hold_for_a_step_that_waits_for_a_person(desks: Desks) -> None:
    desks.apply(spec(four_eyes=True))
    row = desks.start()
    desks.progress()
    for _ in range(3):
        desks.clock.advance(3601.0)
        seen = Observation(at_s=desks.clock.now_s(), newest_telemetry_s=desks.clock.now_s(), weight_applied=0.25)
        desks.lead(lambda state, seen=seen: decide(policy_of(spec()), state, seen).state)  # type: ignore[misc]
    assert desks.stores.rollouts.get(row.id).phase == "paused"
    with pytest.raises(NotPermitted, match="resume needs an approver"):
        desks.rollouts.act(row.id, asked(ManualKind.RESUME, "mia"))
    desks.rollouts.act(row.id, asked(ManualKind.RESUME, "mia"), role=Role.APPROVER)


def test_four_eyes_hold_for_force_and_are_not_taken_away_by_an_operator(desks: Desks) -> None:
    desks.apply(spec(four_eyes=True))
    with pytest.raises(NotPermitted, match="force needs an approver"):
        desks.start(force=True)
    with pytest.raises(NotPermitted, match="four_eyes"):
        desks.apply(spec())
    desks.services.apply(spec(), actor="mia", reason="one team", role=Role.APPROVER)
