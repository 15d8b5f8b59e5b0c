"""The tables of the control plane. They are made by the migrations alone; a test holds both against each other.

Documents are canonical JSON in text columns, so that a digest of what is read is the digest of what was written. Times
are seconds since 1970 on the database's clock unless a column says otherwise.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

HEAD = "0002"
"""The migration that makes the schema below."""

APPEND_ONLY = ("decisions", "audit", "service_revisions")
"""Tables whose rows triggers keep from being changed or removed."""

SCHEMA = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)
Counter = BigInteger().with_variant(Integer, "sqlite")
Name = String(200)

LEASES = Table(
    "leases",
    SCHEMA,
    Column("name", Name, primary_key=True),
    Column("holder", Name, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("until_s", Double, nullable=False),
)
SERVICES = Table(
    "services",
    SCHEMA,
    Column("name", Name, primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("champion", Name),
    Column("previous", Name),
    Column("champion_since_s", Double),
)
SERVICE_REVISIONS = Table(
    "service_revisions",
    SCHEMA,
    Column("service", Name, ForeignKey("services.name"), primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("document", Text, nullable=False),
    Column("at_s", Double, nullable=False),
    Column("actor", Name, nullable=False),
    Column("reason", Text, nullable=False),
)
ROLLOUTS = Table(
    "rollouts",
    SCHEMA,
    Column("id", Name, primary_key=True),
    Column("service", Name, ForeignKey("services.name"), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("service_revision", Integer, nullable=False),
    Column("champion", Name, nullable=False),
    Column("challenger", Name, nullable=False),
    Column("phase", String(40), nullable=False),
    Column("ended", Boolean, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("state_schema", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_s", Double, nullable=False),
    Column("updated_s", Double, nullable=False),
    Column("digest", Name, nullable=False, server_default=""),
    Column("salt", Name, nullable=False, server_default=""),
    Column("actor", Name, nullable=False, server_default=""),
    Column("reason", Text, nullable=False, server_default=""),
    Column("forced", Boolean, nullable=False, server_default=false()),
    Column("room", Text, nullable=False, server_default=""),
    UniqueConstraint("service", "generation"),
)
Index(
    "uq_rollouts_live",
    ROLLOUTS.c.service,
    unique=True,
    sqlite_where=text("ended = 0"),
    postgresql_where=text("NOT ended"),
)
ROLLED_BACK = Table(
    "rolled_back",
    SCHEMA,
    Column("service", Name, primary_key=True),
    Column("digest", Name, primary_key=True),
    Column("version", Name, nullable=False),
    Column("rollout_id", Name, nullable=False),
    Column("at_s", Double, nullable=False),
    Column("reason", Text, nullable=False),
)
WISHES = Table(
    "wishes",
    SCHEMA,
    Column("sequence", Counter, primary_key=True),
    Column("rollout", Name, ForeignKey("rollouts.id"), nullable=False),
    Column("kind", String(40), nullable=False),
    Column("actor", Name, nullable=False),
    Column("reason", Text, nullable=False),
    Column("gates", Text, nullable=False),
    Column("asked_s", Double, nullable=False),
    Column("met_s", Double),
    Column("fence", BigInteger, nullable=False),
    Column("refusal", Text, nullable=False),
    Index("ix_wishes_open", "rollout", "met_s"),
)
FLEET_WISHES = Table(
    "fleet_wishes",
    SCHEMA,
    Column("id", String(16), primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("version", Name, nullable=False),
    Column("replica", Name, nullable=False),
    Column("process", Name, nullable=False),
    Column("actor", Name, nullable=False),
    Column("reason", Text, nullable=False),
    Column("asked_s", Double, nullable=False),
    Column("until_s", Double),
    Column("ended_s", Double),
    Index("ix_fleet_wishes_open", "ended_s"),
)
FREEZES = Table(
    "freezes",
    SCHEMA,
    Column("id", String(16), primary_key=True),
    Column("service", Name, nullable=False),
    Column("from_s", Double, nullable=False),
    Column("until_s", Double),
    Column("actor", Name, nullable=False),
    Column("reason", Text, nullable=False),
    Column("lifted_s", Double),
)
SILENCES = Table(
    "silences",
    SCHEMA,
    Column("id", String(16), primary_key=True),
    Column("service", Name, nullable=False),
    Column("objective", Name, nullable=False),
    Column("at_s", Double, nullable=False),
    Column("until_s", Double, nullable=False),
    Column("actor", Name, nullable=False),
    Column("reason", Text, nullable=False),
    Column("lifted_s", Double),
)
UNDOS = Table(
    "undos",
    SCHEMA,
    Column("id", String(16), primary_key=True),
    Column("service", Name, nullable=False),
    Column("version", Name, nullable=False),
    Column("at_s", Double, nullable=False),
    Column("actor", Name, nullable=False),
    Column("reason", Text, nullable=False),
)
KILLS = Table(
    "kills",
    SCHEMA,
    Column("id", String(16), primary_key=True),
    Column("service", Name, nullable=False),
    Column("version", Name, nullable=False),
    Column("at_s", Double, nullable=False),
    Column("actor", Name, nullable=False),
    Column("reason", Text, nullable=False),
    Column("lifted_s", Double),
)
WATCHES = Table(
    "watches",
    SCHEMA,
    Column("service", Name, ForeignKey("services.name"), primary_key=True),
    Column("version", Name, primary_key=True),
    Column("since_s", Double, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("updated_s", Double, nullable=False),
)
CURSORS = Table(
    "cursors",
    SCHEMA,
    Column("gateway", Name, primary_key=True),
    Column("boot", Name, primary_key=True),
    Column("batches", BigInteger, nullable=False),
    Column("samples", BigInteger, nullable=False),
    Column("fence", BigInteger, nullable=False),
)
REPLIES = Table(
    "replies",
    SCHEMA,
    Column("key", Name, primary_key=True),
    Column("actor", Name, primary_key=True),
    Column("request", String(64), nullable=False),
    Column("status", Integer),
    Column("body", Text, nullable=False),
    Column("at_s", Double, nullable=False),
)
CHAINS = Table(
    "chains",
    SCHEMA,
    Column("name", Name, primary_key=True),
    Column("length", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
)
DECISIONS = Table(
    "decisions",
    SCHEMA,
    Column("sequence", Counter, primary_key=True, autoincrement=False),
    Column("at_s", Double, nullable=False),
    Column("subject", Name, nullable=False),
    Column("body", Text, nullable=False),
    Column("digest", String(64), nullable=False),
    Index("ix_decisions_subject", "subject", "sequence"),
)
AUDIT = Table(
    "audit",
    SCHEMA,
    Column("sequence", Counter, primary_key=True, autoincrement=False),
    Column("at_s", Double, nullable=False),
    Column("subject", Name, nullable=False),
    Column("body", Text, nullable=False),
    Column("digest", String(64), nullable=False),
    Index("ix_audit_subject", "subject", "sequence"),
)
OUTBOX = Table(
    "outbox",
    SCHEMA,
    Column("sequence", Counter, primary_key=True),
    Column("key", Name, nullable=False, unique=True),
    Column("topic", Name, nullable=False),
    Column("document", Text, nullable=False),
    Column("created_s", Double, nullable=False),
    Column("due_s", Double),
    Column("fence", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("sent_s", Double),
    Column("error", Text, nullable=False),
    Index("ix_outbox_due", "due_s"),
)
TOKENS = Table(
    "tokens",
    SCHEMA,
    Column("id", String(16), primary_key=True),
    Column("hash", String(64), nullable=False),
    Column("holder", Name, nullable=False),
    Column("role", String(20), nullable=False),
    Column("scopes", Text, nullable=False),
    Column("created_s", Double, nullable=False),
    Column("created_by", Name, nullable=False),
    Column("expires_s", Double),
    Column("revoked_s", Double),
    CheckConstraint("role IN ('viewer', 'operator', 'approver', 'admin')", name="role"),
)
ENDED_LOGINS = Table(
    "ended_logins",
    SCHEMA,
    Column("id", String(16), primary_key=True),
    Column("until_s", Double, nullable=False),
)
QUEUES = Table(
    "queues",
    SCHEMA,
    Column("name", Name, primary_key=True),
    Column("at_once", Integer, nullable=False),
)
JOBS = Table(
    "jobs",
    SCHEMA,
    Column("sequence", Counter, primary_key=True),
    Column("id", Name, nullable=False, unique=True),
    Column("kind", Name, nullable=False),
    Column("queue", Name, ForeignKey("queues.name"), nullable=False),
    Column("arguments", Text, nullable=False),
    Column("actor", Name, nullable=False),
    Column("reason", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("state", String(20), nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("worker", Name, nullable=False),
    Column("until_s", Double),
    Column("due_s", Double),
    Column("awaited", Name, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("progress", Double, nullable=False),
    Column("message", Text, nullable=False),
    Column("cancel", Boolean, nullable=False),
    Column("result", Text),
    Column("error", Text),
    Column("created_s", Double, nullable=False),
    Column("started_s", Double),
    Column("heartbeat_s", Double),
    Column("ended_s", Double),
    CheckConstraint("state IN ('waiting', 'running', 'done', 'failed', 'cancelled')", name="state"),
    Index("ix_jobs_claim", "queue", "state", "priority"),
)
JOB_STEPS = Table(
    "job_steps",
    SCHEMA,
    Column("job", Name, ForeignKey("jobs.id"), primary_key=True),
    Column("name", Name, primary_key=True),
    Column("result", Text, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("at_s", Double, nullable=False),
)
JOB_SIGNALS = Table(
    "job_signals",
    SCHEMA,
    Column("job", Name, ForeignKey("jobs.id"), primary_key=True),
    Column("name", Name, primary_key=True),
    Column("document", Text, nullable=False),
    Column("actor", Name, nullable=False),
    Column("at_s", Double, nullable=False),
)
SCHEDULES = Table(
    "schedules",
    SCHEMA,
    Column("name", Name, primary_key=True),
    Column("rule", Name, nullable=False),
    Column("kind", Name, nullable=False),
    Column("arguments", Text, nullable=False),
    Column("since_s", Double, nullable=False),
)
SCHEDULE_SLOTS = Table(
    "schedule_slots",
    SCHEMA,
    Column("schedule", Name, ForeignKey("schedules.name"), primary_key=True),
    Column("slot_s", BigInteger, primary_key=True),
    Column("job", Name, nullable=False),
)
