"""What serving did, read from the history: traffic by lane and version, latency, cost, outputs to be looked at."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, case, func, select

from contracts.sketch import Sketch
from controlplane.store.history import COUNTS, EXAMPLES, SCORES
from controlplane.web.sources.history_file import HistoryFile
from controlplane.web.sources.telemetry import ROW

HOUR_S, DAY_S = 3600, 86400
STRETCHES_S = (10, 30, 60, 300, 900, 3600)
MOST_COLUMNS = 40
MOST_PAIRS = 6
BINS = 20
LATENCY, REPLICA = "latency/", "replica/"


class Traffic(NamedTuple):
    """The last hour of one version on one lane, in attempts; ``oom`` of the bad ones ran out of memory."""

    service: str
    lane: str
    version: str
    attempts: int
    bad: int
    oom: int


class Cost(NamedTuple):
    """One stretch of a service's day: good answers, and the seconds in which replicas answered."""

    start_s: int
    service: str
    good: int
    replica_s: float


@dataclass(frozen=True)
class Served:
    """The last hour's traffic, and the last day's cost by stretches of ``stretch_s``."""

    traffic: Sequence[Traffic]
    costs: Sequence[Cost]
    stretch_s: int
    newest_s: float


@dataclass(frozen=True)
class Timed:
    """Latency sketches of answers by stretches of ``stretch_s`` and version."""

    stretch_s: int
    sketches: Mapping[tuple[int, str], Sketch] = field(default_factory=dict)


class Drawn(NamedTuple):
    """One output of one version that was kept; ``row`` finds its picture."""

    row: int
    at_s: float
    metric: str
    version: str
    request_id: str
    value: float
    reason: str
    prompt: str
    seed: int


class Spread(NamedTuple):
    """How the judgements of one version by one scorer are spread: counts in 20 equal parts of [0, 1]."""

    service: str
    metric: str
    version: str
    counts: tuple[int, ...]


