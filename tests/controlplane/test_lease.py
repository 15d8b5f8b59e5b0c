"""Leases: one holder at a time, and no write of a former one, whatever stops, sleeps or wakes up late."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import select, update

from contracts.clock import FakeClock
from contracts.errors import Conflict, Unavailable
from controlplane.store.database import Database
from controlplane.store.lease import Leader, Lease, Leases
from controlplane.store.migrate import open_store
from controlplane.store.schema import CHAINS, LEASES
from controlplane.store.sql_ledger import SqlLedger
from tests.controlplane.postgres import PostgresServer, wait_for
from tests.prepared import prepare_store

LENGTH_S = 10.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def database(database_url: str, clock: FakeClock) -> Iterator[Database]:
    found = open_store(database_url, clock)
    yield found
    found.close()


def test_a_lease_has_one_holder_until_it_ends_and_numbers_grow(database: Database, clock: FakeClock) -> None:
    leases = Leases(database, clock)
    first = leases.acquire("leader", "a", LENGTH_S)
    assert first is not None
    assert leases.acquire("leader", "b", LENGTH_S) is None
    assert leases.acquire("another", "b", LENGTH_S) is not None
    clock.advance(LENGTH_S + 0.1)
    second = leases.acquire("leader", "b", LENGTH_S)
    assert second is not None
    assert second.fence > first.fence
    leases.release(first)
    assert leases.acquire("leader", "c", LENGTH_S) is None, "a former holder releases nothing"
    leases.release(second)
    third = leases.acquire("leader", "a", LENGTH_S)
    assert third is not None
    assert third.fence > second.fence


@pytest.mark.parametrize("ahead_s", [-300.0, 0.0, 300.0])
def test_a_lease_tells_how_far_its_holder_s_clock_is_from_the_database_s(
    database: Database, clock: FakeClock, ahead_s: float
) -> None:
    leases = Leases(database, FakeClock(clock.now_s() + ahead_s))
    lease = leases.acquire("leader", "a", LENGTH_S)
    assert lease is not None
    renewed = leases.renew(lease, LENGTH_S)
    assert renewed is not None
    assert (lease.ahead_s, renewed.ahead_s) == (ahead_s, ahead_s)


def test_an_ended_lease_is_not_renewed_though_nobody_took_it(database: Database, clock: FakeClock) -> None:
    leases = Leases(database, clock)
    lease = leases.acquire("leader", "a", LENGTH_S)
    assert lease is not None
    assert leases.renew(lease, LENGTH_S) is not None
    clock.advance(LENGTH_S + 0.1)
    assert leases.renew(lease, LENGTH_S) is None
    with pytest.raises(Conflict, match="nothing was written"), database.write() as connection:
        leases.require(connection, lease)


def test_a_holder_stops_by_its_own_clock_before_the_lease_ends(database: Database, clock: FakeClock) -> None:
    own = FakeClock()
    leases = Leases(database, own)
    lease = leases.acquire("leader", "a", LENGTH_S)
    assert lease is not None
    own.advance(LENGTH_S * 0.85)
    assert leases.is_live(lease)
    own.advance(LENGTH_S * 0.1)
    assert not leases.is_live(lease)
    # The database's clock stands still: by it the lease lasts, and yet nothing is written.
    with pytest.raises(Conflict), database.write() as connection:
        leases.require(connection, lease)


def test_a_write_under_an_old_number_leaves_nothing(database: Database, clock: FakeClock) -> None:
    leases, ledger = Leases(database, FakeClock()), SqlLedger(database, "1")
    old = leases.acquire("leader", "a", LENGTH_S)
    clock.advance(LENGTH_S + 0.1)
    assert leases.acquire("leader", "b", LENGTH_S) is not None
    assert old is not None
    record: dict[str, Any] = {"at_s": 1.0, "rollout_id": "r", "policy_digest": "p", "observation": {}, "decision": {}}

    def write_late(lease: Lease) -> None:
        with database.write() as connection:
            ledger.write(connection, [record])
            leases.require(connection, lease)

    with pytest.raises(Conflict):
        write_late(old)
    assert ledger.verify() == 0


def test_leaders_take_turns_and_keep_the_lease_while_they_step(database: Database, clock: FakeClock) -> None:
    leases = Leases(database, clock)
    a = Leader(leases, "leader", "a", length_s=LENGTH_S, clock=clock)
    b = Leader(leases, "leader", "b", length_s=LENGTH_S, clock=clock)
    fences = set()
    for _ in range(100):
        lease = a.step()
        assert lease is not None
        assert b.step() is None
        fences.add(lease.fence)
        clock.advance(1.0)
    assert len(fences) == 1
    a.resign()
    assert b.step() is not None
    assert a.step() is None
    clock.advance(LENGTH_S * 2)
    assert a.step() is not None, "b stopped stepping"
    clock.advance(1.0)
    assert b.step() is None


class Contenders(RuleBasedStateMachine):
    """Three contenders on a real store, pauses and late writes in any order, against a model of what takes effect."""

    url = ""

    @initialize()
    def begin(self) -> None:
        self.clock = FakeClock()
        self.folder = TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
        self.database = open_store(self.url or prepare_store(Path(self.folder.name) / "x.db"), self.clock)
        with self.database.write() as connection:
            connection.execute(LEASES.delete())
            connection.execute(update(CHAINS).values(length=0))
        self.clocks = [FakeClock() for _ in range(3)]
        self.leases = [Leases(self.database, clock) for clock in self.clocks]
        self.held: list[Lease | None] = [None, None, None]
        self.granted = 0
        self.ends_s = 0.0
        self.written: list[int] = []

    @rule(who=st.integers(0, 2), length_s=st.sampled_from([2.0, 5.0]))
    def acquire(self, who: int, length_s: float) -> None:
        lease = self.leases[who].acquire("leader", f"c{who}", length_s)
        if lease is None:
            assert self.clock.now_s() <= self.ends_s, "a lease that is over is granted"
            return
        assert self.clock.now_s() > self.ends_s, "nobody gets a lease that another has"
        assert lease.fence == self.granted + 1
        self.granted, self.ends_s, self.held[who] = lease.fence, lease.until_s, lease

    @precondition(lambda self: any(self.held))
    @rule(data=st.data(), length_s=st.sampled_from([2.0, 5.0]))
    def renew(self, data: st.DataObject, length_s: float) -> None:
        who = data.draw(st.sampled_from([index for index, lease in enumerate(self.held) if lease]))
        lease = self.held[who]
        assert lease is not None
        longer = self.leases[who].renew(lease, length_s)
        assert (longer is not None) == (lease.fence == self.granted and self.clock.now_s() <= self.ends_s)
        if longer is not None:
            assert longer.fence == lease.fence
            self.ends_s, self.held[who] = longer.until_s, longer

    @precondition(lambda self: any(self.held))
    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        who = data.draw(st.sampled_from([index for index, lease in enumerate(self.held) if lease]))
        lease = self.held[who]
        assert lease is not None
        try:
            with self.database.write() as connection:
                self.leases[who].require(connection, lease)
                connection.execute(update(CHAINS).where(CHAINS.c.name == "audit").values(length=lease.fence))
        except Conflict:
            return
        assert lease.fence == self.granted
        assert self.clock.now_s() <= self.ends_s
        self.written.append(lease.fence)

    @precondition(lambda self: any(self.held))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        who = data.draw(st.sampled_from([index for index, lease in enumerate(self.held) if lease]))
        lease = self.held[who]
        assert lease is not None
        self.leases[who].release(lease)
        if lease.fence == self.granted:
            self.ends_s = 0.0

    @rule(duration_s=st.sampled_from([0.5, 1.5, 2.5, 6.0]))
    def pass_time(self, duration_s: float) -> None:
        for clock in (self.clock, *self.clocks):
            clock.advance(duration_s)

    @rule(who=st.integers(0, 2), duration_s=st.sampled_from([0.5, 3.0]))
    def sleep_unnoticed(self, who: int, duration_s: float) -> None:
        """The machine sleeps, and this contender's monotonic clock does not tell it."""
        for index, clock in enumerate((*self.clocks, self.clock)):
            if index != who:
                clock.advance(duration_s)

    @invariant()
    def later_numbers_never_give_way(self) -> None:
        assert self.written == sorted(self.written)

    def teardown(self) -> None:
        if hasattr(self, "database"):
            with self.database.read() as connection:
                last = connection.execute(select(CHAINS.c.length).where(CHAINS.c.name == "audit")).scalar_one()
            assert last == (self.written[-1] if self.written else 0)
            self.database.close()
            self.folder.cleanup()


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_whatever_contenders_do_only_the_newest_holder_writes(engine: str, request: pytest.FixtureRequest) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    url = request.getfixturevalue("postgres").new_database() if engine == "postgresql" else ""
    machine = type("OnEngine", (Contenders,), {"url": url})
    examples = 20 if engine == "postgresql" else 40
    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=25, deadline=None))


