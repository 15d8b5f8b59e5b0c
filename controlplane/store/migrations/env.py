"""Alembic's entry: migrate on the connection that is handed in, one process at a time, all or nothing."""

from alembic import context
from sqlalchemy import Connection

from controlplane.store.database import lock_schema
from controlplane.store.schema import SCHEMA

connection: Connection = context.config.attributes["connection"]
lock_schema(connection)
context.configure(
    connection=connection,
    target_metadata=SCHEMA,
    render_as_batch=True,
    transactional_ddl=True,
    compare_server_default=False,
)
context.run_migrations()
