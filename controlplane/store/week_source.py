"""What a weekly report reads: the history and the ledger, as the report wants them."""

from collections.abc import Iterator, Sequence

from sqlalchemy import func, select

from contracts.errors import IntegrityError
from contracts.specs.service import ServiceSpec
from contracts.specs.slo import LatencySlo, ScoreSlo, Slo
from controlplane.store.history import COUNTS, EVENTS, EXAMPLES, HOUR, SCORES, SPECS, History
from controlplane.store.ledger import Ledger
from controlplane.store.telemetry_database import reading
from evaluation.report.source import (
    CountRow,
    DecisionRow,
    EventRow,
    Example,
    Objective,
    Records,
    ScoreRow,
    ServiceFacts,
)


class StoredWeeks:
    """The source of reports on what this control plane recorded; no ledger, no decisions."""

    def __init__(self, history: History, ledger: Ledger | None) -> None:
        self._history, self._ledger = history, ledger

    def counts(self, start_s: float, end_s: float) -> Sequence[CountRow]:
        """Return counts by the hour."""
        hour = (COUNTS.c.start_s - COUNTS.c.start_s % HOUR).label("hour_s")
        same = [COUNTS.c.service, COUNTS.c.version, COUNTS.c.lane, COUNTS.c.mirrored, COUNTS.c.measure]
        query = (
            select(hour, *same, func.sum(COUNTS.c.amount))
            .where(COUNTS.c.start_s >= start_s, COUNTS.c.start_s < end_s)
            .group_by(hour, *same)
        )
        with reading(self._history.engine) as connection:
            return [CountRow._make(row) for row in connection.execute(query)]

    def scores(self, start_s: float, end_s: float) -> Sequence[ScoreRow]:
        """Return judgements in the order of time."""
        c = SCORES.c
        columns = (c.at_s, c.service, c.version, c.lane, c.prompt_class, c.metric, c.request_id, c.mirrored)
        query = select(*columns, c.value, c.reason, c.digest, c.prompt).where(c.at_s >= start_s, c.at_s < end_s)
        with reading(self._history.engine) as connection:
            return [ScoreRow(*row) for row in connection.execute(query.order_by(c.at_s))]

    def examples(self, start_s: float, end_s: float) -> Sequence[Example]:
        """Return the outputs that were kept to be looked at."""
        c = EXAMPLES.c
        columns = (c.at_s, c.service, c.version, c.lane, c.metric, c.request_id, c.value, c.reason, c.prompt, c.seed)
        query = select(*columns, c.image).where(c.at_s >= start_s, c.at_s < end_s).order_by(c.at_s)
        with reading(self._history.engine) as connection:
            return [Example(*row) for row in connection.execute(query)]

    def records(self, start_s: float, end_s: float) -> Records:
        """Return decisions and events; a ledger that is torn is read up to there, and said."""
        events = select(EVENTS.c.at_s, EVENTS.c.code, EVENTS.c.subject, EVENTS.c.message)
        with reading(self._history.engine) as connection:
            within = events.where(EVENTS.c.at_s >= start_s, EVENTS.c.at_s < end_s).order_by(EVENTS.c.at_s)
            told = [EventRow(*row) for row in connection.execute(within)]
        decisions: list[DecisionRow] = []
        problems = []
        try:
            decisions.extend(self._decisions(start_s, end_s))
        except IntegrityError as error:
            problems.append(f"the ledger: {error.message}; what comes after it is missing here")
        return Records(decisions, told, problems)

    def _decisions(self, start_s: float, end_s: float) -> Iterator[DecisionRow]:
        for entry in self._ledger.entries() if self._ledger is not None else ():
            if start_s <= entry.at_s < end_s:
                place = (entry.sequence, entry.at_s, entry.rollout_id, entry.policy_digest, entry.digest)
                yield DecisionRow(*place, entry.decision)

    def services(self, at_s: float) -> Sequence[ServiceFacts]:
        """Return the services with the objectives in force at a moment."""
        query = select(SPECS.c.service, SPECS.c.digest, SPECS.c.document).where(SPECS.c.at_s < at_s)
        with reading(self._history.engine) as connection:
            rows = connection.execute(query.order_by(SPECS.c.at_s)).all()
        newest = {service: (digest, document) for service, digest, document in rows}
        return [_facts(digest, document) for _, (digest, document) in sorted(newest.items())]


def _facts(digest: str, document: str) -> ServiceFacts:
    spec = ServiceSpec.model_validate_json(document)
    lanes = spec.lane_objectives()
    objectives = [_objective(name, slo, lanes.get(name)) for name, slo in spec.objectives().items()]
    return ServiceFacts(spec.service, spec.model, objectives, digest)


def _objective(name: str, slo: Slo, lane: str | None) -> Objective:
    if isinstance(slo, ScoreSlo):
        return Objective(name, "score", slo.objective, slo.window, lane, scorer=slo.scorer)
    if isinstance(slo, LatencySlo):
        return Objective(name, "latency", slo.objective, slo.window, lane, threshold_s=slo.threshold)
    return Objective(name, "availability", slo.objective, slo.window, lane)
