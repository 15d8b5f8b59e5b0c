"""What the control plane needs beside rollouts: champions, wishes, freezes, kills, watches, cursors, and more."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

Counter = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Name = sa.String(length=200)


def upgrade() -> None:
    """Add columns to services and rollouts, and the new tables."""
    for column in (
        sa.Column("champion", Name),
        sa.Column("previous", Name),
        sa.Column("champion_since_s", sa.Double()),
    ):
        op.add_column("services", column)
    for column in (
        sa.Column("digest", Name, nullable=False, server_default=""),
        sa.Column("salt", Name, nullable=False, server_default=""),
        sa.Column("actor", Name, nullable=False, server_default=""),
        sa.Column("reason", sa.Text(), nullable=False, server_default=""),
        sa.Column("forced", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("room", sa.Text(), nullable=False, server_default=""),
    ):
        op.add_column("rollouts", column)
    _make_wishes()
    _make_fleet_wishes()
    _make_freezes_and_kills()
    _make_silences_and_undos()
    _make_watches()
    _make_bookkeeping()


def _make_wishes() -> None:
    op.create_table(
        "wishes",
        sa.Column("sequence", Counter, nullable=False),
        sa.Column("rollout", Name, nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("actor", Name, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("gates", sa.Text(), nullable=False),
        sa.Column("asked_s", sa.Double(), nullable=False),
        sa.Column("met_s", sa.Double()),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("refusal", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["rollout"], ["rollouts.id"], name="fk_wishes_rollout_rollouts"),
        sa.PrimaryKeyConstraint("sequence", name="pk_wishes"),
    )
    op.create_index("ix_wishes_open", "wishes", ["rollout", "met_s"], unique=False)


def _make_fleet_wishes() -> None:
    op.create_table(
        "fleet_wishes",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("version", Name, nullable=False),
        sa.Column("replica", Name, nullable=False),
        sa.Column("process", Name, nullable=False),
        sa.Column("actor", Name, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("asked_s", sa.Double(), nullable=False),
        sa.Column("until_s", sa.Double()),
        sa.Column("ended_s", sa.Double()),
        sa.PrimaryKeyConstraint("id", name="pk_fleet_wishes"),
    )
    op.create_index("ix_fleet_wishes_open", "fleet_wishes", ["ended_s"], unique=False)


def _make_freezes_and_kills() -> None:
    op.create_table(
        "freezes",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("service", Name, nullable=False),
        sa.Column("from_s", sa.Double(), nullable=False),
        sa.Column("until_s", sa.Double()),
        sa.Column("actor", Name, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("lifted_s", sa.Double()),
        sa.PrimaryKeyConstraint("id", name="pk_freezes"),
    )
    op.create_table(
        "kills",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("service", Name, nullable=False),
        sa.Column("version", Name, nullable=False),
        sa.Column("at_s", sa.Double(), nullable=False),
        sa.Column("actor", Name, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("lifted_s", sa.Double()),
        sa.PrimaryKeyConstraint("id", name="pk_kills"),
    )


def _make_silences_and_undos() -> None:
    op.create_table(
        "silences",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("service", Name, nullable=False),
        sa.Column("objective", Name, nullable=False),
        sa.Column("at_s", sa.Double(), nullable=False),
        sa.Column("until_s", sa.Double(), nullable=False),
        sa.Column("actor", Name, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("lifted_s", sa.Double()),
        sa.PrimaryKeyConstraint("id", name="pk_silences"),
    )
    op.create_table(
        "undos",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("service", Name, nullable=False),
        sa.Column("version", Name, nullable=False),
        sa.Column("at_s", sa.Double(), nullable=False),
        sa.Column("actor", Name, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_undos"),
    )


def _make_watches() -> None:
    op.create_table(
        "watches",
        sa.Column("service", Name, nullable=False),
        sa.Column("version", Name, nullable=False),
        sa.Column("since_s", sa.Double(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("updated_s", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["service"], ["services.name"], name="fk_watches_service_services"),
        sa.PrimaryKeyConstraint("service", "version", name="pk_watches"),
    )


def _make_bookkeeping() -> None:
    op.create_table(
        "cursors",
        sa.Column("gateway", Name, nullable=False),
        sa.Column("boot", Name, nullable=False),
        sa.Column("batches", sa.BigInteger(), nullable=False),
        sa.Column("samples", sa.BigInteger(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("gateway", "boot", name="pk_cursors"),
    )
    op.create_table(
        "replies",
        sa.Column("key", Name, nullable=False),
        sa.Column("actor", Name, nullable=False),
        sa.Column("request", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("at_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("key", "actor", name="pk_replies"),
    )
    op.create_table(
        "ended_logins",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("until_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ended_logins"),
    )
