"""One home as pages read it: whatever is there is opened, whatever is not yet there is looked for again."""

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from contracts.errors import RoostError
from contracts.wire.routing import RoutingTable
from controlplane.settings import Settings
from controlplane.store.database import SQLITE, Database
from controlplane.store.ledger import FileLedger, Ledger
from controlplane.store.sql_ledger import SqlLedger
from controlplane.web.sources.feed import Feed, Identity
from controlplane.web.sources.history_file import HistoryFile
from controlplane.web.sources.reviews import Reviews
from controlplane.web.sources.services import Specs
from controlplane.web.sources.serving import ServingRecord
from controlplane.web.sources.shelf import Shelf
from controlplane.web.sources.telemetry import Telemetry
from controlplane.web.sources.workers import Workers

ROUTING_FILE = "routing.json"
IN_DATABASE, IN_FILE = 0, 1


@dataclass
class Home:
    """The sources of one home folder. Nothing in it is ever written but the judgements of those who review."""

    settings: Settings
    feed: Feed = field(init=False)
    shelf: Shelf = field(init=False)
    telemetry: Telemetry = field(init=False)
    serving: ServingRecord = field(init=False)
    workers: Workers = field(init=False)
    specs: Specs = field(init=False)
    reviews: Reviews = field(init=False)
    _database: Database | None = None
    _holding: Identity | None = None
    _opening: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.feed = Feed(self._identify_ledger, self._open_ledger)
        self.shelf = Shelf(self.settings)
        history = HistoryFile(self.settings)
        self.telemetry = Telemetry(history)
        self.serving = ServingRecord(history)
        self.workers = Workers(self.settings)
        self.specs = Specs(self._open_database, self.telemetry)
        self.reviews = Reviews(self.settings)

    @property
    def name(self) -> str:
        """The folder as commands are given it."""
        return str(self.settings.home)

    @property
    def exists(self) -> bool:
        """Tell whether a run has begun here."""
        return self._identify_ledger() is not None

    @property
    def problem(self) -> RoostError | None:
        """What can't be read now, if anything."""
        return self.feed.problem or self.shelf.problem or self.telemetry.problem

    def close(self) -> None:
        """Let go of what was opened."""
        self.reviews.close()
        if self._database is not None:
            self._database.close()

    def now_s(self) -> float:
        """Return the time, in seconds since 1970."""
        return time.time()

    def routing(self) -> RoutingTable | None:
        """Return the routing table that the gateway keeps; None while there is none that can be read."""
        try:
            return RoutingTable.model_validate_json((self.settings.gateway_state / ROUTING_FILE).read_bytes())
        except (OSError, ValueError):
            return None

    def _identify_ledger(self) -> Identity | None:
        """Name the ledger that is there: the database's once it holds a decision, else the file's."""
        database = self._open_database()
        if database is not None:
            stamp = (IN_DATABASE, *_stamp(_sqlite_file(database)))
            if stamp == self._holding or _holds_decisions(database):
                self._holding = stamp
                return stamp
        if self.settings.ledger.exists():
            return IN_FILE, *_stamp(self.settings.ledger)
        return None

    def _open_ledger(self) -> Ledger:
        if self._database is not None and self._holding is not None:
            return SqlLedger(self._database, code_version="")
        return FileLedger(self.settings.ledger, code_version="")

    def _open_database(self) -> Database | None:
        """Return the database, opened once; None while it is a file that is not there."""
        with self._opening:
            if self._database is None:
                url = make_url(self.settings.database_url)
                if url.get_backend_name() != SQLITE or Path(url.database or "").is_file():
                    self._database = Database(self.settings.database_url)
            return self._database


def _holds_decisions(database: Database) -> bool:
    """Tell whether the ledger is kept in this database; one without its tables, or without an answer, is not."""
    try:
        return next(SqlLedger(database, code_version="").entries(), None) is not None
    except (RoostError, SQLAlchemyError):
        return False


def _sqlite_file(database: Database) -> Path | None:
    return Path(database.url.database or "") if database.dialect == SQLITE else None


def _stamp(file: Path | None) -> Identity:
    """Return what changes when a file is replaced by another of the same name."""
    if file is None or not file.exists():
        return ()
    status = file.stat()
    return status.st_dev, status.st_ino
