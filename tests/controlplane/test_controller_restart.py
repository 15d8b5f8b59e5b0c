"""The control plane is killed and stopped under load: no request is lost from the evidence, and no user moves."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from contracts.ids import VersionId
from contracts.specs.loading import load_service_spec
from contracts.wire.gateway import GatewaySpec
from controlplane.loop.book import GATEWAY
from controlplane.policies import policy_of
from controlplane.store.migrate import open_store
from controlplane.store.rollouts import Start
from controlplane.store.schema import LEASES
from controlplane.stores import Stores
from rollout.machine import start
from serving.gateway.keeper import GatewayKeeper
from tests.controlplane.test_controller_crashes import counted_of_ledger
from tests.serving.conftest import ScriptedRuntime, running_worker

TOKEN = "control-token-of-tests"
SPEC = """
service: tags
model: m
sticky: user
slos: {availability: {objective: 90%}}
rollout: {steps: [{weight: 50%, hold: 1h}], relative: null, warmup: {prompts: 0}}
"""
USERS = [f"user-{number}" for number in range(24)]


class Load:
    """Users who ask one after another; ``answers`` is how often each was answered by which version."""

    def __init__(self, url: str) -> None:
        self.answers: dict[str, dict[str, int]] = {user: defaultdict(int) for user in USERS}
        self._url, self._stop = url, threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(USERS[part::4],)) for part in range(4)]
        for thread in self._threads:
            thread.start()

    @property
    def total(self) -> int:
        return sum(sum(counts.values()) for counts in self.answers.values())

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, users: list[str]) -> None:
        with httpx.Client(base_url=self._url, trust_env=False, timeout=30) as client:
            while not self._stop.is_set():
                for user in users:
                    document = {"model": "tags", "prompt": "a tag", "user": user}
                    answer = client.post("/v1/images/generations", json=document)
                    assert answer.status_code == 200, answer.text
                    self.answers[user][answer.headers["x-roost-version"]] += 1
                    time.sleep(0.01)


def begin(stores: Stores) -> str:
    """Apply the service, and start its rollout."""
    spec = load_service_spec(SPEC)
    revision = stores.services.apply(spec, actor="test", reason="to be served")
    state = start(policy_of(spec), at_s=time.time(), rollout_id="tags-2", champion="m@1", challenger="m@2")
    wish = Start("tags", revision.revision, "sha256:2", "saltsaltsalt", state, "test", "to see")
    with stores.database.write() as connection:
        stores.services.crown(connection, "tags", "m@1")
        stores.rollouts.start(connection, wish)
    return state.rollout_id


@contextmanager
def plane(told: dict[str, Any], name: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a control plane in a process of its own."""
    arguments = [sys.executable, "-m", "tests.controlplane.plane_process", json.dumps({**told, "name": name})]
    with log.open("ab") as sink, subprocess.Popen(arguments, stderr=sink) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until(holds: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline_s, "it did not come about"
        time.sleep(0.05)


def stop_between_writes(pid: int, database: Path) -> None:
    """Stop a process while it holds no lock: SQLite would let nobody write before it goes on."""
    while True:
        os.kill(pid, signal.SIGSTOP)
        with closing(sqlite3.connect(database, timeout=0.1, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                os.kill(pid, signal.SIGCONT)
                time.sleep(0.02)
                continue
            connection.execute("ROLLBACK")
            return


@dataclass
class Scene:
    """A real gateway with two workers behind it, a rollout at half of the users, and whatever planes are started."""

    stores: Stores
    gateway_url: str
    told: dict[str, Any]
    rollout: str
    stack: ExitStack

    def start(self, name: str) -> subprocess.Popen[bytes]:
        return self.stack.enter_context(plane(self.told, name, Path(self.told["folder"]) / "planes.log"))

    def is_split(self) -> bool:
        entries = list(self.stores.ledger.entries(self.rollout))
        return bool(entries) and entries[-1].observation["weight_applied"] == 0.5

    def holder(self) -> str:
        with self.stores.database.read() as connection:
            return str(connection.execute(select(LEASES.c.holder)).scalar())

    def counted(self) -> int:
        return counted_of_ledger(self.stores.ledger)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        workers = {
            f"m@{number}": stack.enter_context(running_worker(VersionId("m", number), ScriptedRuntime())).url
            for number in (1, 2)
        }
        spec = GatewaySpec(name=GATEWAY, control_token=TOKEN, state_directory=str(tmp_path / "gateway"))
        gateway = GatewayKeeper(spec, tmp_path / "gateway", tmp_path / "logs")
        stack.callback(lambda: gateway.close(leave=False))
        url = f"sqlite:///{tmp_path / 'roost.db'}"
        stores = stack.enter_context(closing(Stores.on(open_store(url), b"k" * 32)))
        told = {"folder": str(tmp_path), "gateway": gateway.url, "token": TOKEN, "database": url, "workers": workers}
        yield Scene(stores, gateway.url, told, begin(stores), stack)


@pytest.mark.slow
def test_killed_and_stopped_under_load_every_request_is_counted_once_and_no_user_moves(scene: Scene) -> None:
    first = scene.start("first")
    wait_until(scene.is_split)
    load = scene.stack.enter_context(closing(Load(scene.gateway_url)))
    second = scene.start("second")
    wait_until(lambda: load.total > 200)
    first.kill()
    wait_until(lambda: scene.holder() == "second")
    wait_until(lambda: load.total > 600)
    third = scene.start("third")
    stop_between_writes(second.pid, Path(scene.told["folder"]) / "roost.db")
    wait_until(lambda: scene.holder() == "third")
    os.kill(second.pid, signal.SIGCONT)
    wait_until(lambda: load.total > 1200)
    load.close()
    wait_until(lambda: scene.counted() >= load.total)
    time.sleep(0.5)
    assert scene.counted() == load.total
    assert all(len(versions) == 1 for versions in load.answers.values()), "a user was moved"
    assert {version for versions in load.answers.values() for version in versions} == {"m@1", "m@2"}
    assert scene.stores.ledger.verify() > 0
    assert third.poll() is None
