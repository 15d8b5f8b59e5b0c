"""Jobs: done once in the records, whatever dies, sleeps or is asked twice; on both databases."""

import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.clock import FakeClock
from contracts.errors import Conflict, InvalidInput, NotFound
from controlplane.jobs.claims import Claim
from controlplane.jobs.job import Job, JobState
from controlplane.jobs.schedules import Rule, Schedules
from controlplane.jobs.store import Jobs
from controlplane.store.audit import Audit
from controlplane.store.migrate import open_store
from tests.controlplane.job_kinds import KINDS

LENGTH_S = 30.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def jobs(database_url: str, clock: FakeClock) -> Iterator[Jobs]:
    """Jobs on a database whose clock stands still until it is advanced."""
    database = open_store(database_url, clock)
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