WRITER = """
import sys, time
from controlplane.store.lease import Leases
from controlplane.store.migrate import open_store
from controlplane.store.sql_ledger import SqlLedger
from contracts.errors import Conflict, Unavailable
database = open_store(sys.argv[1])
leases, ledger = Leases(database), SqlLedger(database, "1")
while (lease := leases.acquire("leader", sys.argv[2], 1.0)) is None:
    time.sleep(0.05)
print("leads", lease.fence, flush=True)
if sys.argv[3] == "sleepy":
    leases.is_live = lambda lease: True  # as if its own clock had slept too
while True:
    try:
        with database.write() as connection:
            leases.require(connection, lease)
            ledger.write(connection, [{"at_s": 0.0, "rollout_id": sys.argv[2], "policy_digest": str(lease.fence),
                                       "observation": {}, "decision": {}}])
        if not sys.argv[3]:
            lease = leases.renew(lease, 1.0) or lease
    except Unavailable:
        pass  # PostgreSQL has ended the session of who stopped within a transaction
    except Conflict:
        print("refused", flush=True)
        break
    time.sleep(0.01)
"""


def writer(url: str, name: str, mode: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, url, name, mode]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("mode", ["", "sleepy"])
def test_a_stopped_leader_that_wakes_up_writes_nothing_more(database_url: str, mode: str) -> None:
    database = open_store(database_url)
    ledger = SqlLedger(database, "")
    old = writer(database_url, "old", mode)
    new = None
    try:
        assert old.stdout is not None
        assert old.stdout.readline() == "leads 1\n"
        wait_for(lambda: ledger.verify() > 3)
        # Stopped between two writes: one that is stopped within a write keeps everybody waiting.
        stop_idle(old, database)
        new = writer(database_url, "new")
        assert new.stdout is not None
        assert new.stdout.readline() == "leads 2\n"
        wait_for(lambda: any(entry.rollout_id == "new" for entry in ledger.entries()))
        os.kill(old.pid, signal.SIGCONT)
        assert old.stdout.readline() == "refused\n"
        old.wait()
        count = ledger.verify()
        wait_for(lambda: ledger.verify() > count + 3)
    finally:
        for process in (old, new):
            if process is not None:
                process.kill()
                process.communicate()
    fences = [int(entry.policy_digest) for entry in ledger.entries()]
    assert fences == sorted(fences)
    assert set(fences) == {1, 2}
    database.close()


