"""What all tests share: databases of either kind, and property tests without a deadline on a busy machine."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.controlplane.postgres import PostgresServer, find_binaries, postgres_server

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
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database on each engine."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'roost.db'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new_database()
