"""Jobs: done once in the records, whatever dies, sleeps or is asked twice; on both databases."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.clock import FakeClock
from contracts.errors import Conflict, InvalidInput, NotFound
from controlplane.jobs.claims import Claim
from controlplane.jobs.job import Job, JobState
from controlplane.jobs.schedules import Rule, Schedules
from controlplane.jobs.store import Jobs
from controlplane.jobs.worker import Worker
from controlplane.store.audit import Audit
from controlplane.store.migrate import open_store
from tests.controlplane.job_kinds import KINDS
from tests.controlplane.postgres import wait_for

LENGTH_S = 30.0
ROOST = Path(sys.executable).with_name("roost")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def jobs(database_url: str, clock: FakeClock) -> Iterator[Jobs]:
    """Jobs on a database whose clock stands still until it is advanced."""
    database = open_store(database_url, clock)
    yield Jobs(database, KINDS)
    database.close()


@pytest.fixture
def live_jobs(database_url: str) -> Iterator[Jobs]:
    """Jobs on a database with its own clock."""
    database = open_store(database_url)
    yield Jobs(database, KINDS)
    database.close()


def claim(jobs: Jobs, worker: str = "w") -> tuple[Job, Claim]:
    job = jobs.claim(worker, LENGTH_S)
    assert job is not None
    return job, Claim(jobs.database, job)


def test_an_unknown_kind_and_what_is_no_json_are_refused(jobs: Jobs) -> None:
    with pytest.raises(InvalidInput, match="nonsense") as caught:
        jobs.submit("nonsense", actor="t")
    assert "add" in caught.value.hint
    with pytest.raises(InvalidInput, match="arguments"):
        jobs.submit("add", {"a": object()}, actor="t")
    with pytest.raises(NotFound):
        jobs.get("nobody")
    assert jobs.list() == []


def test_the_same_id_asks_for_one_job(jobs: Jobs) -> None:
    first = jobs.submit("add", {"a": 1, "b": 2}, actor="t", job_id="x")
    assert jobs.submit("add", {"b": 2, "a": 1}, actor="u", job_id="x") == first
    with pytest.raises(Conflict):
        jobs.submit("add", {"a": 1, "b": 3}, actor="t", job_id="x")
    assert len(jobs.list()) == 1


def test_what_matters_more_comes_first_then_what_was_asked_first(jobs: Jobs, clock: FakeClock) -> None:
    for name, priority in (("a", 0), ("b", 5), ("c", 5)):
        jobs.submit("add", {}, actor="t", job_id=name, priority=priority)
    jobs.submit("add", {}, actor="t", job_id="later", priority=9, due_s=clock.now_s() + 60)
    taken = []
    while (job := jobs.claim("w", LENGTH_S)) is not None:
        taken.append(job.id)
        Claim(jobs.database, job).finish({})
    assert taken == ["b", "c", "a"]
    clock.advance(61)
    assert claim(jobs)[0].id == "later"


def test_a_queue_never_runs_more_than_its_limit(jobs: Jobs, clock: FakeClock) -> None:
    for index in range(4):
        jobs.submit("add", {"a": index}, actor="t")
    _, first = claim(jobs)
    claim(jobs)
    assert jobs.claim("w", LENGTH_S) is None
    jobs.submit("nap", {}, actor="t")
    assert claim(jobs)[0].kind == "nap", "another queue has its own limit"
    first.finish({})
    claim(jobs)
    assert jobs.claim("w", LENGTH_S) is None


def test_an_ended_lease_is_taken_over_and_the_former_worker_writes_nothing(jobs: Jobs, clock: FakeClock) -> None:
    jobs.submit("add", {}, actor="t")
    job, old = claim(jobs, "old")
    assert old.keep_step("one", 1) == 1
    clock.advance(LENGTH_S + 1)
    with pytest.raises(Conflict):
        old.beat(LENGTH_S, 0.5, "")
    again, new = claim(jobs, "new")
    assert (again.id, again.fence, again.attempts) == (job.id, job.fence + 1, 2)
    for write in (
        lambda: old.beat(LENGTH_S, 0.5, ""),
        lambda: old.keep_step("two", "old"),
        lambda: old.finish({"by": "old"}),
        lambda: old.fail({}, again=True),
        lambda: old.wait(until_s=0.0),
        old.cancelled,
    ):
        with pytest.raises(Conflict, match="nothing was written"):
            write()
    assert new.step("one") == (True, 1)
    assert new.step("two") == (False, None)
    new.finish({"by": "new"})
    new.finish({"by": "new"})  # the answer to the first was lost
    with pytest.raises(Conflict):
        old.finish({"by": "old"})
    done = jobs.get(job.id)
    assert (done.state, done.result) == (JobState.DONE, {"by": "new"})


def test_a_step_keeps_its_first_result(jobs: Jobs) -> None:
    jobs.submit("add", {}, actor="t")
    _, mine = claim(jobs)
    assert mine.keep_step("one", {"x": [1, None]}) == {"x": [1, None]}
    assert mine.keep_step("one", "other") == {"x": [1, None]}


def test_a_failed_attempt_is_made_again_later_and_later_and_then_no_more(jobs: Jobs, clock: FakeClock) -> None:
    jobs.submit("add", {}, actor="t", job_id="x")
    waits = []
    for attempt in (1, 2, 3):
        job, mine = claim(jobs)
        assert job.attempts == attempt
        mine.fail({"code": "internal", "message": f"no {attempt}", "hint": ""}, again=True)
        after = jobs.get("x")
        if after.due_s is not None:
            waits.append(after.due_s - clock.now_s())
            assert jobs.claim("w", LENGTH_S) is None
            clock.advance(waits[-1])
    assert (after.state, after.error and after.error["message"]) == (JobState.FAILED, "no 3")
    assert len(waits) == 2
    assert waits[1] > waits[0] > 0


def test_a_job_whose_workers_die_ends_after_its_attempts(jobs: Jobs, clock: FakeClock) -> None:
    jobs.submit("crash", {}, actor="t", job_id="x")
    for _ in range(2):
        claim(jobs)
        clock.advance(LENGTH_S + 1)
    assert jobs.claim("w", LENGTH_S) is None
    dead = jobs.get("x")
    assert dead.state is JobState.FAILED
    assert dead.error is not None
    assert "died" in dead.error["message"]


def test_a_job_to_be_cancelled_whose_worker_died_is_not_run_again(jobs: Jobs, clock: FakeClock) -> None:
    jobs.submit("add", {}, actor="t", job_id="x")
    claim(jobs)
    for _ in range(2):
        assert jobs.cancel("x", actor="eva", reason="a mistake").state is JobState.RUNNING
    (change,) = Audit(jobs.database).changes("job/x")
    assert (change.actor, change.action, change.reason) == ("eva", "job.cancel", "a mistake")
    clock.advance(LENGTH_S + 1)
    assert jobs.claim("w", LENGTH_S) is None
    assert jobs.get("x").state is JobState.CANCELLED


def test_a_waiting_job_gives_its_place_back_and_goes_on_at_its_time_or_signal(jobs: Jobs, clock: FakeClock) -> None:
    jobs.submit("add", {}, actor="t", job_id="x")
    _, mine = claim(jobs)
    mine.wait(until_s=clock.now_s() + 100)
    assert jobs.claim("w", LENGTH_S) is None
    clock.advance(100)
    job, mine = claim(jobs)
    assert job.attempts == 1, "waiting is no attempt"
    mine.wait(signal="approval")
    clock.advance(1e6)
    assert jobs.claim("w", LENGTH_S) is None
    assert jobs.signal("x", "approval", {"by": "eva"}, actor="eva")
    assert not jobs.signal("x", "approval", {"by": "mallory"}, actor="mallory")
    _, mine = claim(jobs)
    assert mine.signal("approval") == {"by": "eva"}
    mine.wait(signal="approval")
    assert claim(jobs)[0].id == "x", "a signal that came before the wait is not missed"
    with pytest.raises(NotFound):
        jobs.signal("nobody", "approval", {}, actor="eva")


def test_each_slot_of_a_schedule_asks_for_one_job(jobs: Jobs, clock: FakeClock) -> None:
    schedules, others = Schedules(jobs), Schedules(jobs)
    schedules.declare("tidy", "every 10m", "add", {"a": 1, "b": 1})
    others.declare("tidy", "every 10m", "add", {"a": 1, "b": 1})
    assert schedules.submit_due() == [], "the slot before it was declared is not made up for"
    asked = []
    for _ in range(60):
        clock.advance(60)
        asked += schedules.submit_due() + others.submit_due()
    assert len(asked) == len(set(asked)) == 6
    clock.advance(86400)
    assert len(schedules.submit_due()) == 1, "after a pause the last slot alone is made up for"
    assert others.submit_due() == []
    assert jobs.list()[0].actor == "schedule/tidy"


@given(now_s=st.integers(1_600_000_000, 2_000_000_000))
def test_slots_lie_where_the_rule_says(now_s: int) -> None:
    for text, period_s in (("hourly at :10", 3600), ("daily at 02:30", 86400), ("weekly on monday at 06:00", 604800)):
        slot_s = Rule.parse(text).slot_s(now_s)
        assert slot_s <= now_s < slot_s + period_s
        at = time.gmtime(slot_s)
        assert at.tm_sec == 0
        assert {"h": at.tm_min == 10, "d": (at.tm_hour, at.tm_min) == (2, 30)}.get(text[0], at.tm_wday == 0)
        if text.startswith("weekly"):
            assert (at.tm_hour, at.tm_min) == (6, 0)


@pytest.mark.parametrize("rule", ["", "every", "every 0s", "every 500ms", "hourly at :60", "daily at 24:00", "weekly"])
def test_a_rule_that_can_not_be_read_is_refused(rule: str) -> None:
    with pytest.raises(InvalidInput):
        Rule.parse(rule)


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
    database = open_store(f"sqlite:///{tmp_path / 'x.db'}")
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
    database = open_store(f"sqlite:///{tmp_path / 'x.db'}")
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


def worker_process(url: str, home: Path, name: str) -> subprocess.Popen[bytes]:
    root = Path(__file__).parents[2]
    return subprocess.Popen([sys.executable, "-c", WORKER, url, str(home), name], cwd=root)


def test_a_killed_workers_job_is_taken_over_where_it_was(database_url: str, live_jobs: Jobs, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    told = {"steps": 6, "pause_s": 0.15, "file": str(notes)}
    live_jobs.submit("count", told, actor="t", job_id="x")
    first, second = worker_process(database_url, tmp_path, "first"), None
    try:
        wait_for(lambda: notes.exists() and notes.read_text().count("\n") >= 3)
        first.kill()
        second = worker_process(database_url, tmp_path, "second")
        wait_for(lambda: live_jobs.get("x").is_over)
    finally:
        for process in (first, second):
            if process is not None:
                process.kill()
                process.wait()
    done = live_jobs.get("x")
    assert (done.state, done.result) == (JobState.DONE, {"squares": [0, 1, 4, 9, 16, 25]})
    assert done.worker == "second"
    assert done.fence == done.attempts >= 2
    steps = [line.split()[1] for line in notes.read_text().splitlines()]
    assert sorted(set(steps)) == [str(number) for number in range(6)]
    # Only the step that was under way when an attempt ended may have been done twice.
    assert len(steps) <= 6 + done.attempts - 1


def test_a_stopped_worker_that_wakes_up_records_nothing(database_url: str, live_jobs: Jobs, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    live_jobs.submit("nap", {"nap_s": 1.0, "file": str(notes)}, actor="t", job_id="x")
    first, second = worker_process(database_url, tmp_path, "first"), None
    try:
        wait_for(notes.exists)
        # Not within a write: on SQLite that would keep everybody waiting.
        time.sleep(0.1)
        os.kill(first.pid, signal.SIGSTOP)
        second = worker_process(database_url, tmp_path, "second")
        wait_for(lambda: live_jobs.get("x").is_over)
        os.kill(first.pid, signal.SIGCONT)
        live_jobs.submit("add", {"a": 1, "b": 1}, actor="t", job_id="y")
        wait_for(lambda: live_jobs.get("y").is_over)
        time.sleep(0.3)
    finally:
        for process in (first, second):
            if process is not None:
                process.kill()
                process.wait()
    done = live_jobs.get("x")
    assert (done.state, done.worker) == (JobState.DONE, "second")
    assert done.fence == done.attempts >= 2


def test_two_workers_keep_to_a_queues_limit(database_url: str, live_jobs: Jobs, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    for _ in range(8):
        live_jobs.submit("nap", {"nap_s": 0.05, "file": str(notes)}, actor="t")
    running = [worker_process(database_url, tmp_path, name) for name in ("a", "b", "c")]
    try:
        wait_for(lambda: all(job.is_over for job in live_jobs.list()))
    finally:
        for process in running:
            process.kill()
            process.wait()
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
