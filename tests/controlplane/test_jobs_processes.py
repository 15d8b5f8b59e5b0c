"""Workers and jobs as processes: killed, stopped, cancelled, side by side, asked for on the command line."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controlplane.jobs.job import JobState
from controlplane.jobs.store import Jobs
from controlplane.jobs.worker import Worker
from controlplane.store.migrate import open_store
from tests.controlplane.job_kinds import KINDS
from tests.controlplane.postgres import wait_for
from tests.prepared import prepare_store

ROOST = Path(sys.executable).with_name("roost")


@pytest.fixture
def live_jobs(database_url: str) -> Iterator[Jobs]:
    """Jobs on a database with its own clock."""
    database = open_store(database_url)
    yield Jobs(database, KINDS)
    database.close()


def test_a_job_runs_in_a_child_and_its_prints_go_to_the_log(live_jobs: Jobs, tmp_path: Path) -> None:
    worker = Worker(live_jobs, tmp_path)
    live_jobs.submit("add", {"a": 2, "b": 3}, actor="t", job_id="x")
    done = worker.work_one()
    assert done is not None
    assert (done.state, done.result, done.progress) == (JobState.DONE, {"sum": 5, "attempt": 1}, 1.0)
    assert (tmp_path / "logs" / "jobs" / "x.log").read_text() == "to the log, not to the worker\n"
    assert worker.work_one() is None


@pytest.mark.parametrize(
    ("kind", "arguments", "state", "told"),
    [
        ("crash", {}, JobState.WAITING, "cheese"),
        ("crash", {"hard": True}, JobState.WAITING, "status 42"),
        ("refuse", {}, JobState.FAILED, "prompts: there are none"),
        ("add", {"a": 1}, JobState.WAITING, "KeyError"),
    ],
)
def test_a_failure_is_told_in_the_row(
    tmp_path: Path, kind: str, arguments: dict[str, object], state: JobState, told: str
) -> None:
    database = open_store(prepare_store(tmp_path / "x.db"))
    jobs = Jobs(database, KINDS)
    jobs.submit(kind, {"file": str(tmp_path / "notes"), **arguments}, actor="t")
    after = Worker(jobs, tmp_path).work_one()
    assert after is not None
    assert after.state is state
    assert after.error is not None
    assert told in after.error["message"]
    database.close()


def test_only_a_trusted_kinds_process_sees_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOST_HOOK_SECRET", "a secret of sixteen bytes")
    database = open_store(prepare_store(tmp_path / "x.db"))
    jobs, seen = Jobs(database, KINDS), []
    for kind in ("look", "trusted-look"):
        jobs.submit(kind, actor="t")
        done = Worker(jobs, tmp_path).work_one()
        assert done is not None
        assert done.result is not None, done.error
        seen.append("ROOST_HOOK_SECRET" in done.result["sees"])
    assert seen == [False, True]
    database.close()


def test_an_approval_that_comes_while_nobody_runs_is_found(live_jobs: Jobs, tmp_path: Path) -> None:
    worker = Worker(live_jobs, tmp_path)
    live_jobs.submit("approve", {"file": str(tmp_path / "notes")}, actor="t", job_id="x")
    waiting = worker.work_one()
    assert waiting is not None
    assert (waiting.state, waiting.awaited) == (JobState.WAITING, "approval")
    live_jobs.signal("x", "approval", {"by": "eva"}, actor="eva")
    done = worker.work_one()
    assert done is not None
    assert (done.state, done.result) == (JobState.DONE, {"by": "eva"})
    assert (tmp_path / "notes").read_text() == "prepared\n", "the step before the wait was not done again"


def test_a_running_job_is_cancelled_and_its_process_gone(live_jobs: Jobs, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    live_jobs.submit("loiter", {"file": str(notes)}, actor="t", job_id="x")
    worker = Worker(live_jobs, tmp_path, lease_s=1.0)
    thread = threading.Thread(target=worker.work_one)
    thread.start()
    wait_for(lambda: notes.exists() and live_jobs.get("x").progress == 0.5)
    live_jobs.cancel("x", actor="t", reason="enough")
    thread.join(20)
    assert not thread.is_alive()
    assert live_jobs.get("x").state is JobState.CANCELLED
    with pytest.raises(ProcessLookupError):
        os.kill(int(notes.read_text()), 0)


WORKER = """
import sys
from pathlib import Path
from controlplane.jobs.schedules import Schedules
from controlplane.jobs.store import Jobs
from controlplane.jobs.worker import Worker
from controlplane.store.migrate import open_store
from tests.controlplane.job_kinds import KINDS
jobs = Jobs(open_store(sys.argv[1]), KINDS)
Worker(jobs, Path(sys.argv[2]), name=sys.argv[3], lease_s=3.0).run(Schedules(jobs))
"""


@pytest.fixture
def start_worker(database_url: str, tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Starts workers by their names, as processes that end with the test."""
    root = Path(__file__).parents[2]
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, "-c", WORKER, database_url, str(tmp_path), name], cwd=root))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_killed_workers_job_is_taken_over_where_it_was(
    start_worker: Callable[[str], subprocess.Popen[bytes]], live_jobs: Jobs, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    told = {"steps": 6, "pause_s": 0.15, "file": str(notes)}
    live_jobs.submit("count", told, actor="t", job_id="x")
    first = start_worker("first")
    wait_for(lambda: notes.exists() and notes.read_text().count("\n") >= 3)
    first.kill()
    start_worker("second")
    wait_for(lambda: live_jobs.get("x").is_over)
    done = live_jobs.get("x")
    assert (done.state, done.result) == (JobState.DONE, {"squares": [0, 1, 4, 9, 16, 25]})
    assert done.worker == "second"
    assert done.fence == done.attempts >= 2
    steps = [line.split()[1] for line in notes.read_text().splitlines()]
    assert sorted(set(steps)) == [str(number) for number in range(6)]
    # Only the step that was under way when an attempt ended may have been done twice.
    assert len(steps) <= 6 + done.attempts - 1


def test_a_stopped_worker_that_wakes_up_records_nothing(
    start_worker: Callable[[str], subprocess.Popen[bytes]], live_jobs: Jobs, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    live_jobs.submit("nap", {"nap_s": 1.0, "file": str(notes)}, actor="t", job_id="x")
    first = start_worker("first")
    wait_for(notes.exists)
    # Not within a write: on SQLite that would keep everybody waiting.
    time.sleep(0.1)
    os.kill(first.pid, signal.SIGSTOP)
    start_worker("second")
    wait_for(lambda: live_jobs.get("x").is_over)
    os.kill(first.pid, signal.SIGCONT)
    live_jobs.submit("add", {"a": 1, "b": 1}, actor="t", job_id="y")
    wait_for(lambda: live_jobs.get("y").is_over)
    time.sleep(0.3)
    done = live_jobs.get("x")
    assert (done.state, done.worker) == (JobState.DONE, "second")
    assert done.fence == done.attempts >= 2


def test_workers_keep_to_a_queues_limit_together(
    start_worker: Callable[[str], subprocess.Popen[bytes]], live_jobs: Jobs, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    for _ in range(8):
        live_jobs.submit("nap", {"nap_s": 0.05, "file": str(notes)}, actor="t")
    for name in ("a", "b", "c"):
        start_worker(name)
    wait_for(lambda: all(job.is_over for job in live_jobs.list()))
    lines = [line.split() for line in notes.read_text().splitlines()]
    moments = sorted((float(at_s), 1 if verb == "begin" else -1) for verb, _, at_s in lines)
    at_once, most = 0, 0
    for _, change in moments:
        at_once += change
        most = max(most, at_once)
    assert most <= 2
    assert len(lines) == 16


def test_jobs_on_the_command_line(tmp_path: Path) -> None:
    def roost(*words: str) -> subprocess.CompletedProcess[str]:
        command = [str(ROOST), "job", *words, "--home", str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = roost("run", "checkpoint", "--reason", "before the audit")
    assert done.returncode == 0, done.stderr
    assert "before the audit" in done.stdout
    waiting = roost("run", "checkpoint", "--detach", "--json")
    assert '"state": "waiting"' in waiting.stdout
    listed = roost("list", "--state", "waiting").stdout.splitlines()
    assert len(listed) == 2
    job_id = listed[1].split()[0]
    assert roost("cancel", job_id).stdout == f"{job_id}: cancelled\n"
    assert "cancelled" in roost("show", job_id).stdout
    for words, status in ((("show", "nobody"), 3), (("run", "nonsense"), 2), (("list", "--state", "odd"), 2)):
        refused = roost(*words)
        assert refused.returncode == status
        assert "Traceback" not in refused.stderr
