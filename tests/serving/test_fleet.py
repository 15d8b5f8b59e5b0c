"""The local fleet with real workers: what is placed runs, comes back, drains, and is adopted by the next supervisor."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from contracts.errors import Conflict
from contracts.ids import VersionId
from contracts.wire.capacity import WorkerLimits
from contracts.wire.worker import WorkerSpec, WorkerState
from serving.beginnings import read_began_ticks
from serving.fleet.keeper import Patience
from serving.fleet.local import LocalFleet
from serving.fleet.port import Placement, ReplicaState, Tier, place, withdraw
from serving.fleet.reports import read_report
from tests.serving.models import spec_of, write_onnx

pytestmark = pytest.mark.timeout(240)
HASTE = Patience(back_off_s=0.2, longest_back_off_s=2.0, settle_s=2.0, drain_s=10, heartbeat_s=0.1)
ROWS = {"inputs": [{"name": "X", "shape": [1, 2], "datatype": "FP32", "data": [0.0, 3.0]}]}
SECOND = VersionId("m", 2)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> WorkerSpec:
    return spec_of(write_onnx(tmp_path_factory.mktemp("version") / "v"))


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[LocalFleet]:
    fleet = LocalFleet(tmp_path / "fleet", patience=HASTE)
    yield fleet
    fleet.close()


def await_that(condition: Callable[[], object], timeout_s: float = 60.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it does not come about"
        time.sleep(0.02)


def ready(fleet: LocalFleet, spec: WorkerSpec) -> int:
    return len(fleet.observe().endpoints(spec.version))


def pids(fleet: LocalFleet) -> set[int]:
    """The processes that report to the fleet's folder and run."""
    reports = [read_report(file) for file in fleet._launcher._reports.glob("*.json")]
    return {report.pid for report in reports if report is not None and report.is_alive}


def ask(url: str) -> int:
    try:
        return httpx.post(f"{url}/infer", json=ROWS, timeout=10, trust_env=False).status_code
    except httpx.HTTPError:
        return 0


@contextmanager
def asking(urls: Callable[[], Iterable[str]]) -> Iterator[Counter[int]]:
    """Ask all workers again and again while the block runs; yields how often each status came."""
    statuses: Counter[int] = Counter()
    stop = threading.Event()

    def send() -> None:
        while not stop.is_set():
            for url in urls():
                statuses[ask(url)] += 1

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield statuses
    finally:
        stop.set()
        sender.join()


@pytest.mark.slow
def test_replicas_run_side_by_side_and_follow_what_is_placed(fleet: LocalFleet, spec: WorkerSpec) -> None:
    fleet.apply((Placement(spec=spec, replicas=2),))
    assert fleet.observe().health(spec.version).state is WorkerState.LOADING  # type: ignore[union-attr]
    await_that(lambda: ready(fleet, spec) == 2)
    endpoints = fleet.observe().endpoints(spec.version)
    assert {endpoint.replica for endpoint in endpoints} == {"v1-0", "v1-1"}
    assert all(ask(endpoint.url) == 200 and endpoint.digest == spec.digest for endpoint in endpoints)
    assert fleet.observe().cold_start_s[spec.digest] > 0
    fleet.apply((Placement(spec=spec, replicas=1),))
    await_that(lambda: len(pids(fleet)) == 1)
    assert fleet.observe().endpoints(spec.version) == endpoints[:1]
    place(fleet, Placement(spec=spec.model_copy(update={"version": SECOND})))
    assert {placed.spec.version for placed in fleet.observe().placements} == {spec.version, SECOND}
    withdraw(fleet, spec.version)
    await_that(lambda: fleet.observe().health(spec.version) is None and len(fleet.observe().endpoints(SECOND)) == 1)
    fleet.apply(())
    await_that(lambda: not pids(fleet))


@pytest.mark.slow
def test_a_killed_worker_is_started_again(fleet: LocalFleet, spec: WorkerSpec) -> None:
    fleet.apply((Placement(spec=spec, replicas=2),))
    await_that(lambda: ready(fleet, spec) == 2)
    before = pids(fleet)
    killed = min(before)
    os.kill(killed, signal.SIGKILL)
    await_that(lambda: ready(fleet, spec) == 1)
    await_that(lambda: ready(fleet, spec) == 2)
    assert len(pids(fleet) - before) == 1
    assert sorted(replica.restarts for replica in fleet.observe().replicas) == [0, 1]


