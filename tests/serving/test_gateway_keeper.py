"""The gateway's keeper with real processes: adopted by the next one, started again when killed, ended when asked."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from contracts.wire.gateway import GatewaySpec
from serving.gateway.keeper import GatewayKeeper, read_gateway_report, report_file


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A gateway's folder; what still runs there afterwards is ended."""
    yield tmp_path
    report = read_gateway_report(report_file(tmp_path))
    if report is not None:
        report.signal(signal.SIGKILL)


def keep(folder: Path, token: str = "a token of one control plane", port: int = 0) -> GatewayKeeper:
    spec = GatewaySpec(name="g", control_token=token, state_directory=str(folder / "state"), port=port)
    return GatewayKeeper(spec, folder, folder / "logs")


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def pid_in(folder: Path) -> int:
    report = read_gateway_report(report_file(folder))
    assert report is not None
    return report.pid


def test_the_next_keeper_adopts_what_runs_and_ends_it_when_asked(folder: Path) -> None:
    first = keep(folder)
    pid = pid_in(folder)
    first.close(leave=True)
    assert answers(first.url), "it serves while no control plane is there"
    second = keep(folder, token="another control plane's own")
    assert (second.url, second.control_token, pid_in(folder)) == (first.url, first.control_token, pid)
    second.close(leave=False)
    assert not answers(first.url)
    third = keep(folder)
    assert third.url == first.url, "clients know the address"
    third.close(leave=False)


def test_a_gateway_that_is_killed_comes_back_at_its_port(folder: Path) -> None:
    keeper = keep(folder)
    pid = pid_in(folder)
    os.kill(pid, signal.SIGKILL)
    deadline_s = time.monotonic() + 60
    while not answers(keeper.url):
        assert time.monotonic() < deadline_s, "nobody starts it again"
        time.sleep(0.05)
    assert pid_in(folder) != pid
    keeper.close(leave=False)


def test_its_report_is_for_its_owner_alone(folder: Path) -> None:
    keeper = keep(folder)
    assert report_file(folder).stat().st_mode & 0o077 == 0, "it holds the control token"
    keeper.close(leave=False)
