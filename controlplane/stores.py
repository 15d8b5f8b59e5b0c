"""The stores of one control plane, opened together on one database."""

from dataclasses import dataclass
from importlib.metadata import version as distribution_version
from typing import Self

from contracts.clock import Clock
from controlplane.job_kinds import KINDS
from controlplane.jobs.store import Jobs
from controlplane.settings import Settings
from controlplane.store.audit import Audit
from controlplane.store.cursors import Cursors
from controlplane.store.database import Database
from controlplane.store.fleet_wishes import FleetWishes
from controlplane.store.freezes import Freezes
from controlplane.store.kills import Kills
from controlplane.store.lease import Leases
from controlplane.store.migrate import open_store
from controlplane.store.outbox import Outbox
from controlplane.store.rollouts import Rollouts
from controlplane.store.services import Services
from controlplane.store.silences import Silences
from controlplane.store.sql_ledger import SqlLedger
from controlplane.store.tokens import Tokens, load_token_key
from controlplane.store.undos import Undos
from controlplane.store.watches import Watches
from controlplane.store.wishes import Wishes


@dataclass(frozen=True)
class Stores:
    """Everything that decides and is decided upon; telemetry lies in the history, apart."""

    database: Database
    leases: Leases
    services: Services
    rollouts: Rollouts
    wishes: Wishes
    fleet_wishes: FleetWishes
    cursors: Cursors
    kills: Kills
    freezes: Freezes
    silences: Silences
    undos: Undos
    watches: Watches
    ledger: SqlLedger
    audit: Audit
    outbox: Outbox
    tokens: Tokens
    jobs: Jobs

    @classmethod
    def on(cls, database: Database, token_key: bytes, clock: Clock | None = None) -> Self:
        """Return the stores of a database that has this release's schema."""
        leases = Leases(database, clock)
        return cls(
            database=database,
            leases=leases,
            services=Services(database),
            rollouts=Rollouts(database, leases),
            wishes=Wishes(database),
            fleet_wishes=FleetWishes(database),
            cursors=Cursors(database),
            kills=Kills(database),
            freezes=Freezes(database),
            silences=Silences(database),
            undos=Undos(database),
            watches=Watches(database),
            ledger=SqlLedger(database, code_version=distribution_version("roost")),
            audit=Audit(database),
            outbox=Outbox(database),
            tokens=Tokens(database, token_key),
            jobs=Jobs(database, KINDS),
        )

    def close(self) -> None:
        """Close all connections."""
        self.database.close()


def open_stores(settings: Settings, clock: Clock | None = None) -> Stores:
    """Open the database of a home, brought to this release's schema.

    Raises:
        Unavailable: when the database doesn't answer.
        Conflict: when a later release wrote it.
    """
    return Stores.on(open_store(settings.database_url, clock), load_token_key(settings.token_key), clock)
