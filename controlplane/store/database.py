"""The database: SQLite in the home folder, or PostgreSQL; one way to read, one to write, one clock."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Double, Engine, Table, create_engine, event, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, InterfaceError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql import ColumnElement, func, literal

from contracts.clock import Clock
from contracts.errors import InvalidInput, Unavailable

SQLITE = "sqlite"
POSTGRESQL = "postgresql"
BEGIN = "roost_begin"
READING = "BEGIN"
WRITING = "BEGIN IMMEDIATE"
SCHEMA_LOCK = 7_236_118
"""Number of the advisory lock under which PostgreSQL's schema is changed."""
LOCK_WAIT_S = 10.0
IDLE_TIMEOUT_S = 4.0
"""After this PostgreSQL ends the session of a process that stopped within a transaction: sooner than others give up."""
MIGRATING_IDLE_TIMEOUT_S = 60
"""The same for a migration: a slow machine thinks longer between two changes, and nobody serves meanwhile."""
CONNECT_TIMEOUT_S = 2
SILENCE_TIMEOUT_S = 5
STATEMENT_TIMEOUT_S = 60


class Database:
    """Transactions on one database; safe for threads, and for processes that each open their own.

    On SQLite every write begins with ``BEGIN IMMEDIATE``: a transaction that reads first and writes later would fail at
    once when another has written between, whatever the time-out says. Records survive a loss of power
    (``synchronous=FULL``). On PostgreSQL a statement, a lock and an idle transaction each end after a time, so that
    a stopped process keeps nobody waiting for ever.

    ``clock`` stands in for the database's own in simulations; leases and timers are measured on it.
    """

    def __init__(self, url: str, clock: Clock | None = None) -> None:
        self.url = _read_url(url)
        self._clock = clock
        self.dialect = self.url.get_backend_name()
        self.engine = _sqlite(self.url) if self.dialect == SQLITE else _postgresql(self.url)
        snapshot = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        self._reader = self.engine.execution_options(**({BEGIN: READING} if self.dialect == SQLITE else snapshot))

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Yield a connection in a transaction that is committed at the block's end, or undone by an error.

        An answer that is lost after the commit is told as `Unavailable` too: whoever tries again must find what it
        wrote.

        Raises:
            Unavailable: when the database doesn't answer, stays locked, or has no room left; nothing half-done stays.
        """
        with _told(self.url), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection that sees one state of the database throughout the block, and changes nothing.

        Raises:
            Unavailable: when the database doesn't answer.
        """
        with _told(self.url), self._reader.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """Yield a write transaction for changes of the schema, which is all or nothing on both engines.

        On SQLite foreign keys are off meanwhile: a table that is rebuilt would take its children along.
        """
        with _told(self.url), self.engine.connect() as connection:
            if self.dialect == SQLITE:
                _pragma(connection, "foreign_keys=OFF")
            try:
                with connection.begin():
                    yield connection
            finally:
                if self.dialect == SQLITE:
                    _pragma(connection, "foreign_keys=ON")

    def now(self) -> ColumnElement[float]:
        """Return the database's clock as a term of a statement, in seconds since 1970.

        SQLite has its process's clock. Build the statement inside its transaction: there the wait for a lock is over.
        """
        if self._clock is not None:
            return literal(self._clock.now_s())
        if self.dialect == SQLITE:
            return literal(time.time())
        return func.extract("epoch", func.clock_timestamp()).cast(Double())

    def now_s(self, connection: Connection) -> float:
        """Return the database's time in seconds since 1970."""
        if self._clock is not None:
            return self._clock.now_s()
        return time.time() if self.dialect == SQLITE else float(connection.execute(select(self.now())).scalar_one())

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def lock_schema(connection: Connection) -> None:
    """Let one process at a time change the schema; on SQLite ``BEGIN IMMEDIATE`` has seen to that."""
    if connection.dialect.name == POSTGRESQL:
        connection.execute(select(func.pg_advisory_xact_lock(SCHEMA_LOCK)))
        connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = {MIGRATING_IDLE_TIMEOUT_S * 1000}")


