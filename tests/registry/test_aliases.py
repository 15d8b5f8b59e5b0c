"""Aliases on a real MLflow store: guarded, remembered, and never taken from somebody else."""

import sqlite3
import threading
from itertools import pairwise
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from contracts.errors import Conflict, NotFound, Unavailable
from contracts.ids import VersionId, VersionRef
from registry.catalogue import Registration, VersionState
from registry.mlflow_catalogue import MlflowCatalogue


def register(catalogue: MlflowCatalogue, name: str, directory: Path, n: int) -> list[VersionId]:
    return [catalogue.register(name, Registration(directory)).id for _ in range(n)]


def state(catalogue: MlflowCatalogue, version: VersionId) -> VersionState:
    return catalogue.get(VersionRef(version.model, number=version.number)).state


def test_the_history_tells_who_when_why_from_and_to(catalogue: MlflowCatalogue, model: Path) -> None:
    one, two = register(catalogue, "told", model, 2)
    catalogue.aliases.move(one, "champion", actor="ada", reason="first")
    catalogue.aliases.move(two, "champion", actor="bob", reason="better")
    catalogue.aliases.move(two, "champion", actor="bob", reason="again")
    history = catalogue.aliases.history("told", "champion")
    assert [(m.actor, m.reason, m.origin, m.target) for m in history] == [
        ("ada", "first", None, one),
        ("bob", "better", one, two),
    ]
    assert 0 < history[0].at_s <= history[1].at_s


def test_lifecycle_tags_follow_the_champion(catalogue: MlflowCatalogue, client: MlflowClient, model: Path) -> None:
    one, two = register(catalogue, "lifecycle", model, 2)
    assert client.get_model_version("lifecycle", "1").tags["validation_status"] == "pending"
    catalogue.aliases.crown(one, actor="ada")
    catalogue.aliases.crown(two, actor="ada")
    assert (state(catalogue, one), state(catalogue, two)) == (VersionState.RETIRED, VersionState.CHAMPION)
    assert catalogue.get(VersionRef("lifecycle", alias="previous")).id == one
    catalogue.aliases.undo("lifecycle", actor="ada", reason="worse")
    assert (state(catalogue, one), state(catalogue, two)) == (VersionState.CHAMPION, VersionState.ROLLED_BACK)
    assert client.get_model_version("lifecycle", "2").tags["validation_status"] == "failed"
    with pytest.raises(NotFound):
        catalogue.get(VersionRef("lifecycle", alias="previous"))
    assert catalogue.aliases.strays("lifecycle") == []


def test_a_champion_of_another_lane_is_not_retired(catalogue: MlflowCatalogue, model: Path) -> None:
    one, two = register(catalogue, "lanes", model, 2)
    catalogue.aliases.crown(one, "champion-draft", actor="ada")
    catalogue.aliases.crown(one, "champion-final", actor="ada")
    catalogue.aliases.crown(two, "champion-draft", actor="ada")
    assert state(catalogue, one) is VersionState.CHAMPION
    assert catalogue.get(VersionRef("lanes", alias="previous-draft")).id == one
    assert catalogue.get(VersionRef("lanes", alias="champion-final")).id == one


def test_who_expects_an_old_champion_is_refused(catalogue: MlflowCatalogue, model: Path) -> None:
    one, two, three = register(catalogue, "expected", model, 3)
    catalogue.aliases.move(one, "champion", actor="ada", expected=None)
    catalogue.aliases.move(two, "champion", actor="ada", expected=one)
    with pytest.raises(Conflict, match="points at expected@2, not at expected@1"):
        catalogue.aliases.move(three, "champion", actor="bob", expected=one)
    assert catalogue.get(VersionRef("expected", alias="champion")).id == two


@pytest.mark.parametrize(("choice", "ends_at"), [("adopt", 3), ("revert", 1)])
def test_a_move_by_hand_is_noticed_and_settled(
    catalogue: MlflowCatalogue, client: MlflowClient, model: Path, choice: str, ends_at: int
) -> None:
    name = f"by-hand-{choice}"
    one, two, three = register(catalogue, name, model, 3)
    catalogue.aliases.move(one, "champion", actor="ada")
    client.set_registered_model_alias(name, "champion", "3")
    with pytest.raises(Conflict, match="moved outside Roost") as refusal:
        catalogue.aliases.move(two, "champion", actor="ada")
    assert "--adopt" in refusal.value.hint
    assert "--revert" in refusal.value.hint
    assert catalogue.get(VersionRef(name, alias="champion")).id == three
    assert len(catalogue.aliases.strays(name)) == 1
    catalogue.aliases.reconcile(name, "champion", choice, actor="ada", reason="seen")  # type: ignore[arg-type]
    assert catalogue.get(VersionRef(name, alias="champion")).id == VersionId(name, ends_at)
    assert catalogue.aliases.strays(name) == []
    catalogue.aliases.move(two, "champion", actor="ada")


def test_an_alias_that_stood_before_roost_came_is_taken_into_the_history(
    catalogue: MlflowCatalogue, client: MlflowClient, model: Path
) -> None:
    one, two = register(catalogue, "older", model, 2)
    client.set_registered_model_alias("older", "champion", "1")
    assert catalogue.move_alias(two, "champion", actor="test", reason="a test") == one
    assert [move.kind for move in catalogue.aliases.history("older")] == ["adopted", "moved"]
    assert catalogue.aliases.undo("older", actor="ada", reason="back") == (two, one)