def stop_idle(process: subprocess.Popen[str], database: Database) -> None:
    """Stop a process when it holds no lock."""
    while True:
        os.kill(process.pid, signal.SIGSTOP)
        if not (is_locked(database) if database.dialect == "sqlite" else is_in_transaction(database)):
            return
        os.kill(process.pid, signal.SIGCONT)
        time.sleep(0.003)


def is_in_transaction(database: Database) -> bool:
    """Tell whether a session of somebody else is within a transaction, on PostgreSQL."""
    others = "datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    with database.read() as connection:
        count = connection.exec_driver_sql(f"SELECT count(*) FROM pg_stat_activity WHERE {others} AND state <> 'idle'")
        return bool(count.scalar_one())


def is_locked(database: Database) -> bool:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(str(database.url.database), timeout=0.05, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        connection.execute("ROLLBACK")
    return False


def test_a_server_that_restarts_keeps_what_it_confirmed(postgres: PostgresServer, tmp_path: Path) -> None:
    database = open_store(postgres.new_database())
    leases = Leases(database)
    leader = Leader(leases, "leader", "a", length_s=30.0)
    lease = leader.step()
    assert lease is not None
    postgres.stop()
    try:
        with pytest.raises(Unavailable), database.write() as connection:
            leases.require(connection, lease)
        assert leader.step() is not None, "its own clock says that the lease lasts"
    finally:
        postgres.start()
    with database.write() as connection:
        leases.require(connection, lease)
    database.close()