def upsert(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], *, add: str | None = None) -> None:
    """Write rows; one whose key is there replaces it, or, where ``add`` names a column, is added to it."""
    if not rows:
        return
    insert = (sqlite.insert if connection.dialect.name == SQLITE else postgresql.insert)(table)
    key = [column.name for column in table.primary_key]
    if add is not None:
        changed = {add: table.c[add] + insert.excluded[add]}
    else:
        changed = {name: insert.excluded[name] for name in rows[0] if name not in key}
    if changed:
        statement = insert.on_conflict_do_update(index_elements=key, set_=changed)
    else:
        statement = insert.on_conflict_do_nothing(index_elements=key)
    connection.execute(statement, [dict(row) for row in rows])


def insert_new(connection: Connection, table: Table, row: Mapping[str, Any]) -> bool:
    """Write a row unless one with a key of its own is there already; tell whether it was written."""
    insert = (sqlite.insert if connection.dialect.name == SQLITE else postgresql.insert)(table)
    written = insert.values(row).on_conflict_do_nothing().returning(*table.primary_key)
    return connection.execute(written).one_or_none() is not None


def _read_url(text: str) -> URL:
    try:
        url = make_url(text)
        backend = url.get_backend_name()
    except (ArgumentError, ValueError):
        backend = ""
    if backend == SQLITE and url.database and url.database != ":memory:":
        return url.set(drivername=SQLITE)
    if backend == POSTGRESQL:
        return url.set(drivername="postgresql+psycopg")
    raise InvalidInput(
        "database: this is not the address of a database that Roost can use",
        hint="write sqlite:////folder/roost.db or postgresql://user@host/name",
    )


def _sqlite(url: URL) -> Engine:
    try:
        Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(
            f"database: {url.database} can't be used: {error.strerror}", hint="name a folder you may write"
        ) from None
    engine = create_engine(url, connect_args={"timeout": LOCK_WAIT_S, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: ConnectionPoolEntry) -> None:
        # SQLAlchemy begins our transactions, the driver none of its own.
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get(BEGIN, WRITING))

    return engine


def _postgresql(url: URL) -> Engine:
    try:
        import psycopg  # noqa: F401 - whether it is there
    except ImportError:
        raise InvalidInput(
            "database: PostgreSQL needs psycopg, which is not installed", hint="pip install 'roost[postgres]'"
        ) from None
    limits = {
        "lock_timeout": LOCK_WAIT_S,
        "idle_in_transaction_session_timeout": IDLE_TIMEOUT_S,
        "statement_timeout": STATEMENT_TIMEOUT_S,
    }
    return create_engine(
        url,
        pool_size=10,
        connect_args={
            "application_name": "roost",
            "connect_timeout": CONNECT_TIMEOUT_S,
            "tcp_user_timeout": SILENCE_TIMEOUT_S * 1000,
            "keepalives_idle": SILENCE_TIMEOUT_S,
            "options": " ".join(f"-c {name}={limit_s * 1000:.0f}" for name, limit_s in limits.items()),
        },
    )


def _pragma(connection: Connection, text: str) -> None:
    """Set what can't be set inside a transaction."""
    driver = connection.connection.driver_connection
    if driver is not None:
        driver.execute(f"PRAGMA {text}")


@contextmanager
def _told(url: URL) -> Iterator[None]:
    """Tell a person which database failed and how, without its password."""
    where = url.render_as_string(hide_password=True)
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        cause = str(error.orig).strip().partition("\n")[0]
        raise Unavailable(f"the database {where} failed: {cause}", hint=_remedy(cause)) from error
    except DatabaseError as error:
        if "file is not a database" not in str(error.orig):
            raise
        raise InvalidInput(f"database: {where} is not a database", hint="name another file") from None


def _remedy(cause: str) -> str:
    remedies = {
        "disk is full": "make room; nothing half-done was kept",
        "readonly": "let this user write the file and its folder",
        "unable to open": "is the folder there, and may this user write it?",
        "locked": "another process holds it for long; is one stopped?",
    }
    found = next((remedy for word, remedy in remedies.items() if word in cause), None)
    return found or "is it running? is the address right?"
