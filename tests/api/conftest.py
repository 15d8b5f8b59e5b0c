"""One control plane per test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.ground import Ground


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    made = Ground(tmp_path)
    yield made
    made.close()
