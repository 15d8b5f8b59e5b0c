"""kill -9 at every named step of a promotion and of a rollback: another goes on, and it ends the same."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from contracts.ids import CHAMPION, PREVIOUS
from controlplane.store.schema import OUTBOX, ROLLED_BACK
from tests.controlplane.conftest import Bench
from tests.controlplane.crash_world import Stage

GOOD, BAD = 0.0, 0.6


def end_of(bench: Bench) -> dict[str, Any]:
    """Return everything that must not depend on when somebody was killed."""
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
        "told": told,
    }


def counted_of(bench: Bench) -> int:
    """Return the attempts of all ticks together, as they are in the ledger."""
    arms = [entry.observation["counts"]["availability"] for entry in bench.ledger.entries() if entry.observation["counts"]]
    return sum(tick[arm]["total"] for tick in arms for arm in ("challenger", "champion"))
