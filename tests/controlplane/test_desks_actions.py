"""The desk of rollouts: what may be done with one that lives, by whom, and who must not have had a part in it."""

from dataclasses import replace
from pathlib import Path

import pytest

from contracts.errors import InvalidInput, NotPermitted, RoostError
from contracts.ids import VersionId
from controlplane.desks.registrations import open_registrations
from controlplane.policies import policy_of
from controlplane.settings import Settings
from controlplane.store.tokens import Role
from rollout.machine import decide
from rollout.observation import Observation
from rollout.phases import ManualAction, ManualKind, Phase
from tests.controlplane.desk_ground import Desks, asked, spec


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