class ServingRecord:
    """Asks the history about serving."""

    def __init__(self, history: HistoryFile) -> None:
        self._history = history

    async def served(self) -> Served | None:
        """Return the last hour's traffic and the last day's cost; None while nothing was counted."""
        return await self._history.ask("served", _read_served)

    async def timed(self, service: str, versions: Sequence[str], since_s: float, until_s: float) -> Timed | None:
        """Return latency sketches of versions between two moments; None without a history."""
        stretch_s = fit_stretch(until_s - since_s)
        window = (int(since_s), int(until_s // stretch_s + 1) * stretch_s)
        key = ("timed", service, tuple(versions), *window)
        return await self._history.ask(key, lambda c: _read_timed(c, service, versions, window, stretch_s))

    async def drawn(self, service: str, versions: Sequence[str], since_s: float, until_s: float) -> list[Drawn] | None:
        """Return the outputs of versions that were kept between two moments, the lowest score first."""
        key = ("drawn", service, tuple(versions), int(since_s), int(until_s / HOUR_S))
        return await self._history.ask(key, lambda c: _read_drawn(c, service, versions, since_s, until_s))

    async def spreads(self, since_s: float | None = None, until_s: float | None = None) -> list[Spread] | None:
        """Return how the judgements between two moments are spread; those of the last week otherwise."""
        key = ("spreads", since_s, until_s)
        return await self._history.ask(key, lambda c: _read_spreads(c, since_s, until_s))


def fit_stretch(span_s: float) -> int:
    """Return the length of stretches of which few enough fill a span."""
    return next((s for s in STRETCHES_S if span_s / s <= MOST_COLUMNS), -(-int(span_s) // MOST_COLUMNS // 3600) * 3600)


def _read_served(connection: Connection) -> Served | None:
    newest_s = connection.execute(select(func.max(COUNTS.c.start_s))).scalar()
    if newest_s is None:
        return None
    oldest_s = connection.execute(select(func.min(COUNTS.c.start_s)).where(COUNTS.c.start_s >= newest_s - DAY_S))
    stretch_s = fit_stretch(newest_s - (oldest_s.scalar() or newest_s))
    traffic: dict[tuple[str, str, str], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    measures = ("attempts", "attempts-bad", "bad/oom", "bad/oom-predicted")
    place = (COUNTS.c.service, COUNTS.c.lane, COUNTS.c.version)
    query = _sums(place, COUNTS.c.measure, newest_s - HOUR_S).where(COUNTS.c.measure.in_(measures))
    for service, lane, version, measure, amount in connection.execute(query):
        traffic[service, lane, version][measure] += amount
    rows = [
        Traffic(*key, int(m["attempts"]), int(m["attempts-bad"]), int(m["bad/oom"] + m["bad/oom-predicted"]))
        for key, m in sorted(traffic.items())
    ]
    return Served(rows, _read_costs(connection, newest_s - DAY_S, stretch_s), stretch_s, float(newest_s))


def _read_costs(connection: Connection, since_s: float, stretch_s: int) -> list[Cost]:
    measure = case((COUNTS.c.measure.startswith(REPLICA), REPLICA), else_=COUNTS.c.measure)
    start = COUNTS.c.start_s - COUNTS.c.start_s % stretch_s
    wanted = COUNTS.c.measure.in_(("attempts", "attempts-bad")) | COUNTS.c.measure.startswith(REPLICA)
    found: dict[tuple[int, str], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for start_s, service, name, amount in connection.execute(
        _sums((start, COUNTS.c.service), measure, since_s).where(wanted, COUNTS.c.measure != "replica/queue")
    ):
        found[int(start_s), service][name] += amount
    return [Cost(*key, int(m["attempts"] - m["attempts-bad"]), float(m[REPLICA])) for key, m in sorted(found.items())]


def _read_timed(
    connection: Connection, service: str, versions: Sequence[str], window: tuple[int, int], stretch_s: int
) -> Timed:
    start = COUNTS.c.start_s - COUNTS.c.start_s % stretch_s
    query = _sums((start, COUNTS.c.version), COUNTS.c.measure, window[0]).where(
        COUNTS.c.start_s < window[1],
        COUNTS.c.service == service,
        COUNTS.c.version.in_(versions),
        COUNTS.c.measure.startswith(LATENCY),
    )
    sketches: dict[tuple[int, str], Sketch] = defaultdict(dict)
    for start_s, version, measure, amount in connection.execute(query):
        sketches[int(start_s), version][int(measure.removeprefix(LATENCY))] = int(amount)
    return Timed(stretch_s, dict(sketches))


def _sums(place: Sequence[ColumnElement[Any]], measure: ColumnElement[str], since_s: float) -> Select[Any]:
    """Return a query for sums of live amounts, by place and measure."""
    live = (COUNTS.c.start_s >= since_s, COUNTS.c.mirrored.is_(False))
    return select(*place, measure, func.sum(COUNTS.c.amount)).where(*live).group_by(*place, measure)


def _read_drawn(
    connection: Connection, service: str, versions: Sequence[str], since_s: float, until_s: float
) -> list[Drawn]:
    c = EXAMPLES.c
    columns = (ROW, c.at_s, c.metric, c.version, c.request_id, c.value, c.reason, c.prompt, c.seed)
    wanted = (c.service == service, c.version.in_(versions), c.at_s >= since_s, c.at_s <= until_s + HOUR_S)
    query = select(*columns).where(*wanted).order_by(c.value, c.at_s.desc())
    return [Drawn._make(row) for row in connection.execute(query)]


def _read_spreads(connection: Connection, since_s: float | None, until_s: float | None) -> list[Spread]:
    c = SCORES.c
    part = func.min(func.floor(c.value * BINS), BINS - 1)
    newest = select(func.max(c.at_s)).scalar_subquery()
    wanted = [c.at_s >= (newest - 7 * DAY_S if since_s is None else since_s)]
    wanted += [c.at_s <= until_s] if until_s is not None else []
    query = select(c.service, c.metric, c.version, part, func.count())
    query = query.where(*wanted, c.mirrored.is_(False), c.value.is_not(None))
    spreads: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0] * BINS)
    for service, metric, version, position, n in connection.execute(
        query.group_by(c.service, c.metric, c.version, part)
    ):
        spreads[service, metric, version][max(int(position), 0)] += n
    return [Spread(*key, tuple(counts)) for key, counts in sorted(spreads.items())]
