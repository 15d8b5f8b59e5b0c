"""The control plane as a process: started, asked by commands, killed under load, started again, ended."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from controlplane.settings import Settings
from registry.catalogue import Registration
from tests.prepared import prepare_catalogue
from tests.serving.models import write_onnx

ROOST = Path(sys.executable).with_name("roost")
SPEC = """
service: widths
model: m
slos: {availability: {objective: 98%, window: 1d}}
rollout: {min_weight: 10%, relative: null, warmup: {prompts: 0}, bake: 1h, max_duration: 2h}
"""
ROWS = {"inputs": [{"name": "X", "shape": [1, 2], "datatype": "FP32", "data": [0.0, 3.0]}]}


class Home:
    """A home with a control plane on it, and the commands that a person gives it."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder, self.settings, self._environment = folder, Settings(folder), environment

    def roost(self, *words: str, status: int = 0) -> str:
        options = {"ROOST_HOME": str(self.folder), "COLUMNS": "100", **self._environment}
        run = subprocess.run(
            [ROOST, *words], capture_output=True, text=True, timeout=100, check=False, env={**os.environ, **options}
        )
        assert run.returncode == status, f"{words}: {run.returncode}\n{run.stdout}\n{run.stderr}"
        return run.stdout or run.stderr

    def server(self) -> dict[str, Any]:
        return dict(json.loads(self.settings.server_file.read_text()))

    def kill(self) -> None:
        pid = self.server()["pid"]
        os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.02)


class Users:
    """Somebody who asks again and again, and keeps what went wrong."""

    def __init__(self, url: str) -> None:
        self._url, self._stop = f"{url}/v2/models/widths/infer", threading.Event()
        self.good, self.bad = 0, list[str]()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        with httpx.Client(trust_env=False, timeout=30) as client:
            while not self._stop.wait(0.05):
                try:
                    answer = client.post(self._url, json=ROWS)
                except httpx.HTTPError as error:
                    self.bad.append(repr(error))
                    continue
                if answer.status_code == 200:
                    self.good += 1
                else:
                    self.bad.append(answer.text)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A control plane that serves version 1 of a small model; version 2 is the same function."""
    folder = tmp_path_factory.mktemp("server")
    home = Home(folder / "home")
    catalogue = prepare_catalogue(home.folder)
    for name in ("one", "other"):
        catalogue.register("m", Registration(write_onnx(folder / name)))
    (folder / "service.yaml").write_text(SPEC)
    try:
        told = home.roost("up", "--port", "0", "--detach")
        assert told.count("rst_") == 1, "the first token is shown once"
        home.roost("service", "apply", str(folder / "service.yaml"), "--champion", "m@1", "--reason", "the first")
        gateway = home.server()["gateway_url"]
        deadline_s = time.monotonic() + 90
        while httpx.post(f"{gateway}/v2/models/widths/infer", json=ROWS, trust_env=False).status_code != 200:
            assert time.monotonic() < deadline_s, home.roost("fleet", "get")
            time.sleep(0.2)
        yield home
    finally:
        home.roost("down")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_control_plane_is_killed_under_load_and_its_successor_goes_on(home: Home) -> None:
    before = home.server()
    with Users(before["gateway_url"]) as users:
        started = home.roost("rollout", "start", "m@2", "--reason", "the same, but newer").split()[0]
        home.roost("rollout", "wait", started, "--until", "paused", "--timeout", "2s", status=13)
        assert "in progress" in home.roost("rollout", "start", "m@2", "--reason", "again", status=1)
        home.kill()
        home.roost("rollout", "list", status=5)
        good = users.good
        told = home.roost("up", "--port", "0", "--detach")
        assert "rst_" not in told
        assert home.server()["gateway_url"] == before["gateway_url"]
        assert users.good > good, "users were served while nobody decided"
        assert json.loads(home.roost("rollout", "get", started, "--json"))["ended"] is False
        home.roost("rollout", "abort", started, "--reason", "enough seen", "--yes")
        home.roost("rollout", "wait", started, "--timeout", "60s", status=11)
    assert users.bad == []
    assert "ended (aborted)" in home.roost("rollout", "pause", started, "--reason", "too late", status=4)
    assert "aborted by local: enough seen" in home.roost("rollout", "logs", started)
    assert "each bound to the one before" in home.roost("decision", "verify")
    assert "roost_leader 1.0" in httpx.get(f"{home.server()['url']}/metrics", trust_env=False).text


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_commands_meet_what_is_wrong(home: Home, tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text(SPEC.replace("98%", "150%").replace("bake", "bak"))
    told = home.roost("service", "apply", str(tmp_path / "wrong.yaml"), "--reason", "x", status=6)
    assert "did you mean bake?" in told
    assert "rollout" in home.roost("rollout", "get", "no-such", status=3)
    home.roost("rollout", "list", "--token", "rst_000000000000_" + "x" * 43, status=4)
    assert "runs already" in home.roost("up", "--port", "0", status=1), "one control plane on a home at a time"
    frozen = json.loads(home.roost("service", "freeze", "widths", "--for", "1h", "--reason", "a holiday", "--json"))
    assert "a holiday" in home.roost("rollout", "start", "m@2", "--reason", "x", status=4)
    assert frozen["id"] in home.roost("service", "show", "widths")
    home.roost("service", "thaw", frozen["id"], "--reason", "over")
    home.roost("slo", "export", "--out", str(tmp_path / "rules"))
    assert "widths" in (tmp_path / "rules" / "roost-rules.yaml").read_text()
    viewer = home.roost("token", "create", "ann", "--role", "viewer", "--reason", "to look").split()[0]
    assert "m@1" in home.roost("service", "list", "--token", viewer)
    home.roost("rollout", "start", "m@2", "--reason", "x", "--token", viewer, status=4)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_doctor_finds_what_is_wrong_and_down_ends_everything(home: Home) -> None:
    assert "leads" in home.roost("doctor")
    home.settings.cli_token.chmod(0o644)
    assert "chmod 600" in home.roost("doctor", status=1)
    home.settings.cli_token.chmod(0o600)
    server = home.server()
    home.roost("down", "--keep-serving")
    health = f"{server['gateway_url']}/health"
    assert httpx.get(health, trust_env=False).status_code == 200
    assert "2 processes" in home.roost("doctor")
    home.roost("down")
    with pytest.raises(httpx.ConnectError):
        httpx.get(health, trust_env=False)
    assert not home.settings.server_file.exists()
    assert home.roost("down").startswith("nothing runs")
