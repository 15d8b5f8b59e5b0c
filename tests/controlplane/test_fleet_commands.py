"""``roost fleet`` and ``roost service kill|revive`` over real HTTP: the API, its desks, a leader and a fake fleet."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from contracts.ids import VersionId
from contracts.wire.capacity import ServingPlan, WorkerLimits
from controlplane.cli import main as cli
from controlplane.loop.outlook import Outlook
from controlplane.store.tokens import Role
from serving.fleet.fake import FakeFleet
from serving.fleet.port import FleetState
from tests.api.ground import Ground
from tests.controlplane.conftest import Bench

FIRST, SECOND, THIRD = (VersionId("m", number) for number in (1, 2, 3))
MIB = 1 << 20


class ColdFleet(FakeFleet):
    """A fleet that has seen how long one version takes to load."""

    def observe(self) -> FleetState:
        return replace(super().observe(), cold_start_s={f"sha256:{SECOND.number:064x}": 14.2})


class Plane(Bench):
    """The bench with its API, on a fleet of 1 GiB in which a worker takes 400 MiB."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, memory_budget_bytes=1 << 30)
        self.fleet = ColdFleet()
        self.world = replace(self.world, fleet=self.fleet)
        self.ground = Ground(folder / "ground")
        plan = ServingPlan(limits=WorkerLimits(memory_limit_bytes=400 * MIB))
        for version in (self.champion, self.challenger, self.register()):
            records = self.catalogue._records
            records[version] = replace(records[version], serving={"cpu": plan})
        self.controller = self.control()
        self.ground.context.stores, self.ground.context.catalogue = self.stores, self.catalogue  # type: ignore[assignment]
        self.ground.context.outlook = Outlook(self.stores, self.world, self.controller.snapshot)
        self.ground.context.clock = self.clock
        self.ground.context.__post_init__()
        self.ground.context.home.workers.observe = self.fleet.observe
        self.url = ""

    def register(self) -> VersionId:
        from registry.catalogue import Registration

        return self.catalogue.register("m", Registration(self.folder)).id

    def token(self, role: Role) -> str:
        return self.stores.tokens.create(role.value, role, actor="test", reason="for a test")[1]


