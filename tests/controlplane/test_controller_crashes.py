"""kill -9 at every named step of a promotion and of a rollback: another goes on, and it ends the same."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from contracts.ids import CHAMPION, PREVIOUS
from controlplane.store.ledger import Ledger
from controlplane.store.schema import OUTBOX, ROLLED_BACK
from tests.controlplane.conftest import SPEC, Bench
from tests.controlplane.crash_world import Stage

NAMED = {
    "promotion": (
        "placing m@1 m@2",
        "routing m@1 True",
        "routing m@1 all",
        "alias champion m@2",
        "alias previous m@1",
        "routing m@2 ",
        "placing m@2",
    ),
    "rollback": ("placing m@1 m@2", "routing m@1 True", "routing m@1 False", "placing m@1"),
    "rollback in bake": ("alias champion m@2", "alias champion m@1", "routing m@1 False", "placing m@1"),
}
"""Marks that a rollout leaves outside; before and after each of them, and each commit, somebody is killed."""


def end_of(bench: Bench) -> dict[str, Any]:
    """Return everything that must not depend on when somebody was killed.

    A hold does: where the tick that would have told of it was never written, the next one knows more.
    """
    (rollout,) = bench.stores.rollouts.of_service("tags")
    production = bench.stores.services.production("tags")
    with bench.stores.database.read() as connection:
        refused = [row.version for row in connection.execute(select(ROLLED_BACK))]
        told = [row.topic for row in connection.execute(select(OUTBOX).order_by(OUTBOX.c.sequence))]
    assert bench.traffic.table is not None
    routes = bench.traffic.table.services["tags"]
    return {
        "rollout": (rollout.phase, rollout.ended),
        "production": (production.champion, production.previous),
        "aliases": (bench.catalogue.aliases["m", CHAMPION], bench.catalogue.aliases.get(("m", PREVIOUS))),
        "running": sorted(map(str, bench.fleet.running)),
        "routes": (str(routes.champion), routes.split),
        "refused": refused,
        "told": [topic for topic in told if not topic.startswith("hold.")],
    }


def counted_of(bench: Bench) -> int:
    """Return the attempts of all ticks together, as they are in the ledger."""
    return counted_of_ledger(bench.ledger)


def counted_of_ledger(ledger: Ledger) -> int:
    """Return the attempts of a ledger's ticks together."""
    counts = [entry.observation["counts"] for entry in ledger.entries()]
    ticks = [counted["availability"] for counted in counts if counted]
    return sum(tick[arm]["total"] for tick in ticks for arm in ("challenger", "champion"))


def served_of(bench: Bench) -> int:
    """Return the attempts that users really made while the rollout was decided on."""
    last_s = max(entry.at_s for entry in bench.ledger.entries())
    return sum(total for end_s, total in bench.traffic.served if end_s <= last_s)


def make_bench(folder: Path, kind: str) -> Bench:
    bench = Bench(folder, SPEC.replace("bake: 20s", "bake: 3s"))
    bench.traffic.rate = 120
    bench.traffic.wrong[2] = 0.6 if kind == "rollback" else 0.0
    bench.traffic.spoils = {2: 0.6} if kind == "rollback in bake" else {}
    bench.begin()
    return bench


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", NAMED)
def test_killed_at_any_step_the_rollout_ends_the_same_with_nothing_lost_or_doubled(tmp_path: Path, kind: str) -> None:
    whole = make_bench(tmp_path / "whole", kind)
    status, steps = Stage(whole).play()
    assert status == 0
    expected = end_of(whole)
    assert counted_of(whole) == served_of(whole) > 0
    whole.close()
    assert {f"{when} {name}" for name in NAMED[kind] for when in ("before", "after")} <= set(steps), steps
    if kind == "rollback in bake":  # until then it is a promotion
        steps = steps[steps.index("after routing m@1 all") :]
    for number, fatal in enumerate(steps):
        bench = make_bench(tmp_path / str(number), kind)
        stage = Stage(bench)
        status, _ = stage.play(fatal)
        assert os.WIFSIGNALED(status), f"nobody was killed {fatal}"
        assert os.WTERMSIG(status) == signal.SIGKILL
        status, _ = stage.play()
        assert status == 0, f"killed {fatal}: the rollout never ended"
        assert end_of(bench) == expected, f"killed {fatal}"
        assert counted_of(bench) == served_of(bench), f"killed {fatal}: telemetry was lost or counted twice"
        assert bench.ledger.verify() > 0
        bench.close()
