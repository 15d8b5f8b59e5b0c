"""What the stores cost, on SQLite and PostgreSQL side by side in one run.

Run from the repository root::

    python -m benchmarks.store            # a few minutes
    python -m benchmarks.store --quick    # under a minute

A *pass* reads all living rollouts, decides nothing, and writes what changed, with one decision each, in one fenced
transaction. CPU is this process's; PostgreSQL's own comes on top. PostgreSQL runs without ``fsync``, SQLite with it.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sqlalchemy import insert

from contracts.specs.loading import load_service_spec
from controlplane.jobs.claims import Claim
from controlplane.jobs.kinds import JobKind, JobKinds
from controlplane.jobs.store import Jobs
from controlplane.store.database import Database
from controlplane.store.lease import Lease, Leases
from controlplane.store.migrate import open_store
from controlplane.store.rollouts import Rollouts, Step
from controlplane.store.schema import ROLLOUTS, SERVICES
from controlplane.store.sql_ledger import SqlLedger
from rollout.machine import start
from rollout.policy import compile_policy
from rollout.state import SCHEMA, State
from tests.controlplane.postgres import find_binaries, postgres_server

SPEC = "{service: tags, model: m, slos: {availability: {objective: 99.5%}}}"


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="fewer rollouts and repeats")
    quick = parser.parse_args().quick
    sizes, repeats = ((200, 1000), 3) if quick else ((1000, 5000), 10)
    print(f"{'engine':<11} {'what':<34} {'median ms':>10} {'CPU ms':>8}")
    with engines() as urls:
        for engine, url in urls.items():
            database = open_store(url)
            measure_fenced_write(engine, database, 50 if quick else 300)
            for size in sizes:
                measure_passes(engine, database, size, repeats)
            measure_claims(engine, database, 50 if quick else 300)
            database.close()


@contextmanager
def engines() -> Iterator[dict[str, str]]:
    """Yield the address of an empty database on each engine that is installed."""
    with tempfile.TemporaryDirectory() as folder:
        urls = {"SQLite": f"sqlite:///{Path(folder) / 'roost.db'}"}
        binaries = find_binaries()
        if binaries is None:
            print("PostgreSQL's server is not installed: SQLite alone")
            yield urls
            return
        with postgres_server(binaries) as server:
            yield {**urls, "PostgreSQL": server.new_database()}


def measure_fenced_write(engine: str, database: Database, count: int) -> None:
    """Measure one decision written under a lease."""
    leases, ledger = Leases(database), SqlLedger(database, "bench")
    lease = lead(leases, "one")
    record = {"at_s": 0.0, "rollout_id": "r", "policy_digest": "p", "observation": {"n": 1}, "decision": {}}

    def write() -> None:
        with database.write() as connection:
            leases.require(connection, lease)
            ledger.write(connection, [record])

    report(engine, "fenced write of one decision", [timed(write) for _ in range(count)])


def measure_passes(engine: str, database: Database, size: int, repeats: int) -> None:
    """Measure passes over ``size`` living rollouts of which none, 1 % and all have changed."""
    leases, ledger = Leases(database), SqlLedger(database, "bench")
    rollouts, lease = Rollouts(database, leases), lead(leases, f"pass-{size}")
    template = begin(database, lease, size)
    for share in (0.0, 0.01, 1.0):
        changed = round(size * share)

        def make_pass(changed: int = changed) -> None:
            living = rollouts.living()
            steps = [Step(row.revision, replace(template, rollout_id=row.id)) for row in living[:changed]]
            record = {"at_s": 0.0, "policy_digest": "p", "observation": {"n": 1}, "decision": {}}
            with database.write() as connection:
                rollouts.save(connection, lease, steps)
                ledger.write(connection, [{**record, "rollout_id": step.state.rollout_id} for step in steps])

        report(engine, f"pass, {size} rollouts, {share:.0%} changed", [timed(make_pass) for _ in range(repeats)])


def begin(database: Database, lease: Lease, size: int) -> State:
    """Put ``size`` services with a living rollout each into the database; return a state to make theirs from."""
    policy = compile_policy(load_service_spec(SPEC).rollout, load_service_spec(SPEC).objectives())
    state = start(policy, at_s=0.0, rollout_id="r", champion="m@1", challenger="m@2")
    names = [f"s{size}-{index}" for index in range(size)]
    same = {"generation": 1, "service_revision": 1, "champion": "m@1", "challenger": "m@2", "phase": "pending"}
    blank = {
        "ended": False,
        "revision": 1,
        "fence": lease.fence,
        "state_schema": SCHEMA,
        "created_s": 0.0,
        "updated_s": 0.0,
    }
    with database.write() as connection:
        connection.execute(ROLLOUTS.delete())
        connection.execute(insert(SERVICES), [{"name": name, "revision": 0, "digest": ""} for name in names])
        rows = [{"id": name, "service": name, "state": state.to_json(), **same, **blank} for name in names]
        connection.execute(insert(ROLLOUTS), rows)
    return state


def measure_claims(engine: str, database: Database, count: int) -> None:
    """Measure a job's claim and its end."""
    jobs = Jobs(database, JobKinds([JobKind("bench", "none:none", at_once=10)]))
    for _ in range(count):
        jobs.submit("bench", actor="bench")

    def claim() -> None:
        job = jobs.claim("w", 60.0)
        if job is not None:
            Claim(database, job).finish({})

    times = [timed(claim) for _ in range(count)]
    report(engine, "claim and finish of a job", times)
    print(f"{engine:<11} {'jobs claimed and finished':<34} {count / sum(wall for wall, _ in times):>10.0f} /s")


def lead(leases: Leases, name: str) -> Lease:
    """Return a lease that outlasts the benchmark."""
    lease = leases.acquire(name, "bench", 3600.0)
    if lease is None:
        raise SystemExit("the lease is another's")
    return lease


def timed(action: Callable[[], None]) -> tuple[float, float]:
    """Return the seconds and the CPU seconds of one call."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - wall_s, time.process_time() - cpu_s


def report(engine: str, what: str, times: list[tuple[float, float]]) -> None:
    """Print the medians of many calls."""
    wall_s, cpu_s = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"{engine:<11} {what:<34} {wall_s * 1000:>10.2f} {cpu_s * 1000:>8.2f}", flush=True)


if __name__ == "__main__":
    main()