@pytest.mark.slow
def test_a_worker_that_hangs_is_ended_and_started_again(tmp_path: Path, spec: WorkerSpec) -> None:
    fleet = LocalFleet(tmp_path / "fleet", patience=Patience(silence_s=1.0, back_off_s=0.1, heartbeat_s=0.1))
    try:
        fleet.apply((Placement(spec=spec),))
        await_that(lambda: ready(fleet, spec) == 1)
        (hung,) = pids(fleet)
        os.kill(hung, signal.SIGSTOP)
        await_that(lambda: ready(fleet, spec) == 1 and pids(fleet) and pids(fleet) != {hung})
        assert read_began_ticks(hung) is None
    finally:
        fleet.close()


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["digest", "plan"])
def test_a_version_that_can_not_be_loaded_is_told_and_not_tried_without_end(
    fleet: LocalFleet, spec: WorkerSpec, tmp_path: Path, broken: str
) -> None:
    if broken == "digest":
        wrong, told = spec.model_copy(update={"digest": "sha256:" + "0" * 64}), "have the digest"
    else:
        folder = write_onnx(tmp_path / "odd")
        (folder / "roost.json").write_text('{"kind": "gguf"}')
        wrong, told = spec_of(folder), "roost.json: kind"
    fleet.apply((Placement(spec=wrong),))
    await_that(lambda: fleet.observe().health(wrong.version).state is WorkerState.FAILED)  # type: ignore[union-attr]
    health = fleet.observe().health(wrong.version)
    assert health is not None
    assert told in health.message
    time.sleep(3)
    # 2 s of back-off and more between two starts, where nothing would hold a spinning fleet back.
    assert fleet.observe().replicas[0].restarts <= 3
    # What it is while it is tried again is still: failed.
    assert fleet.observe().health(wrong.version).state is WorkerState.FAILED  # type: ignore[union-attr]


def test_a_worker_that_never_gets_ready_is_told(tmp_path: Path, spec: WorkerSpec) -> None:
    fleet = LocalFleet(tmp_path / "fleet", patience=Patience(start_s=0.05, back_off_s=0.05, longest_back_off_s=0.2))
    try:
        fleet.apply((Placement(spec=spec),))
        await_that(lambda: fleet.observe().health(spec.version).state is WorkerState.FAILED)  # type: ignore[union-attr]
        assert "not ready within" in fleet.observe().health(spec.version).message  # type: ignore[union-attr]
    finally:
        fleet.close()


@pytest.mark.slow
def test_workers_wait_for_memory_and_what_never_fits_is_told(tmp_path: Path, spec: WorkerSpec) -> None:
    limited = spec.model_copy(update={"limits": WorkerLimits(memory_limit_bytes=600 << 20)})
    huge = limited.model_copy(update={"version": SECOND, "limits": WorkerLimits(memory_limit_bytes=5 << 30)})
    fleet = LocalFleet(tmp_path / "fleet", patience=HASTE, memory_budget_bytes=1 << 30)
    try:
        fleet.apply((Placement(spec=limited, replicas=2), Placement(spec=huge)))
        await_that(lambda: ready(fleet, limited) == 1)
        time.sleep(1)
        states = Counter(replica.state for replica in fleet.observe().replicas if replica.version == limited.version)
        assert states == {ReplicaState.READY: 1, ReplicaState.WAITING: 1}
        assert any("waits for memory: 600 MiB" in replica.message for replica in fleet.observe().replicas)
        assert "the fleet may use 1 GiB in all" in fleet.observe().health(SECOND).message  # type: ignore[union-attr]
        other = limited.model_copy(update={"version": VersionId("m", 3)})
        fleet.apply((Placement(spec=other),))
        await_that(lambda: ready(fleet, other) == 1)
    finally:
        fleet.close()


@pytest.mark.slow
def test_tiers_say_how_warm_a_version_is_kept(fleet: LocalFleet, spec: WorkerSpec) -> None:
    cold = spec.model_copy(update={"version": SECOND})
    fleet.apply((Placement(spec=spec, tier=Tier.TTL, ttl_s=3.0), Placement(spec=cold, tier=Tier.COLD)))
    await_that(lambda: ready(fleet, spec) == 1)
    assert fleet.observe().asleep == {cold.version}
    await_that(lambda: fleet.observe().asleep == {spec.version, cold.version} and not pids(fleet))
    assert fleet.observe().health(spec.version) is None
    # Cold versions have the same bytes: what a start of theirs takes is known from the other's.
    assert fleet.observe().cold_start_s[cold.digest] > 0
    place(fleet, Placement(spec=spec))
    await_that(lambda: ready(fleet, spec) == 1)


@pytest.mark.slow
def test_a_drained_worker_finishes_what_it_has(fleet: LocalFleet, spec: WorkerSpec) -> None:
    fleet.apply((Placement(spec=spec, replicas=2),))
    await_that(lambda: ready(fleet, spec) == 2)
    with asking(lambda: [endpoint.url for endpoint in fleet.observe().endpoints(spec.version)]) as statuses:
        fleet.apply((Placement(spec=spec, replicas=1),))
        await_that(lambda: len(pids(fleet)) == 1)
    assert set(statuses) == {200}
    assert statuses[200] > 5


@pytest.mark.slow
def test_a_worker_that_is_drained_by_name_is_replaced_and_nobody_notices(fleet: LocalFleet, spec: WorkerSpec) -> None:
    fleet.apply((Placement(spec=spec),))
    await_that(lambda: ready(fleet, spec) == 1)
    (before,) = fleet.observe().replicas
    with asking(lambda: [endpoint.url for endpoint in fleet.observe().endpoints(spec.version)]) as statuses:
        fleet.drain(frozenset({before.process}))
        await_that(lambda: before.process not in {replica.process for replica in fleet.observe().replicas})
        (after,) = fleet.observe().replicas
        await_that(lambda: statuses[200] > 5)
    assert set(statuses) == {200}
    assert (after.name, after.restarts) == (before.name, 0)
    assert len(pids(fleet)) == 1


