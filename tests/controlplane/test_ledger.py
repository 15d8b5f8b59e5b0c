"""The ledger: what was decided can be read back, and not be changed unseen; as a file, and on both databases."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from contracts.errors import Conflict, IntegrityError
from controlplane.settings import Settings
from controlplane.store import sql_ledger
from controlplane.store.checkpoints import Checkpoints
from controlplane.store.database import Database
from controlplane.store.ledger import FileLedger, Ledger
from controlplane.store.migrate import open_store
from controlplane.store.sql_ledger import SqlLedger
from tests.prepared import prepare_store

ROOST = Path(sys.executable).with_name("roost")
Open = Callable[[str], Ledger]


def fill(ledger: Ledger, count: int = 3) -> None:
    for index in range(count):
        ledger.append(
            at_s=float(index),
            rollout_id=f"r{index % 2}",
            policy_digest="p",
            observation={"bad": index, "total": 10, "share": 0.1 + 0.2},
            decision={"weight": 0.1 * index, "sentence": "größer 5 %"},
        )


def filled(path: Path, count: int = 3) -> FileLedger:
    ledger = FileLedger(path, code_version="1")
    fill(ledger, count)
    return ledger


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    found = open_store(database_url)
    yield found
    found.close()


@pytest.fixture(params=["file", "sqlite", "postgresql"])
def open_ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Open the same ledger again and again, by a code version."""
    if request.param == "file":
        yield lambda version: FileLedger(tmp_path / "ledger.jsonl", version)
        return
    is_file = request.param == "sqlite"
    url = prepare_store(tmp_path / "x.db") if is_file else request.getfixturevalue("postgres").new_store()
    database = open_store(url)
    yield lambda version: SqlLedger(database, version)
    database.close()


def test_decisions_are_read_back_as_written_also_after_a_restart(open_ledger: Open) -> None:
    fill(open_ledger("1"))
    again = open_ledger("2")
    again.append(at_s=9.0, rollout_id="r0", policy_digest="p", observation={}, decision={})
    assert [entry.sequence for entry in again.entries()] == [0, 1, 2, 3]
    assert [entry.code_version for entry in again.entries()] == ["1", "1", "1", "2"]
    assert [entry.observation["bad"] for entry in again.entries("r0") if entry.observation] == [0, 2]
    assert [entry.sequence for entry in again.entries(after=1)] == [2, 3]
    first = next(again.entries())
    assert first.observation["share"] == 0.1 + 0.2
    assert first.decision["sentence"] == "größer 5 %"
    assert again.verify() == 4


def test_a_number_that_is_none_is_refused_and_nothing_is_written(open_ledger: Open) -> None:
    ledger = open_ledger("1")
    with pytest.raises(ValueError, match="not JSON compliant"):
        ledger.append(at_s=1.0, rollout_id="r", policy_digest="p", observation={"x": float("nan")}, decision={})
    assert ledger.verify() == 0


@pytest.mark.parametrize("change", ["edit", "delete", "swap"])
def test_a_changed_file_is_noticed(tmp_path: Path, change: str) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = filled(path)
    lines = path.read_text().splitlines()
    if change == "edit":
        row = json.loads(lines[1])
        row["decision"]["weight"] = 0.9
        lines[1] = json.dumps(row)
    elif change == "delete":
        del lines[1]
    else:
        lines[0], lines[1] = lines[1], lines[0]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(IntegrityError, match="decision"):
        ledger.verify()


def test_a_torn_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    filled(path)
    path.write_text(path.read_text()[:-20])
    with pytest.raises(IntegrityError, match="line 3"):
        FileLedger(path, code_version="1")


def tamper(database: Database, *statements: str) -> None:
    """Do what somebody who owns the whole database can do: put the triggers aside and write."""
    with database.write() as connection:
        if database.dialect == "sqlite":
            for trigger in ("decisions_no_update", "decisions_no_delete"):
                connection.execute(text(f"DROP TRIGGER {trigger}"))
        else:
            connection.execute(text("ALTER TABLE decisions DISABLE TRIGGER ALL"))
        for statement in statements:
            connection.execute(text(statement))


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (
            "UPDATE decisions SET body = replace(body, '\"bad\"', '\"good\"') WHERE sequence = 1",
            "decision 1 was edited",
        ),
        ("UPDATE decisions SET at_s = 77 WHERE sequence = 2", "decision 2 was edited"),
        ("UPDATE decisions SET subject = 'r9' WHERE sequence = 0", "decision 0 was edited"),
        ("UPDATE decisions SET body = '{' WHERE sequence = 0", "decision 0 was edited"),
        ("DELETE FROM decisions WHERE sequence = 1", "decision 1 is missing"),
        ("DELETE FROM decisions WHERE sequence >= 2", "the last 2 decisions were cut off: 4 were written, 2 are left"),
        ("UPDATE chains SET length = 3 WHERE name = 'decisions'", "head"),
    ],
)
def test_an_edited_a_missing_and_a_cut_row_are_told(database: Database, statement: str, told: str) -> None:
    ledger = SqlLedger(database, "1")
    fill(ledger, 4)
    assert ledger.verify() == 4
    tamper(database, statement)
    with pytest.raises(IntegrityError) as caught:
        ledger.verify()
    assert told in caught.value.message


