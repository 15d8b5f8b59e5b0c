"""Parts of the control plane's process: who may reach it, what it leaves in its home, its log, and the doctor."""

import json
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from contracts.errors import Conflict, InvalidInput
from controlplane.server.crew import Crew
from controlplane.server.detached import start_detached
from controlplane.server.doctor import Finding, State, examine
from controlplane.server.first_token import ensure_first_token
from controlplane.server.logs import JsonLines
from controlplane.server.options import ServerOptions
from controlplane.server.presence import read_first_token, read_presence, remove_presence, write_presence
from controlplane.server.process import run_server
from controlplane.server.scorers import InstalledScorers
from controlplane.settings import Settings
from controlplane.store.tokens import Role
from controlplane.stores import Stores, open_stores


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    stores = open_stores(Settings(tmp_path))
    yield stores
    stores.close()


def found(home: Path, part: str) -> Finding:
    return next(finding for finding in examine(home) if finding.part == part)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7"])
def test_other_machines_are_let_in_only_by_name(tmp_path: Path, host: str) -> None:
    options = ServerOptions(home=tmp_path, host=host)
    with pytest.raises(InvalidInput, match="names no hosts"):
        options.check_exposure()
    (tmp_path / "access.yaml").write_text("hosts: [roost.example]")
    options.check_exposure()


def test_loopback_needs_no_setting(tmp_path: Path) -> None:
    ServerOptions(home=tmp_path).check_exposure()


def test_the_first_token_is_made_once_for_its_owner_alone(tmp_path: Path, stores: Stores) -> None:
    settings = Settings(tmp_path)
    text = ensure_first_token(settings, stores.tokens)
    assert text is not None
    assert stores.tokens.check(text).role is Role.ADMIN
    assert settings.cli_token.stat().st_mode & 0o077 == 0
    assert read_first_token(settings.cli_token) == text
    assert ensure_first_token(settings, stores.tokens) is None
    assert len(stores.tokens.list()) == 1


def test_what_a_killed_control_plane_left_is_not_taken_for_a_running_one(tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    told = write_presence(settings, {"url": "http://127.0.0.1:1"})
    assert read_presence(settings.server_file) == told
    with pytest.raises(Conflict, match="runs already"):
        ServerOptions(home=tmp_path).check_alone()
    # The same process number, taken by another process later.
    settings.server_file.write_text(json.dumps({**told, "began_ticks": told["began_ticks"] - 1}))
    assert read_presence(settings.server_file) == {}
    ServerOptions(home=tmp_path).check_alone()
    remove_presence(settings)
    assert settings.server_file.exists(), "what another process wrote stays"


def test_a_log_record_is_one_line_of_json() -> None:
    record = logging.LogRecord("roost.server", logging.INFO, "", 0, "%s ended\nwell", ("it",), None)
    record.data = {"pid": 7}
    line = JsonLines().format(record)
    assert "\n" not in line
    told = json.loads(line)
    assert (told["message"], told["level"], told["data"]) == ("it ended\nwell", "info", {"pid": 7})


def test_work_that_fails_is_told_and_begun_again(caplog: pytest.LogCaptureFixture) -> None:
    crew, again, tries = Crew(pause_s=0.01), threading.Event(), list[int]()

    def work(stop: threading.Event) -> None:
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("unforeseen")
        again.set()
        stop.wait()

    crew.start("jobs", work)
    assert again.wait(60)
    crew.dismiss()
    assert len(tries) == 2
    assert "jobs ended with an error" in caplog.text


def test_scorers_are_made_when_they_are_asked_and_unknown_ones_are_missing() -> None:
    scorers = InstalledScorers()
    assert "image-sound" in scorers
    assert scorers["image-sound"] is scorers["image-sound"]
    assert scorers.get("no-such-scorer") is None
    assert "clip-alignment" not in scorers, "it needs a folder, which no spec names"


def test_the_doctor_changes_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert not [finding for finding in examine(home) if finding.failed]
    assert not home.exists()


def test_the_doctor_names_the_part_and_the_remedy(tmp_path: Path, stores: Stores) -> None:
    assert found(tmp_path, "ledger").state is State.WELL
    (tmp_path / "notify.yaml").write_text("channel: {}")
    settings = found(tmp_path, "settings")
    assert settings.failed
    assert "did you mean channels?" in settings.detail
    (tmp_path / "notify.yaml").unlink()
    Settings(tmp_path).token_key.chmod(0o640)
    assert "chmod 600" in found(tmp_path, "keys").line


def test_the_doctor_finds_a_database_of_a_later_release(tmp_path: Path, stores: Stores) -> None:
    with stores.database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    assert found(tmp_path, "database").failed


def test_the_doctor_finds_a_ledger_that_was_changed(tmp_path: Path, stores: Stores) -> None:
    with stores.database.write() as connection:
        stores.audit.write(connection, actor="ann", action="a", subject="s", reason="r")
        for (name,) in connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.exec_driver_sql(f"DROP TRIGGER {name}")
        connection.exec_driver_sql("UPDATE audit SET body = replace(body, 'ann', 'bob')")
    assert found(tmp_path, "ledger").failed


def test_a_port_that_is_taken_is_told_and_leaves_no_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        options = ServerOptions(home=home, port=port)
        for start in (start_detached, run_server):
            with pytest.raises(Conflict, match=f"port: {port}"):
                start(options, lambda line: None)
            assert not home.exists()


def test_a_home_that_is_no_folder_is_told_as_what_it_is(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("a file")
    for start in (start_detached, run_server):
        with pytest.raises(InvalidInput, match=r"home: .*can't be used"):
            start(ServerOptions(home=home, port=0), lambda line: None)
