"""What all tests share: databases of either kind, and property tests without a deadline on a busy machine."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.controlplane.postgres import PostgresServer, find_binaries, postgres_server
from tests.prepared import prepare_store

# Before torch is loaded: its threads would spin while they wait, and tests run side by side.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

settings.register_profile("roost", settings(), deadline=None)
settings.load_profile("roost")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this session's own."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL's server is not installed (Debian: apt-get install postgresql)")
    with postgres_server(binaries) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database without any table on each engine."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'roost.db'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database with this release's schema, and no rows, on each engine."""
    if request.param == "sqlite":
        return prepare_store(tmp_path / "roost.db")
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new_store()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the files that may take longest: workers that take one file after another then end together."""
    limits_s: Counter[Path] = Counter()
    for item in items:
        marker = item.get_closest_marker("timeout")
        limits_s[item.path] += int(marker.args[0] if marker else config.getini("timeout"))
    items.sort(key=lambda item: -limits_s[item.path])
