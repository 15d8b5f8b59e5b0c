"""What the fleet's processes are told and tell: leases, reports, their environment, a port that is taken."""

import json
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from contracts.errors import Unavailable
from contracts.wire.gateway import GatewaySpec
from contracts.wire.worker import WorkerSpec
from serving.fleet.lease import await_lapse, renew
from serving.fleet.reports import Report, read_report, write_report
from serving.process import start_child
from tests.serving.models import spec_of, write_onnx


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> WorkerSpec:
    return spec_of(write_onnx(tmp_path_factory.mktemp("version") / "v"))


@pytest.mark.slow
def test_a_lease_lapses_when_nobody_renews_it(tmp_path: Path) -> None:
    lease, lapsed = tmp_path / "lease", threading.Event()
    waiting = threading.Thread(target=await_lapse, args=(lease, lapsed, 3.0))
    waiting.start()
    for _ in range(10):
        renew(lease)
        time.sleep(0.5)
        assert not lapsed.is_set()
    waiting.join(timeout=10)
    assert lapsed.is_set()


def test_a_report_knows_its_process_from_a_later_one_of_the_same_number(tmp_path: Path, spec: WorkerSpec) -> None:
    write_report(tmp_path / "w.json", spec, 1234)
    report = read_report(tmp_path / "w.json")
    assert report is not None
    assert (report.pid, report.port, report.spec, report.is_alive) == (os.getpid(), 1234, spec, True)
    assert not report.model_copy(update={"began_ticks": report.began_ticks + 1}).is_alive
    (tmp_path / "w.json").write_text(json.dumps({"pid": 1}))
    assert read_report(tmp_path / "w.json") is None
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_a_worker_sees_nothing_of_our_environment(
    tmp_path: Path, spec: WorkerSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "ROOST_TOKEN", "HF_TOKEN", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "secret")
    child = start_child("serving.worker.main", spec.model_dump_json(), tmp_path / "worker.log")
    try:
        seen = dict(
            entry.split("=", 1)
            for entry in Path(f"/proc/{child.process.pid}/environ").read_text().split("\0")
            if "=" in entry
        )
    finally:
        child.end()
    assert "secret" not in seen.values()
    # Credentials in the files of a home are out of its way too.
    assert seen["HOME"] == str(tmp_path)
    assert seen["HF_HUB_OFFLINE"] == "1"


def test_a_taken_port_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        gateway = GatewaySpec(
            name="g",
            control_token="control-token-of-ports",
            state_directory=str(tmp_path / "state"),
            port=taken.getsockname()[1],
        )
        with pytest.raises(Unavailable, match="before it listened"):
            start_child("serving.gateway.main", gateway.model_dump_json(), tmp_path / "gateway.log")
    assert "Address already in use" in (tmp_path / "gateway.log").read_text()
