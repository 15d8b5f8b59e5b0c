"""The desks: what people may ask of services and rollouts, what is refused and why; nothing half-done stays."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import Conflict, InvalidInput, NotFound, NotPermitted, RoostError
from contracts.ids import CHAMPION, VersionRef
from contracts.specs.loading import load_service_spec
from controlplane.store.audit import Audit
from controlplane.store.schema import ROLLOUTS
from controlplane.store.tokens import Role
from registry.catalogue import Registration
from rollout.phases import ManualKind, Phase
from rollout.state import State
from tests.controlplane.desk_ground import SPEC, TWO, Desks, asked, spec


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
