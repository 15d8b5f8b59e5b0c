"""The embedded system: one process per folder, and a restart that takes over what was there."""

from pathlib import Path

import pytest

from contracts.errors import Conflict, InvalidInput
from contracts.ids import VersionId
from contracts.specs.loading import load_service_spec
from contracts.wire.routing import Endpoint, RoutingTable, ServiceRoutes
from controlplane.settings import Settings
from controlplane.store.ledger import FileLedger
from controlplane.wiring import embedded_system


def table(revision: int, fence: int) -> RoutingTable:
    endpoints = {"m@1": (Endpoint(replica="v1-0", url="http://127.0.0.1:9"),)}
    routes = ServiceRoutes(service="tags", champion=VersionId("m", 1), endpoints=endpoints)
    return RoutingTable(revision=revision, fence=fence, services={"tags": routes})


SPEC = "{service: tags, model: m, slos: {availability: {objective: 99%}}}"


def test_a_new_leader_outranks_whatever_table_the_gateway_kept(tmp_path: Path) -> None:
    with embedded_system(Settings(tmp_path)) as system:
        system.stores.services.apply(load_service_spec(SPEC), actor="test", reason="to be served")
        system.world.data_plane.push(table(revision=40, fence=3))
    with embedded_system(Settings(tmp_path)) as system:
        for _ in range(5):
            system.controller.step()
        found = system.world.data_plane.table()
        assert found is not None
        assert found.fence == system.controller.snapshot().fence >= 3
        assert found.services == {}, "a service without a champion is served by nobody"
        with pytest.raises(Conflict):
            system.world.data_plane.push(table(revision=99, fence=found.fence - 1))


def test_decisions_of_a_home_that_kept_them_in_a_file_are_taken_over_once(tmp_path: Path) -> None:
    FileLedger(Settings(tmp_path).ledger, code_version="old").append(
        at_s=1.0, rollout_id="r", policy_digest="p", observation={}, decision={"phase": "pending"}
    )
    for _ in range(2):
        with embedded_system(Settings(tmp_path)) as system:
            assert [entry.rollout_id for entry in system.stores.ledger.entries()] == ["r"]
            assert system.stores.ledger.verify() == 1


def test_a_folder_has_one_process_at_a_time(tmp_path: Path) -> None:
    with (
        embedded_system(Settings(tmp_path)),
        pytest.raises(Conflict, match="another process"),
        embedded_system(Settings(tmp_path)),
    ):
        pass


def test_a_folder_that_can_not_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="home"), embedded_system(Settings(tmp_path / "file" / "home")):
        pass
