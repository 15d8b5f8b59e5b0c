"""The embedded system: one process per folder, and a restart that takes over what was there."""

from pathlib import Path

import pytest

from contracts.errors import Conflict, InvalidInput
from contracts.ids import VersionId
from contracts.wire.routing import Endpoint, RoutingTable, ServiceRoutes
from controlplane.settings import Settings
from controlplane.wiring import embedded_system


def table(revision: int, fence: int) -> RoutingTable:
    endpoints = {"m@1": (Endpoint(replica="v1-0", url="http://127.0.0.1:9"),)}
    routes = ServiceRoutes(service="tags", champion=VersionId("m", 1), endpoints=endpoints)
    return RoutingTable(revision=revision, fence=fence, services={"tags": routes})


def test_a_restart_outranks_the_table_that_the_gateway_kept(tmp_path: Path) -> None:
    with embedded_system(Settings(tmp_path)) as system:
        first = system.world.desk.fence
        system.world.data_plane.push(table(revision=40, fence=first))
    with embedded_system(Settings(tmp_path)) as system:
        assert system.world.desk.fence > first
        system.world.data_plane.push(table(revision=1, fence=system.world.desk.fence))
        with pytest.raises(Conflict):
            system.world.data_plane.push(table(revision=41, fence=first))


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