def test_a_deleted_champion_is_noticed(catalogue: MlflowCatalogue, client: MlflowClient, model: Path) -> None:
    one, two = register(catalogue, "deleted", model, 2)
    catalogue.aliases.move(one, "champion", actor="ada")
    client.delete_model_version("deleted", "1")
    assert "deleted@1, which was champion, was deleted" in catalogue.aliases.strays("deleted")[0]
    with pytest.raises(Conflict, match="was deleted"):
        catalogue.move_alias(two, "champion", actor="test", reason="a test")
    with pytest.raises(NotFound):
        catalogue.aliases.reconcile("deleted", "champion", "revert", actor="ada", reason="want it back")
    catalogue.aliases.reconcile("deleted", "champion", "adopt", actor="ada", reason="it was old")
    assert catalogue.move_alias(two, "champion", actor="test", reason="a test") is None


def test_undo_goes_back_further_each_time_and_passes_over_deleted_versions(
    catalogue: MlflowCatalogue, client: MlflowClient, model: Path
) -> None:
    one, two, three, four = register(catalogue, "undone", model, 4)
    for version in (one, two, three, four):
        catalogue.aliases.crown(version, actor="ada")
    client.delete_model_version("undone", "3")
    assert catalogue.aliases.undo("undone", actor="ada", reason="a") == (four, two)
    assert catalogue.get(VersionRef("undone", alias="previous")).id == one
    assert catalogue.aliases.undo("undone", actor="ada", reason="b") == (two, one)
    with pytest.raises(NotFound, match="no version to go back to"):
        catalogue.aliases.undo("undone", actor="ada", reason="c")
    assert catalogue.get(VersionRef("undone", alias="champion")).id == one


@pytest.mark.parametrize("took", [True, False])
def test_a_move_cut_off_in_the_middle_is_settled_by_the_next(
    catalogue: MlflowCatalogue, client: MlflowClient, model: Path, took: bool
) -> None:
    name = f"cut-off-{took}".lower()
    one, two, three = register(catalogue, name, model, 3)
    catalogue.aliases.move(one, "champion", actor="ada")
    catalogue.journal.write_move(name, "champion", "intended", one, two, actor="ada", reason="power cut")
    if took:
        client.set_registered_model_alias(name, "champion", "2")
    assert catalogue.aliases.move(three, "champion", actor="bob") == (two if took else one)
    kinds = [move.kind for move in catalogue.aliases.history(name)]
    assert kinds == ["moved", "moved" if took else "abandoned", "moved"]


def test_a_lost_race_for_a_new_alias_is_tried_again(
    catalogue: MlflowCatalogue, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = register(catalogue, "raced", model, 1)
    client = catalogue._store.client
    real, calls = client.set_registered_model_alias, list[str]()

    def lose_once(name: str, alias: str, version: str) -> None:
        calls.append(alias)
        if len(calls) == 1:
            raise MlflowException("UniqueViolation")
        real(name, alias, version)

    monkeypatch.setattr(client, "set_registered_model_alias", lose_once)
    assert catalogue.move_alias(one, "champion", actor="test", reason="a test") is None
    assert calls == ["champion", "champion"]


def test_a_store_that_fails_while_tags_are_written_is_an_error_of_the_house(
    catalogue: MlflowCatalogue, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = register(catalogue, "failing", model, 1)

    def fail(*words: str) -> None:
        raise MlflowException("the database is locked")

    with monkeypatch.context() as patch:
        patch.setattr(catalogue._store.client, "set_model_version_tag", fail)
        with pytest.raises(Unavailable):
            catalogue.move_alias(one, "champion", actor="test", reason="a test")
    # The alias did move, and asking again finds it moved.
    assert catalogue.move_alias(one, "champion", actor="test", reason="a test") == one
    assert [move.kind for move in catalogue.aliases.history("failing")] == ["moved"]


def test_eight_threads_leave_one_unbroken_history(catalogue: MlflowCatalogue, model: Path) -> None:
    versions = register(catalogue, "crowded", model, 8)
    failures: list[Exception] = []

    def work(version: VersionId) -> None:
        try:
            for _ in range(3):
                catalogue.aliases.move(version, "champion", actor=str(version))
        except Exception as error:  # noqa: BLE001 - any failure fails the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(version,)) for version in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    history = catalogue.aliases.history("crowded")
    assert not failures
    assert history[0].origin is None
    assert all(later.origin == earlier.target for earlier, later in pairwise(history))
    assert catalogue.get(VersionRef("crowded", alias="champion")).id == history[-1].target
    assert {move.target for move in history} == set(versions)


@pytest.mark.parametrize("statement", ["UPDATE moves SET actor = 'eve'", "DELETE FROM moves", "DELETE FROM pins"])
def test_the_journal_can_only_grow(catalogue: MlflowCatalogue, home: Path, model: Path, statement: str) -> None:
    (one,) = register(catalogue, "grown", model, 1)
    catalogue.move_alias(one, "challenger", actor="test", reason="a test")
    with sqlite3.connect(home / "registry.db") as database, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        database.execute(statement)
    database.close()