def rewrite(database: Database, count: int) -> None:
    """Write the chain anew with other decisions, whole and right in itself."""
    reset = f"UPDATE chains SET length = 0, digest = '{'0' * 64}' WHERE name = 'decisions'"
    tamper(database, "DELETE FROM decisions", reset)
    forged = SqlLedger(database, "1")
    for index in range(count):
        forged.append(at_s=float(index), rollout_id="r", policy_digest="p", observation={}, decision={"weight": 1.0})


@pytest.mark.parametrize(("left", "told"), [(2, "the last 2 decisions were cut off"), (4, "was rewritten")])
def test_a_chain_that_was_made_anew_is_told_by_its_checkpoints(
    database: Database, tmp_path: Path, left: int, told: str
) -> None:
    checkpoints = Checkpoints(tmp_path / "elsewhere.jsonl", tmp_path / "keys" / "key")
    ledger = SqlLedger(database, "1")
    fill(ledger, 4)
    checkpoints.sign(database, [sql_ledger.CHAIN])
    fill(ledger, 2)
    assert ledger.verify(checkpoints.heads()) == 6
    rewrite(database, left)
    assert ledger.verify() == left, "in itself it is right"
    with pytest.raises(IntegrityError, match=told):
        ledger.verify(checkpoints.heads())


def test_a_checkpoint_that_was_edited_is_told(tmp_path: Path) -> None:
    database = open_store(prepare_store(tmp_path / "x.db"))
    checkpoints = Checkpoints(tmp_path / "elsewhere.jsonl", tmp_path / "key")
    fill(SqlLedger(database, "1"))
    checkpoints.sign(database, [sql_ledger.CHAIN])
    checkpoints.sign(database, [sql_ledger.CHAIN])
    line = json.loads((tmp_path / "elsewhere.jsonl").read_text().splitlines()[0])
    payload = line["dsseEnvelope"]["payload"]
    line["dsseEnvelope"]["payload"] = payload[:40] + ("A" if payload[40] != "A" else "B") + payload[41:]
    with (tmp_path / "elsewhere.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    with pytest.raises(IntegrityError, match="checkpoint 3"):
        checkpoints.heads()


def test_a_file_is_taken_over_with_its_digests(database: Database, tmp_path: Path) -> None:
    old = filled(tmp_path / "ledger.jsonl", 5)
    ledger = SqlLedger(database, "2")
    assert ledger.take_over(old) == 5
    assert list(ledger.entries()) == list(old.entries())
    assert ledger.verify() == 5
    with pytest.raises(Conflict):
        ledger.take_over(old)
    assert ledger.verify() == 5


def test_many_writers_make_one_chain(database_url: str) -> None:
    open_store(database_url).close()
    code = (
        "import sys; from controlplane.store.migrate import open_store\n"
        "from controlplane.store.sql_ledger import SqlLedger\n"
        "ledger = SqlLedger(open_store(sys.argv[1]), sys.argv[2])\n"
        "for i in range(25): ledger.append(at_s=0.0, rollout_id=sys.argv[2], policy_digest='p', observation={'i': i},"
        " decision={})"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, database_url, name]) for name in ("a", "b", "c")]
    assert [process.wait() for process in running] == [0, 0, 0]
    database = open_store(database_url)
    ledger = SqlLedger(database, "")
    assert ledger.verify() == 75
    assert [entry.observation["i"] for entry in ledger.entries("b")] == list(range(25))
    database.close()


def test_verify_on_the_command_line_tells_a_cut_ledger(tmp_path: Path) -> None:
    def verify() -> subprocess.CompletedProcess[str]:
        command = [str(ROOST), "decision", "verify", "--home", str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    settings = Settings(tmp_path)
    database = open_store(settings.database_url)
    fill(SqlLedger(database, "1"))
    Checkpoints(settings.checkpoints, settings.checkpoint_key).sign(database, [sql_ledger.CHAIN])
    filled(settings.ledger)
    good = verify()
    assert good.returncode == 0, good.stderr
    assert good.stdout.count("3 decisions") == 2
    rewrite(database, 1)
    bad = verify()
    assert bad.returncode == 1
    assert "the last 2 decisions were cut off" in bad.stderr
    assert "Traceback" not in bad.stderr
    database.close()
