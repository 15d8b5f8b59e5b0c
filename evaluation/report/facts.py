"""One week's facts, read once and summed: what every section is made from."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from evaluation.report.source import CountRow, Example, Objective, Records, ScoreRow, ServiceFacts, WeekSource
from evaluation.report.week import Week

DAY_S = 86400
WEEK_HOURS = 168
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
REFERENCE_WEEKS = 4
LONGEST_WINDOW_S = 90 * DAY_S

Key = tuple[str, str, str, bool, str]


class Sums:
    """Counts of one stretch of time, summed over it and by the day."""

    def __init__(self, rows: Iterable[CountRow], start_s: float) -> None:
        self._total: dict[Key, float] = defaultdict(float)
        self._daily: dict[int, dict[Key, float]] = defaultdict(lambda: defaultdict(float))
        hours = set()
        for row in rows:
            key = (row.service, row.version, row.lane, row.mirrored, row.measure)
            self._total[key] += row.amount
            self._daily[int((row.start_s - start_s) // DAY_S)][key] += row.amount
            hours.add(row.start_s // 3600)
        self.hours = len(hours)

    def of(
        self,
        measure: str,
        *,
        service: str | None = None,
        version: str | None = None,
        lane: str | None = None,
        day: int | None = None,
        mirrored: bool = False,
    ) -> float:
        """Return a measure's sum; a measure that ends in ``/`` takes all that begin so. None means any."""
        amounts = self._total if day is None else self._daily.get(day, {})
        prefix = measure.endswith("/")
        return sum(
            amount
            for (found, of_version, of_lane, is_mirrored, name), amount in amounts.items()
            if (name.startswith(measure) if prefix else name == measure)
            and is_mirrored is mirrored
            and service in {None, found}
            and version in {None, of_version}
            and lane in {None, of_lane}
        )

    def split(self, prefix: str, **where: str) -> dict[str, float]:
        """Return the sums of live measures that begin with ``prefix``, by the rest of their names."""
        found: dict[str, float] = defaultdict(float)
        for (service, version, lane, mirrored, name), amount in self._total.items():
            at = {"service": service, "version": version, "lane": lane}
            if name.startswith(prefix) and not mirrored and all(at[key] == value for key, value in where.items()):
                found[name.removeprefix(prefix)] += amount
        return dict(found)

    def versions(self, service: str) -> list[str]:
        """Return the versions of a service that answered."""
        return sorted({key[1] for key in self._total if key[0] == service and key[4] == "attempts"})

    def lanes(self, service: str) -> list[str]:
        """Return the lanes of a service that got requests or attempts."""
        return sorted({key[2] for key in self._total if key[0] == service and key[4] in {"attempts", "requests"}})

    def services(self) -> set[str]:
        """Return the services that anything was counted of."""
        return {key[0] for key in self._total}


@dataclass
class Facts:
    """Everything of one week, and what it is compared with.

    ``scores`` are those of the week, ``earlier_scores`` of the four weeks before, oldest first.
    """

    week: Week
    now: Sums
    before: Sums
    scores: Sequence[ScoreRow]
    earlier_scores: Sequence[ScoreRow]
    examples: Sequence[Example]
    records: Records
    services: Sequence[ServiceFacts]
    budgets: Mapping[float, Sums] = field(default_factory=dict)

    @property
    def last_week_scores(self) -> list[ScoreRow]:
        """The scores of the week before."""
        return [row for row in self.earlier_scores if row.at_s >= self.week.before.start_s]


def read_facts(source: WeekSource, week: Week) -> Facts:
    """Read everything a report of the week needs."""
    start_s, end_s = week.start_s, week.end_s
    services = list(source.services(end_s))
    now = Sums(source.counts(start_s, end_s), start_s)
    known = {facts.service for facts in services}
    services += [ServiceFacts(name, "") for name in sorted(now.services() - known)]
    windows = {objective.window_s for facts in services for objective in facts.objectives}
    return Facts(
        week=week,
        now=now,
        before=Sums(source.counts(week.before.start_s, start_s), week.before.start_s),
        scores=source.scores(start_s, end_s),
        earlier_scores=source.scores(start_s - REFERENCE_WEEKS * 7 * DAY_S, start_s),
        examples=source.examples(start_s, end_s),
        records=source.records(start_s, end_s),
        services=services,
        budgets={
            window_s: Sums(source.counts(end_s - window_s, end_s), end_s - window_s)
            for window_s in sorted({min(window_s, LONGEST_WINDOW_S) for window_s in windows})
        },
    )


def bad_of(sums: Sums, service: str, objective: Objective, *, day: int | None = None) -> tuple[float, float]:
    """Return the bad and all events of an availability or latency objective: what users of the service got."""
    if objective.kind == "latency":
        total = sums.of("attempts", service=service, lane=objective.lane, day=day)
        return sums.of(f"slow/{objective.name}", service=service, lane=objective.lane, day=day), total
    return sums.of("requests-bad", service=service, day=day), sums.of("requests", service=service, day=day)


def when(at_s: float) -> str:
    """Return a moment as people write it, UTC."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%a %d %b %H:%M:%S")
