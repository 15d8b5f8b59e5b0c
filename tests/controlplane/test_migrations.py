"""Migrations: many processes at once, agreement with the models, and every released schema brought up with its rows."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.exc import DatabaseError

from contracts.errors import Conflict, InvalidInput, Unavailable
from controlplane.store.audit import Audit
from controlplane.store.database import Database
from controlplane.store.migrate import differences, open_store, schema_version, upgrade
from controlplane.store.schema import APPEND_ONLY, HEAD, SCHEMA
from controlplane.store.sql_ledger import SqlLedger
from rollout.state import State

GOLDEN = Path(__file__).parent / "golden"
OPEN = "import sys; from controlplane.store.migrate import open_store; open_store(sys.argv[1]).close()"


def test_six_processes_that_migrate_together_all_succeed(empty_database_url: str) -> None:
    running = [subprocess.Popen([sys.executable, "-W", "error", "-c", OPEN, empty_database_url]) for _ in range(6)]
    assert [process.wait() for process in running] == [0] * 6
    database = Database(empty_database_url)
    with database.read() as connection:
        assert schema_version(connection) == HEAD
    database.close()


def test_migrations_and_models_agree(empty_database_url: str) -> None:
    database = open_store(empty_database_url)
    assert differences(database) == []
    with database.write() as connection:
        connection.execute(text("ALTER TABLE jobs ADD COLUMN stray INTEGER"))
    assert "stray" in str(differences(database))
    database.close()


@pytest.mark.parametrize("revision", sorted(path.stem for path in GOLDEN.glob("*.json")))
def test_a_released_schema_is_brought_up_with_its_rows(empty_database_url: str, revision: str) -> None:
    rows = json.loads((GOLDEN / f"{revision}.json").read_text())
    database = Database(empty_database_url)
    upgrade(database, revision)
    with database.write() as connection:
        connection.execute(text("DELETE FROM chains"))
        for table, found in rows.items():
            for row in found:
                names = ", ".join(row)
                values = ", ".join(f":{name}" for name in row)
                connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"), row)
    upgrade(database)
    assert differences(database) == []
    assert SqlLedger(database, "").verify() == len(rows["decisions"])
    assert Audit(database).verify() == len(rows["audit"])
    with database.read() as connection:
        for table, found in rows.items():
            count = connection.execute(text(f"SELECT count(*) FROM {table}")).scalar()
            assert count == len(found), table
        states = connection.execute(text("SELECT id, state FROM rollouts")).all()
    assert states
    assert all(State.from_json(state).rollout_id == rollout_id for rollout_id, state in states)
    database.close()


def test_the_golden_rows_fill_every_table_of_their_schema() -> None:
    rows = json.loads((GOLDEN / f"{HEAD}.json").read_text())
    assert set(rows) == set(SCHEMA.tables)
    assert all(rows.values())


def test_a_released_migration_is_never_changed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    for golden in sorted(GOLDEN.glob("*.sql")):
        upgrade(Database(url), golden.stem)
        with closing(sqlite3.connect(tmp_path / "x.db")) as file:
            made = [row[0] for row in file.execute("SELECT sql FROM sqlite_master WHERE sql NOT NULL ORDER BY name")]
        assert ";\n".join(made) + ";\n" == golden.read_text()


def test_a_migration_that_fails_leaves_nothing(empty_database_url: str) -> None:
    def fail_half_way() -> None:
        with database.migrating() as connection:
            connection.execute(text("CREATE TABLE half (a INTEGER)"))
            raise RuntimeError("killed")

    database = Database(empty_database_url)
    with pytest.raises(RuntimeError):
        fail_half_way()
    with database.read() as connection:
        assert inspect(connection).get_table_names() == []
    database.close()


def test_a_database_of_a_later_release_is_refused(empty_database_url: str) -> None:
    database = open_store(empty_database_url)
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(Conflict, match="9999"):
        open_store(empty_database_url)


@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize("statement", ["UPDATE {} SET digest = 'x'", "DELETE FROM {}"])
def test_records_can_not_be_changed_or_removed(empty_database_url: str, table: str, statement: str) -> None:
    database = open_store(empty_database_url)
    rows = json.loads((GOLDEN / f"{HEAD}.json").read_text())
    with database.write() as connection:
        for name in ("services", table):
            row = rows[name][0]
            values = ", ".join(f":{column}" for column in row)
            connection.execute(text(f"INSERT INTO {name} ({', '.join(row)}) VALUES ({values})"), row)
    with pytest.raises(DatabaseError, match="never changed"), database.engine.begin() as connection:
        connection.execute(text(statement.format(table)))
    database.close()


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://host/name", "sqlite://", "sqlite:///:memory:"])
def test_an_address_that_names_no_database_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="database"):
        open_store(url)


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"not a database, but long enough to be looked at" * 50)
    with pytest.raises(InvalidInput, match="not a database"):
        open_store(f"sqlite:///{tmp_path / 'x.db'}")


def test_a_server_that_is_away_is_told_without_its_password() -> None:
    with pytest.raises(Unavailable) as caught:
        open_store("postgresql://me:secret@127.0.0.1:1/x")
    assert "secret" not in caught.value.message


def test_a_full_disk_is_told_and_nothing_is_half_done(tmp_path: Path) -> None:
    database = open_store(f"sqlite:///{tmp_path / 'x.db'}")
    ledger = SqlLedger(database, "1")
    with database.engine.begin() as connection:
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()
    database.engine.dispose()

    def write(size: int) -> None:
        with database.write() as connection:
            connection.execute(text(f"PRAGMA max_page_count={pages + 4}"))
            record = {"at_s": 1.0, "rollout_id": "r", "policy_digest": "p", "decision": {}}
            ledger.write(
                connection, [{**record, "observation": {"x": ""}}, {**record, "observation": {"x": "y" * size}}]
            )

    write(10)
    with pytest.raises(Unavailable, match="full"):
        write(1_000_000)
    assert ledger.verify() == 2
    database.close()
