"""Weeks in virtual time, with kills, stops, outages and lost answers: the promises hold, and would be missed if not."""

import logging
from collections.abc import Iterator

import pytest

from controlplane.store.cursors import Cursors
from tests.controlplane.postgres import find_binaries, postgres_server
from tests.simulation.week import live_through

SEEDS = 4


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_an_unkind_week_breaks_no_promise(seed: int) -> None:
    week = live_through(1000 + seed, unkind=2.0)
    assert week.broken == []
    assert week.struck["killed"] + week.struck["stopped"] > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_unkind_week_on_postgresql_breaks_no_promise() -> None:
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL's server is not installed (Debian: apt-get install postgresql)")
    with postgres_server(binaries) as server:
        assert live_through(2000, server.new_database()).broken == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_same_seed_is_the_same_week() -> None:
    one, other = live_through(7), live_through(7)
    assert (one.ends, one.struck) == (other.ends, other.struck)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_control_plane_that_forgets_what_it_counted_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cursors, "write", lambda *arguments, **options: None)
    weeks = [live_through(seed, unkind=3.0) for seed in range(2)]
    assert any("counted twice" in line for week in weeks for line in week.broken)
