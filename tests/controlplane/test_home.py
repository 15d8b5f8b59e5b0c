"""The folder of a control plane: who may look into it, and what is told when it can't be one."""

from pathlib import Path

import pytest

from contracts.errors import InvalidInput
from controlplane.server.detached import start_detached
from controlplane.server.options import ServerOptions
from controlplane.settings import make_home


def test_a_new_home_is_its_owners_alone(tmp_path: Path) -> None:
    make_home(tmp_path / "team" / "home")
    assert (tmp_path / "team" / "home").stat().st_mode & 0o077 == 0


def test_a_home_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    make_home(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o750


def test_a_file_is_no_home(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for home in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InvalidInput, match="can't be used"):
            start_detached(ServerOptions(home=home, port=0), print)