@pytest.fixture
def plane(tmp_path: Path, warm_up_calls: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Plane]:
    made = Plane(tmp_path)
    server = uvicorn.Server(
        uvicorn.Config(made.ground.app, interface="asgi3", port=0, log_level="error", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    made.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    monkeypatch.setenv("ROOST_SERVER", made.url)
    monkeypatch.setenv("ROOST_TOKEN", made.token(Role.OPERATOR))
    made.ticks(3)
    yield made
    server.should_exit = True
    thread.join()
    made.ground.close()
    made.close()


Roost = Callable[..., tuple[int, str, str]]


@pytest.fixture
def roost(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Roost:
    """Run the command line in this process; returns its exit status, what it printed, and what it noted."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["roost", *words])
        status = 0
        try:
            cli.main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


def changes(plane: Plane, version: VersionId) -> list[tuple[str, str, str]]:
    """Who did what to a version, and why."""
    return [(one.actor, one.action, one.reason) for one in plane.stores.audit.changes(f"version/{version}")]


def test_a_warm_version_is_loaded_kept_and_let_go_in_time(plane: Plane, roost: Roost) -> None:
    status, out, _ = roost("fleet", "warm", "m@2", "--for", "10m", "--dry-run")
    assert (status, plane.stores.fleet_wishes.open()) == (0, [])
    assert "m@2 is loaded (about 14s) and holds 400 MiB" in out
    status, out, _ = roost("fleet", "warm", "m@2", "--for", "1m", "-m", "a revert must not wait")
    assert status == 0
    assert "none has to wait for it" in out
    plane.ticks(2)
    assert set(plane.fleet.running) == {FIRST, SECOND}
    assert plane.traffic.table is not None
    assert set(plane.traffic.table.services["tags"].endpoints) == {"m@1"}, "no traffic goes to it"
    status, _, err = roost("fleet", "get")
    assert "warm      m@2 until" in err
    assert ("operator", "fleet.warm", "a revert must not wait") in changes(plane, SECOND)
    plane.ticks(60)
    assert set(plane.fleet.running) == {FIRST}
    assert plane.stores.fleet_wishes.open() == []


def test_a_warm_version_is_let_go_by_hand(plane: Plane, roost: Roost) -> None:
    assert roost("fleet", "warm", "m@2", "-m", "for a drill")[0] == 0
    plane.ticks(2)
    assert roost("fleet", "warm", "m@2", "--stop", "-m", "the drill is over")[0] == 0
    plane.ticks(2)
    assert set(plane.fleet.running) == {FIRST}
    status, _, err = roost("fleet", "warm", "m@2", "--stop", "-m", "again")
    assert status == 3
    assert "nobody keeps m@2 warm" in err


def test_a_version_without_room_is_refused_and_nothing_is_written(plane: Plane, roost: Roost) -> None:
    assert roost("fleet", "warm", "m@2", "-m", "first")[0] == 0
    plane.ticks(2)
    status, _, err = roost("fleet", "warm", "m@3", "-m", "one too many")
    assert status == 4
    assert "m@3 needs 400 MiB, and 224 MiB of 1 GiB are left" in err
    assert {wish.version for wish in plane.stores.fleet_wishes.open()} == {SECOND}
    assert roost("fleet", "warm", "m@9", "-m", "there is none")[0] == 3
    assert roost("fleet", "warm", "m@2", "--for", "30d", "-m", "too long")[0] == 2


def test_a_rollout_waits_for_the_warm_pool_and_says_so(plane: Plane, roost: Roost) -> None:
    assert roost("fleet", "warm", "m@3", "--for", "30s", "-m", "a drill")[0] == 0
    plane.ticks(2)
    status, out, _ = roost("rollout", "start", "m@2", "-m", "smaller", "--json")
    assert status == 0
    assert "it waits for m@3, warm until" in json.loads(out)["headroom"]
    plane.ticks(5)
    assert set(plane.fleet.running) == {FIRST, THIRD}
    plane.ticks(30)
    assert SECOND in plane.fleet.running


def test_a_replica_is_drained_and_replaced(plane: Plane, roost: Roost) -> None:
    (before,) = plane.fleet.observe().replicas
    status, out, _ = roost("fleet", "drain", "v1-0", "--dry-run")
    assert status == 0
    assert out.startswith("another worker of m@1 is started first")
    status, _, _ = roost("fleet", "drain", "m@1/v1-0", "-m", "it leaks", "--yes")
    assert status == 0
    plane.ticks(2)
    (after,) = plane.fleet.observe().replicas
    assert after.process != before.process
    assert ("operator", "fleet.drain", "it leaks") in changes(plane, FIRST)
    plane.ticks(2)
    assert plane.stores.fleet_wishes.open() == [], "a drain that is done is not done again"
    assert plane.fleet.observe().replicas == (after,)


def test_the_only_worker_is_not_drained_where_no_other_fits(plane: Plane, roost: Roost) -> None:
    assert roost("fleet", "warm", "m@2", "-m", "takes the rest")[0] == 0
    plane.ticks(2)
    status, _, err = roost("fleet", "drain", "m@1/v1-0", "-m", "it leaks", "--yes")
    assert status == 4
    assert "v1-0 is the only worker of m@1 that answers, and another of 400 MiB does not fit beside it" in err
    assert roost("fleet", "drain", "v9-0", "-m", "which?", "--yes")[0] == 3


def test_a_machine_is_drained_worker_by_worker(plane: Plane, roost: Roost) -> None:
    node = plane.ground.context.fleet.node
    before = {replica.process for replica in plane.fleet.observe().replicas}
    status, out, _ = roost("fleet", "drain", node, "-m", "new settings", "--yes")
    assert status == 0
    assert f"{node} is the fleet's only machine: its 1 workers are replaced" in out
    plane.ticks(2)
    assert before.isdisjoint(replica.process for replica in plane.fleet.observe().replicas)


def test_a_viewer_is_told_why_not(plane: Plane, roost: Roost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOST_TOKEN", plane.token(Role.VIEWER))
    assert roost("fleet", "warm", "m@2", "-m", "may I")[0] == 4
    assert roost("fleet", "drain", "v1-0", "-m", "may I", "--yes")[0] == 4
    status, out, _ = roost("fleet", "get", "--json")
    assert status == 0
    (replica,) = json.loads(out)
    assert replica["actions"] == [
        {"name": "drain", "allowed": False, "why_not": "this needs an operator", "effect": ""}
    ]


def crown(plane: Plane, *versions: VersionId) -> None:
    for version in versions:
        plane.crown(version)


def test_a_kill_of_a_champion_tells_how_long_nobody_is_served_and_what_avoids_that(plane: Plane, roost: Roost) -> None:
    crown(plane, SECOND, FIRST)  # m@2 came before
    status, out, _ = roost("service", "kill", "m@1", "--service", "tags", "--dry-run")
    assert status == 0
    assert "m@2 is not loaded and takes over once it is: until then nobody is served (about 14s)" in out
    assert "roost fleet warm m@2 before the kill leaves no such gap" in out
    status, told, _ = roost("service", "kill", "m@1", "--service", "tags", "--dry-run", "--json")
    assert (status, json.loads(told)["effect"]) == (0, out.strip())
    assert plane.stores.kills.active() == {}
    assert roost("fleet", "warm", "m@2", "-m", "before the kill")[0] == 0
    plane.ticks(2)
    status, out, err = roost("service", "kill", "m@1", "--service", "tags", "-m", "it draws what it must not", "--yes")
    assert status == 0
    assert "m@2 is loaded and takes over within seconds" in out
    assert "roost service revive" in err


def test_a_killed_version_is_listed_with_what_follows_and_revived(plane: Plane, roost: Roost) -> None:
    status, out, _ = roost("service", "kill", "m@2", "--service", "tags", "-m", "unsafe", "--yes", "--json")
    assert status == 0
    kill = json.loads(out)
    assert kill["effect"] == "m@2 gets no traffic of tags; a rollout of it ends"
    (listed,) = get(plane, "/services/tags/kills")["items"]
    assert listed["effect"] == kill["effect"]
    status, out, _ = roost("service", "show", "tags")
    assert f"stopped   m@2 by operator: unsafe (kill {kill['id']})" in out
    status, out, _ = roost("service", "revive", kill["id"], "-m", "it was a false alarm")
    assert (status, out) == (0, "✔ m@2 may be served again by tags\n")
    (lifted,) = get(plane, "/services/tags/kills")["items"]
    assert lifted["effect"] == "lifted: m@2 may be served again by tags"
    assert roost("service", "revive", "000000000000", "-m", "which?")[0] == 3


@pytest.mark.parametrize("words", [("m@2",), ("m@9", "-m", "none", "--yes"), ("m@2", "-m", "asks back")])
def test_a_kill_without_reason_version_or_yes_changes_nothing(plane: Plane, roost: Roost, words: tuple[str]) -> None:
    assert roost("service", "kill", *words, "--service", "tags")[0] in {2, 3}
    assert plane.stores.kills.active() == {}


def test_headroom_is_told_before_anything_is_started(plane: Plane, roost: Roost) -> None:
    told = get(plane, "/services/tags/headroom?version=m@2")
    assert told["fit"] == "whole"
    assert told["sentence"] == "both versions need 800 MiB of 1 GiB: all of it is there"
    status, _, err = roost("rollout", "start", "m@2", "-m", "smaller", "--dry-run")
    assert status == 0
    assert "headroom: both versions need 800 MiB of 1 GiB" in err
    records = plane.catalogue._records
    huge = ServingPlan(limits=WorkerLimits(memory_limit_bytes=900 * MIB))
    records[THIRD] = replace(records[THIRD], serving={"cpu": huge})
    status, _, err = roost("rollout", "start", "m@3", "-m", "larger")
    assert status == 4
    assert "can't run side by side" in err
    assert plane.stores.rollouts.living() == []


def test_a_plan_tells_the_headroom_of_the_version_that_it_names(plane: Plane, roost: Roost, tmp_path: Path) -> None:
    from tests.controlplane.conftest import SPEC

    file = tmp_path / "tags.yaml"
    file.write_text(SPEC)
    status, out, _ = roost("rollout", "plan", str(file), "--rate", "40", "--runs", "20", "--version", "m@2", "--json")
    assert status == 0
    assert json.loads(out)["headroom"] == "both versions need 800 MiB of 1 GiB: all of it is there"


def get(plane: Plane, path: str) -> Any:
    """Ask the API."""
    with plane.ground.client(token=plane.token(Role.VIEWER)) as client:
        return client.get(path).json()
