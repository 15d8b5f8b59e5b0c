"""Upkeep: what is done with goes once it is past its time, and nothing that anybody still counts on."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select

from contracts.clock import FakeClock
from contracts.errors import SpecError
from controlplane.jobs.kinds import JobKind, JobKinds
from controlplane.jobs.schedules import Schedules
from controlplane.jobs.store import Jobs
from controlplane.keeping import DAY_S, KeepSpec, load_keep, remove_what_is_done
from controlplane.store import upkeep
from controlplane.store.database import Database
from controlplane.store.logins import SKEW_S, EndedLogins
from controlplane.store.migrate import open_store
from controlplane.store.outbox import Outbox
from controlplane.store.schema import ENDED_LOGINS, JOB_STEPS, OUTBOX, REPLIES, SCHEDULE_SLOTS

KINDS = JobKinds([JobKind("nothing", "tests.controlplane.job_kinds:add", queue="upkeep")])
KEEP = KeepSpec(messages=2 * DAY_S, jobs=3 * DAY_S)


class Place:
    """A database in virtual time, with an outbox and jobs."""

    def __init__(self, url: str) -> None:
        self.clock = FakeClock()
        self.database = open_store(url, self.clock)
        self.outbox, self.jobs = Outbox(self.database), Jobs(self.database, KINDS)

    def put(self, key: str) -> None:
        with self.database.write() as connection:
            self.outbox.put(connection, key=key, topic="x", document={})

    def tidy(self) -> dict[str, int]:
        return remove_what_is_done(self.database, KEEP)

    def left(self) -> list[str]:
        with self.database.read() as connection:
            return list(connection.execute(select(OUTBOX.c.key).order_by(OUTBOX.c.sequence)).scalars())


@pytest.fixture
def place(database_url: str) -> Iterator[Place]:
    made = Place(database_url)
    yield made
    made.database.close()


def count(database: Database, table: object) -> int:
    with database.read() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())  # type: ignore[arg-type]


def test_sent_messages_go_after_their_time_and_waiting_ones_stay(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "BATCH", 2)
    for number in range(5):
        place.put(f"sent-{number}")
    for message in place.outbox.take():
        place.outbox.mark_sent(message)
    place.put("waiting")
    place.clock.advance(KEEP.messages - 1)
    assert place.tidy()["messages"] == 0
    place.put("young")
    place.outbox.mark_sent(place.outbox.take()[-1])
    place.clock.advance(2)
    assert place.tidy()["messages"] == 5
    assert place.left() == ["waiting", "young"]


def test_the_newest_message_stays_so_that_numbers_are_never_given_twice(place: Place) -> None:
    place.put("last")
    (message,) = place.outbox.take()
    place.outbox.mark_sent(message)
    place.clock.advance(100 * DAY_S)
    assert place.tidy()["messages"] == 0
    place.put("next")
    assert place.outbox.take()[0].sequence > message.sequence


def test_ended_jobs_go_with_their_steps_and_no_slot_is_worked_on_twice(place: Place) -> None:
    schedules = Schedules(place.jobs)
    schedules.declare("each-day", "daily at 06:00", "nothing")
    place.clock.advance(DAY_S)
    (old,) = schedules.submit_due()
    place.jobs.submit("nothing", {}, actor="t", job_id="waits")
    with place.database.write() as connection:
        step = {"job": old, "name": "a", "result": "{}", "fence": 1, "at_s": 0.0}
        connection.execute(insert(JOB_STEPS).values(step))
    place.jobs.cancel(old, actor="t", reason="x")
    place.clock.advance(KEEP.jobs - 1)
    assert place.tidy()["jobs"] == 0
    place.clock.advance(2)
    assert place.tidy()["jobs"] == 1
    assert [job.id for job in place.jobs.list()] == ["waits"]
    assert (count(place.database, JOB_STEPS), count(place.database, SCHEDULE_SLOTS)) == (0, 1)
    assert old not in schedules.submit_due()


def test_answers_to_requests_go_after_a_day(place: Place) -> None:
    with place.database.write() as connection:
        row = {"key": "k", "actor": "a", "request": "0" * 64, "status": 201, "body": "{}"}
        connection.execute(insert(REPLIES).values(**row, at_s=place.clock.now_s()))
    assert place.tidy()["replies"] == 0
    place.clock.advance(DAY_S + 1)
    assert place.tidy()["replies"] == 1


def test_ended_logins_are_known_until_their_cookies_are_worth_nothing(place: Place) -> None:
    logins = EndedLogins(place.database)
    logins.end("0123456789abcdef", place.clock.now_s() + 60)
    logins.end("0123456789abcdef", place.clock.now_s() + 60)
    assert logins.is_ended("0123456789abcdef")
    place.clock.advance(60 + SKEW_S + 1)
    logins.end("fedcba9876543210", place.clock.now_s() + 60)
    assert not logins.is_ended("0123456789abcdef")
    assert count(place.database, ENDED_LOGINS) == 1


def test_how_long_things_are_kept_is_written_in_the_home(tmp_path: Path) -> None:
    assert load_keep(tmp_path) == KeepSpec()
    (tmp_path / "keep.yaml").write_text("{messages: 7d, jobs: 30d}")
    assert load_keep(tmp_path) == KeepSpec(messages=7 * DAY_S, jobs=30 * DAY_S)
    (tmp_path / "keep.yaml").write_text("{messages: 1h, audit: 1d}")
    with pytest.raises(SpecError) as told:
        load_keep(tmp_path)
    assert {problem.path for problem in told.value.problems} == {"messages", "audit"}


def test_the_job_tidies_the_home_that_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from controlplane.jobs import tidy

    monkeypatch.delenv("ROOST_DATABASE_URL", raising=False)
    open_store(f"sqlite:///{tmp_path / 'roost.db'}").close()
    found = tidy.run(SimpleNamespace(home=str(tmp_path)), {})  # type: ignore[arg-type]
    assert found == {"messages": 0, "jobs": 0, "replies": 0}
