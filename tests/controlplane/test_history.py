"""The history: counted once, rolled up without loss, readable for any past week."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from contracts.errors import InvalidInput, Unavailable
from contracts.events import Event
from contracts.ids import VersionId
from contracts.specs.loading import load_service_spec
from contracts.wire.telemetry import AttemptCounts, Feedback, RequestCounts, SampledOutput, TelemetryBatch, UserSignals
from controlplane.store.history import COUNTS, DAY_S, HOUR, MINUTE, SCHEMA, SECOND, History, ScoredOutput
from controlplane.store.ledger import FileLedger
from controlplane.store.telemetry_database import open_database
from controlplane.store.week_source import StoredWeeks
from evaluation.report.week import Week

WEEK = Week(2026, 46)
VERSION = VersionId("m", 2)


@pytest.fixture
def history(empty_database_url: str) -> Iterator[History]:
    """A history on each engine."""
    found = History(empty_database_url)
    yield found
    found.close()


def batch(sequence: int, at_s: float, total: int = 10, bad: int = 1) -> TelemetryBatch:
    attempts = AttemptCounts(
        service="tags", version=VERSION, replica="r1", lane="final", total=total, bad={"oom": bad},
        latency={3: total - bad},
        slow={"speed": 2}, latency_sum_s=1.5,
    )  # fmt: skip
    requests = RequestCounts(service="tags", lane="final", total=total, bad=bad)
    signals = UserSignals(service="tags", version=VERSION, answered=4, asked_again=1)
    feedback = Feedback(service="tags", version=VERSION, lane="final", request_id=f"f{sequence}", rating=0.5, at_s=at_s)
    return TelemetryBatch(
        gateway="g", boot="b", sequence=sequence, start_s=at_s, end_s=at_s + 1, table_revision=1,
        attempts=(attempts,), requests=(requests,), signals=(signals,), feedback=(feedback,),
    )  # fmt: skip


def output(number: int, at_s: float) -> SampledOutput:
    image = io.BytesIO()
    Image.new("RGB", (8, 8), (number % 255, 0, 0)).save(image, "PNG")
    return SampledOutput(
        service="tags", version=VERSION, request_id=f"r{number}", lane="final", prompt="p", seed=1, at_s=at_s,
        image_png=image.getvalue(),
    )  # fmt: skip


def amounts(history: History) -> dict[str, float]:
    query = select(COUNTS.c.measure, func.sum(COUNTS.c.amount)).group_by(COUNTS.c.measure)
    with history.engine.connect() as connection:
        return {str(name): float(amount) for name, amount in connection.execute(query)}


def test_a_batch_that_is_delivered_twice_counts_once(history: History) -> None:
    for _ in range(2):
        history.record([batch(1, WEEK.start_s)])
    history.record([batch(1, WEEK.start_s), batch(2, WEEK.start_s + 1)])
    found = amounts(history)
    assert found["attempts"] == 20
    assert found["bad/oom"] == found["requests-bad"] == 2
    assert found["latency/3"] == 18
    assert found["asked-again"] == 2
    assert found["replica/r1"] == 2


def test_rolling_up_loses_nothing_and_leaves_each_count_in_one_resolution(history: History) -> None:
    for number in range(30):
        history.record([batch(number, WEEK.start_s + 1800 * number)])
    before = amounts(history)
    for days in (0.5, 1, 3, 10):
        history.roll_up(WEEK.start_s + days * DAY_S)
        assert amounts(history) == pytest.approx(before)
    with history.engine.connect() as connection:
        resolutions = set(connection.execute(select(COUNTS.c.resolution_s)).scalars())
    assert resolutions == {HOUR}
    assert len({SECOND, MINUTE, HOUR}) == 3


def test_a_week_is_read_by_its_bounds(history: History) -> None:
    history.record([batch(1, WEEK.start_s - 1), batch(2, WEEK.start_s), batch(3, WEEK.end_s)])
    rows = StoredWeeks(history, None).counts(WEEK.start_s, WEEK.end_s)
    assert [row.amount for row in rows if row.measure == "attempts"] == [10]


def test_scores_ratings_and_examples_are_kept_once(history: History) -> None:
    scored = [
        ScoredOutput(output(1, WEEK.start_s), "text", 0.0, "asked 41, shows 47", "sha256:s"),
        ScoredOutput(output(2, WEEK.start_s + 1), "text", None, "can't be read"),
    ]
    for _ in range(2):
        history.record([batch(1, WEEK.start_s)], scored)
    source = StoredWeeks(history, None)
    rows = source.scores(WEEK.start_s, WEEK.end_s)
    assert {(row.metric, row.value, row.reason) for row in rows} == {
        ("text", 0.0, "asked 41, shows 47"), ("text", None, "can't be read"), ("user-rating", 0.5, "")
    }  # fmt: skip
    assert {row.prompt for row in rows if row.metric == "text"} == {"p"}
    examples = source.examples(WEEK.start_s, WEEK.end_s)
    assert [example.request_id for example in examples] == ["r1"]


def test_only_the_telling_examples_of_a_day_are_kept(history: History) -> None:
    scored = [ScoredOutput(output(n, WEEK.start_s + n), "text", n / 40, "") for n in range(40)]
    history.record([], scored)
    history.roll_up(WEEK.start_s + 100)
    values = [example.value for example in StoredWeeks(history, None).examples(WEEK.start_s, WEEK.end_s)]
    assert values == [n / 40 for n in (*range(6), *range(34, 40))]


def test_the_objectives_in_force_then_are_told(history: History) -> None:
    text = "{service: tags, model: m, slos: {a: {objective: %s}}}"
    for at_s, objective in ((100.0, "99%"), (200.0, "98%"), (300.0, "99%")):
        history.record_spec(load_service_spec(text % objective, subject="s"), at_s)
    source = StoredWeeks(history, None)
    found = [source.services(at_s)[0].objectives[0].objective for at_s in (150.0, 250.0, 350.0)]
    assert found == [0.99, 0.98, 0.99]
    assert source.services(50.0) == []


def test_events_and_decisions_of_a_week_and_a_torn_ledger(history: History, tmp_path: Path) -> None:
    event = Event(code="gate.harm-proven", at_s=WEEK.start_s + 5, subject="rollout/x", message="worse")
    history.record_event(event)
    history.record_event(event)
    path = tmp_path / "ledger.jsonl"
    ledger = FileLedger(path, code_version="t")
    for at_s in (WEEK.start_s - 1, WEEK.start_s + 1):
        ledger.append(at_s=at_s, rollout_id="x", policy_digest="p", observation={}, decision={"phase": "promoted"})
    records = StoredWeeks(history, ledger).records(WEEK.start_s, WEEK.end_s)
    assert [row.sequence for row in records.decisions] == [1]
    assert [row.message for row in records.events] == ["worse"]
    with path.open("a") as file:
        file.write("torn")
    again = StoredWeeks(history, ledger).records(WEEK.start_s, WEEK.end_s)
    assert len(again.decisions) == 1
    assert "torn" in again.problems[0]


def test_two_writers_share_one_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'history.db'}"
    one, other = History(url), History(url)
    for number in range(20):
        (one, other)[number % 2].record([batch(number, WEEK.start_s + number)])
    assert amounts(one)["attempts"] == 200
    one.close()
    other.close()


def test_the_schema_is_fit_for_postgresql() -> None:
    for table in SCHEMA.tables.values():
        dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
        assert "CREATE TABLE" in str(CreateTable(table).compile(dialect=dialect))


def test_a_database_of_another_version_is_said(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}"
    older = History(url)
    with older.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE history_scores DROP COLUMN prompt")
    older.close()
    with pytest.raises(Unavailable, match=r"lacks history_scores\.prompt"):
        History(url)


def test_a_database_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"this is no database, and long enough to be looked at" * 20)
    with pytest.raises(Unavailable, match="can't be used"):
        open_database(f"sqlite:///{broken}", SCHEMA)
    with pytest.raises(InvalidInput, match="database"):
        open_database("nonsense", SCHEMA)
