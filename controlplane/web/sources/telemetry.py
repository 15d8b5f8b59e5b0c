"""What telemetry counted and scorers judged, read from a home's history without ever writing to it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, Integer, case, func, literal_column, select

from contracts.errors import NotFound, RoostError
from contracts.specs.service import ServiceSpec
from controlplane.store.history import COUNTS, DAY_S, EVENTS, EXAMPLES, SCORES, SPECS
from controlplane.web.sources.history_file import HistoryFile

MINUTE_S = 60
WINDOW_S = 28 * DAY_S
MOST_EXAMPLES = 6
MOST_EVENTS = 50
TELLING = (
    "monitor.alarm",
    "monitor.no-data",
    "watch.harm-proven",
    "alias.moved-outside",
    "rollout.waits-for-memory",
    "rollout.outgrown",
)
"""Events that somebody may have to look at, and that no other record shows."""
PNG = b"\x89PNG\r\n"
ROW = literal_column("rowid", Integer)
"""SQLite's own number of a row."""
MOST_ROWS = 2**63 - 1
"""The greatest it can be; the driver takes no greater one."""


class Counted(NamedTuple):
    """What was counted of one measure in one bucket of a minute or an hour."""

    start_s: int
    length_s: int
    service: str
    lane: str
    measure: str
    amount: float


class Scored(NamedTuple):
    """The judgements of one version by one scorer in one minute: how many, and their sum."""

    start_s: int
    service: str
    metric: str
    version: str
    n: int
    total: float


class Example(NamedTuple):
    """One output kept to be looked at; ``row`` finds its picture."""

    row: int
    at_s: float
    service: str
    metric: str
    version: str
    value: float
    reason: str
    prompt: str
    seed: int


class Told(NamedTuple):
    """Something that people were told about a subject."""

    at_s: float
    code: str
    subject: str
    message: str


@dataclass(frozen=True)
class Recorded:
    """Four weeks of one home: the services' newest specs, counts, scores, events, and the last day's worst outputs."""

    specs: tuple[ServiceSpec, ...]
    counts: Sequence[Counted]
    scores: Sequence[Scored]
    examples: Sequence[Example]
    events: Sequence[Told]
    newest_s: float


class Telemetry:
    """What a home's history holds that more than one page shows."""

    def __init__(self, history: HistoryFile) -> None:
        self._history = history

    @property
    def exists(self) -> bool:
        """Tell whether a history is kept here."""
        return self._history.exists

    @property
    def problem(self) -> RoostError | None:
        """Why the history can't be read, if it can't."""
        return self._history.problem

    async def read(self) -> Recorded | None:
        """Return what is recorded; None while there is no history, or nothing in it."""
        return await self._history.ask("recorded", _read_recorded)

    async def picture(self, row: int) -> bytes:
        """Return an example's picture.

        Raises:
            NotFound: when it is not kept any more.
        """
        query = select(EXAMPLES.c.image).where(ROW.in_((row,)))
        found = None
        if self.exists and 0 < row <= MOST_ROWS:
            found = await asyncio.to_thread(self._history.read, lambda connection: connection.execute(query).scalar())
        if found is None or not found.startswith(PNG):
            raise NotFound(f"there is no picture {row}", hint="only the worst and best of a day are kept")
        return bytes(found)


def _read_recorded(connection: Connection) -> Recorded | None:
    newest_s = connection.execute(select(func.max(COUNTS.c.start_s + COUNTS.c.resolution_s))).scalar()
    if newest_s is None:
        return None
    since_s = newest_s - WINDOW_S
    specs = connection.execute(select(SPECS.c.service, SPECS.c.document).order_by(SPECS.c.at_s)).all()
    newest = {str(service): str(document) for service, document in specs}
    return Recorded(
        specs=tuple(ServiceSpec.model_validate_json(document) for _, document in sorted(newest.items())),
        counts=_read_counts(connection, since_s),
        scores=_read_scores(connection, since_s),
        examples=_read_examples(connection),
        events=_read_events(connection, since_s),
        newest_s=float(newest_s),
    )


def _read_counts(connection: Connection, since_s: float) -> list[Counted]:
    length = case((COUNTS.c.resolution_s < MINUTE_S, MINUTE_S), else_=COUNTS.c.resolution_s)
    start = COUNTS.c.start_s - COUNTS.c.start_s % length
    same = [COUNTS.c.service, COUNTS.c.lane, COUNTS.c.measure]
    wanted = COUNTS.c.measure.in_(("requests", "requests-bad", "attempts")) | COUNTS.c.measure.startswith("slow/")
    query = (
        select(start, length, *same, func.sum(COUNTS.c.amount))
        .where(COUNTS.c.start_s >= since_s, COUNTS.c.mirrored.is_(False), wanted)
        .group_by(start, length, *same)
        .order_by(start)
    )
    return [Counted._make(row) for row in connection.execute(query)]


def _read_scores(connection: Connection, since_s: float) -> list[Scored]:
    c = SCORES.c
    minute = func.floor(c.at_s / MINUTE_S) * MINUTE_S
    query = (
        select(minute, c.service, c.metric, c.version, func.count(c.value), func.sum(c.value))
        .where(c.at_s >= since_s, c.mirrored.is_(False), c.value.is_not(None))
        .group_by(minute, c.service, c.metric, c.version)
        .order_by(minute)
    )
    return [Scored(int(row[0]), *row[1:]) for row in connection.execute(query)]


def _read_examples(connection: Connection) -> list[Example]:
    c = EXAMPLES.c
    newest_day = select(func.max(c.day)).scalar_subquery()
    columns = (ROW, c.at_s, c.service, c.metric, c.version, c.value, c.reason, c.prompt, c.seed)
    query = select(*columns).where(c.day == newest_day).order_by(c.value, c.at_s.desc()).limit(MOST_EXAMPLES)
    return [Example._make(row) for row in connection.execute(query)]


def _read_events(connection: Connection, since_s: float) -> list[Told]:
    c = EVENTS.c
    query = select(c.at_s, c.code, c.subject, c.message).where(c.at_s >= since_s, c.code.in_(TELLING))
    return [Told._make(row) for row in connection.execute(query.order_by(c.at_s.desc()).limit(MOST_EVENTS))]
