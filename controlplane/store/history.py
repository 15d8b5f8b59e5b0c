"""The history: what telemetry counted, scorers judged and people were told, kept so that any week can be read again.

Counts arrive by the second and are rolled up to minutes and hours; each count lies in exactly one resolution, so that
sums over any range of hours are exact. A batch is counted once however often it is delivered.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    delete,
    func,
    literal,
    select,
)

from contracts.events import Event
from contracts.specs.service import ServiceSpec
from contracts.wire.telemetry import AttemptCounts, RequestCounts, SampledOutput, TelemetryBatch
from controlplane.store.telemetry_database import open_database, upsert

SECOND, MINUTE, HOUR = 1, 60, 3600
DAY_S = 86400
KEPT_S = {SECOND: 6 * HOUR, MINUTE: 2 * DAY_S, HOUR: 400 * DAY_S}
SCORES_KEPT_S = 70 * DAY_S
EXAMPLES_A_DAY = 6
LOOKS_PER_ROLL_UP = 60

SCHEMA = MetaData()
COUNTS = Table(
    "history_counts",
    SCHEMA,
    Column("resolution_s", Integer, primary_key=True),
    Column("start_s", Integer, primary_key=True),
    Column("service", String(100), primary_key=True),
    Column("version", String(120), primary_key=True),
    Column("lane", String(100), primary_key=True),
    Column("mirrored", Boolean, primary_key=True),
    Column("measure", String(140), primary_key=True),
    Column("amount", Float, nullable=False),
)
CURSORS = Table(
    "history_cursors",
    SCHEMA,
    Column("gateway", String(100), primary_key=True),
    Column("boot", String(100), primary_key=True),
    Column("sequence", Integer, primary_key=True),
    Column("end_s", Float, nullable=False),
)
SCORES = Table(
    "history_scores",
    SCHEMA,
    Column("service", String(100), primary_key=True),
    Column("metric", String(100), primary_key=True),
    Column("request_id", String(100), primary_key=True),
    Column("version", String(120), primary_key=True),
    Column("mirrored", Boolean, primary_key=True),
    Column("at_s", Float, nullable=False),
    Column("lane", String(100), nullable=False),
    Column("prompt_class", String(100), nullable=False),
    Column("value", Float),
    Column("reason", Text, nullable=False),
    Column("digest", String(100), nullable=False),
    Column("prompt", Text, nullable=False),
    Index("history_scores_at", "service", "at_s"),
)
EXAMPLES = Table(
    "history_examples",
    SCHEMA,
    Column("day", Integer, primary_key=True),
    Column("service", String(100), primary_key=True),
    Column("metric", String(100), primary_key=True),
    Column("request_id", String(100), primary_key=True),
    Column("version", String(120), primary_key=True),
    Column("mirrored", Boolean, primary_key=True),
    Column("at_s", Float, nullable=False),
    Column("lane", String(100), nullable=False),
    Column("value", Float, nullable=False),
    Column("reason", Text, nullable=False),
    Column("prompt", Text, nullable=False),
    Column("seed", Integer, nullable=False),
    Column("image", LargeBinary, nullable=False),
)
EVENTS = Table(
    "history_events",
    SCHEMA,
    Column("key", String(64), primary_key=True),
    Column("at_s", Float, nullable=False, index=True),
    Column("code", String(100), nullable=False),
    Column("subject", String(200), nullable=False),
    Column("message", Text, nullable=False),
    Column("document", Text, nullable=False),
)
SPECS = Table(
    "history_specs",
    SCHEMA,
    Column("service", String(100), primary_key=True),
    Column("at_s", Float, primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("document", Text, nullable=False),
)


@dataclass(frozen=True, slots=True)
class ScoredOutput:
    """One output with one scorer's judgement, None when there is none and ``reason`` why; ``digest`` the scorer's."""

    output: SampledOutput
    metric: str
    value: float | None
    reason: str = ""
    digest: str = ""
    prompt_class: str = ""


class History:
    """The history in one database; several writers may share it."""

    def __init__(self, url: str) -> None:
        self.engine = open_database(url, SCHEMA)
        self._looks = 0

    def close(self) -> None:
        """Let go of the database."""
        self.engine.dispose()

    def record(self, batches: Sequence[TelemetryBatch], scored: Sequence[ScoredOutput] = ()) -> None:
        """Write one pull of telemetry with what scorers made of its samples, all or nothing."""
        if not batches and not scored:
            return
        with self.engine.begin() as connection:
            fresh = [batch for batch in batches if _is_fresh(connection, batch)]
            _add_counts(connection, fresh)
            _add_scores(connection, [row for batch in fresh for row in _feedback_rows(batch)])
            _add_scores(connection, [_score_row(one) for one in scored])
            _add_examples(connection, scored)
        self._looks += 1
        if self._looks % LOOKS_PER_ROLL_UP == 0:
            newest_s = max((batch.end_s for batch in batches), default=None)
            if newest_s is not None:
                self.roll_up(newest_s)

    def record_event(self, event: Event) -> None:
        """Write what people were told; the same event twice is one."""
        document = event.model_dump_json()
        key = hashlib.sha256(document.encode()).hexdigest()
        row = {"key": key, "at_s": event.at_s, "code": event.code, "subject": event.subject}
        with self.engine.begin() as connection:
            upsert(connection, EVENTS, [{**row, "message": event.message, "document": document}])

    def record_spec(self, spec: ServiceSpec, at_s: float) -> None:
        """Write which objectives a service has from now on."""
        document = spec.model_dump_json()
        digest = hashlib.sha256(document.encode()).hexdigest()
        row = {"service": spec.service, "digest": digest, "at_s": at_s, "document": document}
        newest = select(SPECS.c.digest).where(SPECS.c.service == spec.service).order_by(SPECS.c.at_s.desc()).limit(1)
        with self.engine.begin() as connection:
            if connection.execute(newest).scalar() != digest:
                upsert(connection, SPECS, [row])

    def roll_up(self, now_s: float) -> None:
        """Move old counts to coarser buckets, drop what is past its time, keep the day's telling examples only."""
        with self.engine.begin() as connection:
            for fine, coarse in ((SECOND, MINUTE), (MINUTE, HOUR)):
                _move_up(connection, fine, coarse, before_s=_floor(now_s - KEPT_S[fine], HOUR))
            old = (COUNTS.c.resolution_s == HOUR) & (COUNTS.c.start_s < now_s - KEPT_S[HOUR])
            connection.execute(delete(COUNTS).where(old))
            connection.execute(delete(SCORES).where(SCORES.c.at_s < now_s - SCORES_KEPT_S))
            connection.execute(delete(CURSORS).where(CURSORS.c.end_s < now_s - DAY_S))
            for day in (int(now_s // DAY_S) - 1, int(now_s // DAY_S)):
                _thin_examples(connection, day)


def _is_fresh(connection: Connection, batch: TelemetryBatch) -> bool:
    """Note a batch's number and tell whether it is new."""
    key = {"gateway": batch.gateway, "boot": batch.boot, "sequence": batch.sequence}
    known = select(CURSORS.c.sequence).where(*(CURSORS.c[name] == value for name, value in key.items()))
    if connection.execute(known).first() is not None:
        return False
    upsert(connection, CURSORS, [{**key, "end_s": batch.end_s}])
    return True


def _add_counts(connection: Connection, batches: Iterable[TelemetryBatch]) -> None:
    amounts: dict[tuple[int, str, str, str, bool, str], float] = defaultdict(float)
    for batch in batches:
        start_s = math.floor(batch.start_s)
        for attempts in batch.attempts:
            head = (start_s, attempts.service, str(attempts.version), attempts.lane, attempts.mirrored)
            for measure, amount in _attempt_measures(attempts).items():
                amounts[(*head, measure)] += amount
            replica = (start_s, attempts.service, str(attempts.version), "", False, f"replica/{attempts.replica}")
            amounts[replica] = batch.end_s - batch.start_s
        for requests in batch.requests:
            for measure, amount in _request_measures(requests).items():
                amounts[start_s, requests.service, "", requests.lane, False, measure] += amount
        for refused in batch.refusals:
            amounts[start_s, refused.service, "", "", False, f"refused/{refused.reason}"[:140]] += refused.total
        for signal in batch.signals:
            for measure, amount in (("answered", signal.answered), ("asked-again", signal.asked_again)):
                amounts[start_s, signal.service, str(signal.version), "", False, measure] += amount
    names = ("start_s", "service", "version", "lane", "mirrored", "measure")
    rows = [
        {"resolution_s": SECOND, **dict(zip(names, key, strict=True)), "amount": amount}
        for key, amount in amounts.items()
        if amount
    ]
    upsert(connection, COUNTS, rows, add="amount")


def _attempt_measures(attempts: AttemptCounts) -> Mapping[str, float]:
    return {
        "attempts": attempts.total,
        "attempts-bad": attempts.n_bad,
        "latency-sum-s": attempts.latency_sum_s,
        "cold": attempts.cold,
        **{f"bad/{reason}": count for reason, count in attempts.bad.items()},
        **{f"slow/{name}": count for name, count in attempts.slow.items()},
        **{f"latency/{bucket}": count for bucket, count in attempts.latency.items()},
    }


def _request_measures(requests: RequestCounts) -> Mapping[str, float]:
    return {
        "requests": requests.total,
        "requests-bad": requests.bad,
        "fell-back": requests.fell_back,
        "cached": requests.cached,
        **{f"request-bad/{reason}": count for reason, count in requests.reasons.items()},
    }


def _feedback_rows(batch: TelemetryBatch) -> list[dict[str, object]]:
    return [
        {
            "service": feedback.service,
            "metric": "user-rating",
            "request_id": feedback.request_id,
            "version": str(feedback.version),
            "mirrored": False,
            "at_s": feedback.at_s,
            "lane": feedback.lane,
            "prompt_class": feedback.lane,
            "value": feedback.rating,
            "reason": feedback.reason,
            "digest": "",
            "prompt": "",
        }
        for feedback in batch.feedback
    ]


def _score_row(scored: ScoredOutput) -> dict[str, object]:
    output = scored.output
    return {
        "service": output.service,
        "metric": scored.metric,
        "request_id": output.request_id,
        "version": str(output.version),
        "mirrored": output.mirrored,
        "at_s": output.at_s,
        "lane": output.lane,
        "prompt_class": scored.prompt_class or output.lane,
        "value": scored.value,
        "reason": scored.reason,
        "digest": scored.digest,
        "prompt": output.prompt,
    }


def _add_scores(connection: Connection, rows: list[dict[str, object]]) -> None:
    upsert(connection, SCORES, rows)


def _add_examples(connection: Connection, scored: Sequence[ScoredOutput]) -> None:
    rows = []
    for one in scored:
        if one.value is not None:
            row = _score_row(one)
            kept = {name: row[name] for name in row if name not in {"prompt_class", "digest"}}
            output = one.output
            extra = {"seed": output.seed, "image": output.image_png}
            rows.append({"day": int(output.at_s // DAY_S), **kept, **extra})
    upsert(connection, EXAMPLES, rows)


def _move_up(connection: Connection, fine: int, coarse: int, *, before_s: int) -> None:
    """Add the fine buckets that start before a time to the coarse ones they lie in."""
    old = (COUNTS.c.resolution_s == fine) & (COUNTS.c.start_s < before_s)
    start_s = (COUNTS.c.start_s - COUNTS.c.start_s % coarse).label("start_s")
    same = [COUNTS.c.service, COUNTS.c.version, COUNTS.c.lane, COUNTS.c.mirrored, COUNTS.c.measure]
    sums = select(literal(coarse).label("resolution_s"), start_s, *same, func.sum(COUNTS.c.amount).label("amount"))
    rows = connection.execute(sums.where(old).group_by(start_s, *same)).mappings().all()
    upsert(connection, COUNTS, [dict(row) for row in rows], add="amount")
    connection.execute(delete(COUNTS).where(old))


def _thin_examples(connection: Connection, day: int) -> None:
    """Keep the worst and the best few of each version and metric of a day."""
    group = [EXAMPLES.c.service, EXAMPLES.c.metric, EXAMPLES.c.version, EXAMPLES.c.mirrored]
    key = [EXAMPLES.c.service, EXAMPLES.c.metric, EXAMPLES.c.version, EXAMPLES.c.mirrored, EXAMPLES.c.request_id]
    worst = func.row_number().over(partition_by=group, order_by=[EXAMPLES.c.value, EXAMPLES.c.at_s]).label("worst")
    best = func.row_number().over(partition_by=group, order_by=[EXAMPLES.c.value.desc(), EXAMPLES.c.at_s]).label("best")
    ranked = select(*key, worst, best).where(EXAMPLES.c.day == day).subquery()
    rows = connection.execute(
        select(*(ranked.c[column.name] for column in key)).where(
            (ranked.c.worst > EXAMPLES_A_DAY) & (ranked.c.best > EXAMPLES_A_DAY)
        )
    ).all()
    for row in rows:
        same = [column == value for column, value in zip(key, row, strict=True)]
        connection.execute(delete(EXAMPLES).where(EXAMPLES.c.day == day, *same))


def _floor(at_s: float, step_s: int) -> int:
    return int(at_s // step_s) * step_s
