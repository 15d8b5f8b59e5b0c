"""Bringing a database to this release's schema, and refusing one of a later release."""

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from contracts.clock import Clock
from contracts.errors import Conflict, RoostError
from controlplane.store.database import Database
from controlplane.store.schema import HEAD

if TYPE_CHECKING:
    from alembic.config import Config

VERSION_TABLE = "alembic_version"


def open_store(url: str, clock: Clock | None = None) -> Database:
    """Return the database at ``url`` with this release's schema, migrated where it was older.

    Raises:
        InvalidInput: when ``url`` names no database.
        Unavailable: when it doesn't answer.
        Conflict: when a later release wrote it.
    """
    database = Database(url, clock)
    try:
        with database.read() as connection:
            current = schema_version(connection)
        if current != HEAD:
            upgrade(database)
    except RoostError:
        database.close()
        raise
    return database


def schema_version(connection: Connection) -> str | None:
    """Return the name of the last migration that was made, None for a new database."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608 - ours
    return None if found is None else str(found)


def upgrade(database: Database, target: str = HEAD) -> None:
    """Migrate up to ``target``; many processes may do so at once, one of them works and the others find it done.

    Raises:
        Conflict: when a later release wrote the database.
    """
    from alembic import command
    from alembic.util.exc import CommandError

    with database.migrating() as connection:
        try:
            command.upgrade(_config(connection), target)
        except CommandError as error:
            raise Conflict(
                f"the database has a schema that this release doesn't know: {error}",
                hint="run the release that wrote it, or a later one",
            ) from None


def differences(database: Database) -> list[object]:
    """Return how the tables that are there differ from those of `schema`; empty when they agree."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from controlplane.store.schema import SCHEMA

    with database.read() as connection:
        ours = {"include_name": lambda name, kind, _: kind != "table" or name in SCHEMA.tables}
        return list(compare_metadata(MigrationContext.configure(connection, opts=ours), SCHEMA))


def _config(connection: Connection) -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
