"""Many simulated weeks, over several processes: progress, every broken promise, and a summary at the end.

Run from the repository root::

    python -m tests.simulation --seeds 200
    python -m tests.simulation --seeds 20 --first 5000 --postgresql
    python -m tests.simulation --seeds 200 --log weeks.jsonl --resume     # without the seeds that the log has

Exit status 1 when a promise was broken.
"""

import argparse
import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from multiprocessing import Process, SimpleQueue
from pathlib import Path
from typing import Any

from tests.controlplane.postgres import PostgresServer, find_binaries, postgres_server
from tests.simulation.week import live_through

Told = dict[str, Any]


def main() -> None:
    """Simulate weeks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--unkind", type=float, default=1.0, help="how much goes wrong; 0 for nothing")
    parser.add_argument("--postgresql", action="store_true", help="on PostgreSQL, a server for each process")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--log", type=Path, help="where each week's end is written, a line of JSON")
    parser.add_argument("--resume", action="store_true", help="leave out what the log has")
    arguments = parser.parse_args()
    if arguments.postgresql and find_binaries() is None:
        raise SystemExit("PostgreSQL's server is not installed (Debian: apt-get install postgresql)")
    done = _read(arguments.log) if arguments.resume else {}
    if arguments.log is not None and not arguments.resume:
        arguments.log.unlink(missing_ok=True)
    wanted = range(arguments.first, arguments.first + arguments.seeds)
    done = {seed: told for seed, told in done.items() if seed in wanted}
    for told in _live([seed for seed in wanted if seed not in done], arguments):
        done[told["seed"]] = told
        for line in told["broken"]:
            print(f"seed {told['seed']}: {line}", flush=True)  # noqa: T201
        if arguments.log is not None:
            with arguments.log.open("a") as file:
                file.write(json.dumps(told) + "\n")
        if len(done) % 10 == 0:
            n_broken = sum(bool(one["broken"]) for one in done.values())
            print(f"{len(done)} of {len(wanted)} weeks, {n_broken} with a broken promise", flush=True)  # noqa: T201
    sys.exit(_summarise(list(done.values())))


def _summarise(weeks: Sequence[Told]) -> int:
    broken = [week["seed"] for week in weeks if week["broken"]]
    total: Counter[str] = Counter()
    for week in weeks:
        total += Counter(week["ends"]) + Counter(week["struck"])
    decisions, cpu_s = sum(week["decisions"] for week in weeks), sum(week["cpu_s"] for week in weeks)
    print(f"{len(weeks)} weeks, {decisions} decisions, {cpu_s:.0f} s of CPU")  # noqa: T201
    for name, count in sorted(total.items()):
        print(f"  {name:36} {count}")  # noqa: T201
    print(f"broken promises: {f'in seeds {broken}' if broken else 'none'}")  # noqa: T201
    return 1 if broken else 0


def _live(seeds: Sequence[int], arguments: argparse.Namespace) -> Iterator[Told]:
    """Live through weeks in several processes, and yield how each ended, as it ends."""
    told: SimpleQueue[Told] = SimpleQueue()
    parts = [seeds[number :: arguments.processes] for number in range(arguments.processes)]
    lives = [Process(target=_work, args=(part, arguments, told), daemon=True) for part in parts if part]
    for life in lives:
        life.start()
    left = len(seeds)
    while left:
        if not told.empty():
            yield told.get()
            left -= 1
        elif any(life.exitcode for life in lives):
            raise SystemExit("a process of the simulation failed")
        else:
            time.sleep(0.1)
    for life in lives:
        life.join()


def _work(seeds: Sequence[int], arguments: argparse.Namespace, told: "SimpleQueue[Told]") -> None:
    logging.disable(logging.WARNING)
    with ExitStack() as stack:
        binaries = find_binaries() if arguments.postgresql else None
        server = stack.enter_context(postgres_server(binaries)) if binaries is not None else None
        for seed in seeds:
            told.put(_live_one(seed, server, arguments.unkind))


def _live_one(seed: int, server: PostgresServer | None, unkind: float) -> Told:
    begun_s = time.process_time()
    if server is None:
        week = live_through(seed, unkind=unkind)
    else:
        week = live_through(seed, server.new_database(), unkind=unkind, restart=server.restart)
    return {
        "seed": seed,
        "database": "sqlite" if server is None else "postgresql",
        "broken": week.broken,
        "decisions": week.decisions,
        "ends": week.ends,
        "struck": week.struck,
        "cpu_s": time.process_time() - begun_s,
    }


def _read(log: Path | None) -> dict[int, Told]:
    if log is None or not log.exists():
        return {}
    weeks = [json.loads(line) for line in log.read_text().splitlines()]
    return {week["seed"]: week for week in weeks}


if __name__ == "__main__":
    main()
