"""The database of telemetry and reviews: a file beside the one of decisions, or PostgreSQL, quick to write.

It is SQLite with ``synchronous=NORMAL``: after a loss of power the last moments may be missing, never the file torn.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, Table, create_engine, event, inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from contracts.errors import InvalidInput, Unavailable

BUSY_TIMEOUT_MS = 5000
READ_ONLY = "read_only"


def open_database(url: str, schema: MetaData) -> Engine:
    """Open a database and make the schema's tables that it lacks; a new SQLite file is made with its folder.

    Raises:
        InvalidInput: when the address can't be used.
        Unavailable: when nobody answers there.
    """
    try:
        engine = create_engine(url)
    except (SQLAlchemyError, ImportError) as error:
        raise InvalidInput(f"database: {_first_line(error)}", hint="write sqlite:///PATH") from None
    if engine.dialect.name == "sqlite":
        if engine.url.database:
            Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    try:
        with engine.begin() as connection:
            schema.create_all(connection)
            lacking = _lacking_columns(connection, schema)
    except SQLAlchemyError as error:
        engine.dispose()
        shown = engine.url.render_as_string(hide_password=True)
        raise Unavailable(f"database: {shown} can't be used: {_first_line(error)}", hint="check the address") from None
    if lacking:
        engine.dispose()
        shown = engine.url.render_as_string(hide_password=True)
        raise Unavailable(
            f"database: {shown} was made by another version of Roost; it lacks {', '.join(lacking)}",
            hint="read it with that version, or name another folder",
        )
    return engine


def _lacking_columns(connection: Connection, schema: MetaData) -> list[str]:
    """Return the columns of the schema that the database's tables don't have."""
    found = inspect(connection)
    return [
        f"{table.name}.{column.name}"
        for table in schema.sorted_tables
        for known in [{row["name"] for row in found.get_columns(table.name)}]
        for column in table.columns
        if column.name not in known
    ]


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Yield a connection that reads one consistent state and holds no writer up."""
    with engine.connect().execution_options(**{READ_ONLY: True}) as connection:
        yield connection


def upsert(connection: Connection, table: Table, rows: list[dict[str, Any]], *, add: str | None = None) -> None:
    """Insert rows; one whose key is there already is left as it is, or its column ``add`` is added to."""
    if not rows:
        return
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    keys = [column.name for column in table.primary_key]
    insert = dialect.insert(table)
    if add is None:
        connection.execute(insert.on_conflict_do_nothing(index_elements=keys), rows)
    else:
        changed = {add: table.c[add] + insert.excluded[add]}
        connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=changed), rows)


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", f"busy_timeout={BUSY_TIMEOUT_MS}", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    """Take the lock first: a deferred transaction that reads and then writes fails at once when another has written."""
    read_only = connection.get_execution_options().get(READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
