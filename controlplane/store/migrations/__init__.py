"""Migrations of the database, by Alembic; a released one is never changed."""