@pytest.mark.slow
def test_two_versions_that_fit_only_with_one_worker_each_change_places(tmp_path: Path, spec: WorkerSpec) -> None:
    limited = spec.model_copy(update={"limits": WorkerLimits(memory_limit_bytes=400 << 20)})
    other = limited.model_copy(update={"version": SECOND})
    fleet = LocalFleet(tmp_path / "fleet", patience=HASTE, memory_budget_bytes=800 << 20)
    try:
        fleet.apply((Placement(spec=limited, replicas=2),))
        await_that(lambda: ready(fleet, limited) == 2)
        with asking(lambda: [endpoint.url for endpoint in fleet.observe().endpoints(spec.version)]) as statuses:
            fleet.apply((Placement(spec=limited), Placement(spec=other)))
            await_that(lambda: ready(fleet, other) == 1)
            assert len(pids(fleet)) == 2, "the second worker had gone before the other version was loaded"
            fleet.apply((Placement(spec=limited, replicas=2),))
            await_that(lambda: ready(fleet, limited) == 2)
        assert set(statuses) == {200}, "the worker that was left served all the while"
    finally:
        fleet.close()


@pytest.mark.slow
def test_a_version_whose_settings_change_is_served_through_the_change(fleet: LocalFleet, spec: WorkerSpec) -> None:
    fleet.apply((Placement(spec=spec),))
    await_that(lambda: ready(fleet, spec) == 1)
    (before,) = pids(fleet)
    other = spec.model_copy(update={"limits": WorkerLimits(max_queue=3)})
    fleet.apply((Placement(spec=other),))
    while before in pids(fleet):
        assert fleet.observe().endpoints(spec.version)
        time.sleep(0.05)
    assert ready(fleet, spec) == 1


SUPERVISOR = """
import sys, time
from pathlib import Path
from contracts.wire.worker import WorkerSpec
from serving.fleet.local import LocalFleet
from serving.fleet.port import Placement
fleet = LocalFleet(Path(sys.argv[1]), outlives=True)
fleet.apply((Placement(spec=WorkerSpec.model_validate_json(sys.argv[2]), replicas=2),))
while True:
    print(" ".join(e.url for e in fleet.observe().endpoints(fleet.observe().placements[0].spec.version)), flush=True)
    time.sleep(0.1)
"""


@pytest.mark.slow
def test_a_killed_supervisor_loses_no_request_and_leaves_no_worker_behind(tmp_path: Path, spec: WorkerSpec) -> None:
    folder = tmp_path / "fleet"
    first = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(folder), spec.model_dump_json()], stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None
    urls: list[str] = []
    while len(urls) < 2:
        urls = first.stdout.readline().split()
    with asking(lambda: urls) as statuses:
        first.kill()
        first.wait()
        first.stdout.close()
        time.sleep(1.0)
        fleet = LocalFleet(folder, outlives=True, patience=HASTE)
        before = pids(fleet)
        fleet.apply((Placement(spec=spec, replicas=2),))
        await_that(lambda: ready(fleet, spec) == 2)
        time.sleep(1.0)
    try:
        assert pids(fleet) == before
        assert {endpoint.url for endpoint in fleet.observe().endpoints(spec.version)} == set(urls)
        assert set(statuses) == {200}
        assert statuses[200] > 10
        # One is not wanted any more, then none: nothing is left behind.
        fleet.apply((Placement(spec=spec, replicas=1),))
        await_that(lambda: len(pids(fleet)) == 1)
        fleet.apply(())
        await_that(lambda: not pids(fleet))
        assert all(read_began_ticks(pid) is None for pid in before)
    finally:
        fleet.close()


@pytest.mark.slow
def test_workers_of_an_earlier_fleet_that_nobody_wants_are_stopped(tmp_path: Path, spec: WorkerSpec) -> None:
    earlier = LocalFleet(tmp_path / "fleet", outlives=True, patience=HASTE)
    earlier.apply((Placement(spec=spec),))
    await_that(lambda: ready(earlier, spec) == 1)
    earlier.close()
    (left,) = pids(earlier)
    later = LocalFleet(tmp_path / "fleet", outlives=True, patience=HASTE)
    try:
        time.sleep(0.5)
        assert pids(later) == {left}
        other = spec.model_copy(update={"version": SECOND})
        later.apply((Placement(spec=other),))
        await_that(lambda: read_began_ticks(left) is None)
        later.apply(())
        await_that(lambda: not pids(later))
    finally:
        later.close()


def test_one_folder_has_one_supervisor(tmp_path: Path) -> None:
    fleet = LocalFleet(tmp_path / "fleet")
    try:
        with pytest.raises(Conflict, match="another process supervises"):
            LocalFleet(tmp_path / "fleet")
    finally:
        fleet.close()
    LocalFleet(tmp_path / "fleet").close()
