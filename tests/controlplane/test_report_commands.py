"""The week's report and drift checks as a person calls them: files whole or not at all, plain errors, exit statuses."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from contracts.errors import InvalidInput, NotFound
from contracts.events import Event
from contracts.ids import VersionId
from contracts.specs.loading import load_service_spec
from contracts.wire.telemetry import AttemptCounts, RequestCounts, TelemetryBatch
from controlplane.cli.main import app
from controlplane.settings import Settings
from controlplane.store.history import History
from controlplane.store.ledger import FileLedger
from controlplane.store.migrate import open_store
from controlplane.store.sql_ledger import SqlLedger
from evaluation.report.pdf import find_chromium
from evaluation.report.week import Week

WEEK = Week(2026, 40)
SPEC = "{service: tags, model: m, slos: {availability: {objective: 99%}, speed: {objective: 95%, threshold: 1s}}}"
runner = CliRunner()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with one quiet week and one decision, as a control plane leaves it."""
    settings = Settings(tmp_path / "home")
    history = History(settings.history_uri)
    history.record_spec(load_service_spec(SPEC, subject="spec"), WEEK.start_s)
    version, bad = VersionId("m", 1), {"oom": 2}
    attempts = AttemptCounts(service="tags", version=version, replica="r", lane="final", total=1000, bad=bad)
    requests = RequestCounts(service="tags", lane="final", total=1000, bad=2)
    history.record([
        TelemetryBatch(gateway="g", boot="b", sequence=1, start_s=WEEK.start_s + 60, end_s=WEEK.start_s + 61,
                       table_revision=1, attempts=(attempts,), requests=(requests,))
    ])  # fmt: skip
    history.record_event(Event(code="alarm.no-data", at_s=WEEK.start_s + 5, subject="rollout/x", message="silent"))
    history.close()
    ledger = FileLedger(settings.ledger, code_version="t")
    decision = {"phase": "promoted", "reason": "rollout.promoted", "sentence": "m@1 is promoted"}
    ledger.append(at_s=WEEK.start_s + 9, rollout_id="tags-1", policy_digest="p", observation={}, decision=decision)
    return settings.home


def weekly(home: Path, *words: str) -> str:
    answer = runner.invoke(app, ["report", "weekly", "--week", str(WEEK), "--home", str(home), *words])
    if answer.exception is not None:
        raise answer.exception
    return answer.stdout


def test_a_week_becomes_a_page_a_document_and_a_text_with_the_same_content(home: Path, tmp_path: Path) -> None:
    told = weekly(home, "--out", str(tmp_path / "r.html"))
    assert "0.2 % of them (2) got no answer" in told
    weekly(home, "--out", str(tmp_path / "r.json"))
    weekly(home, "--out", str(tmp_path / "r.md"))
    document = json.loads((tmp_path / "r.json").read_text())
    page, text = (tmp_path / "r.html").read_text(), (tmp_path / "r.md").read_text()
    assert all(sentence in text for sentence in document["sentences"])
    assert all(section["title"] in page for section in document["sections"])
    printed = json.loads(weekly(home, "--json"))
    assert printed["sentences"] == document["sentences"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "r.html", "r.json", "r.md"]


def test_a_report_has_incidents_rollouts_and_cost_only_with_a_price(home: Path) -> None:
    sections = {s["key"]: s for s in json.loads(weekly(home, "--json", "--usd-per-hour", "3"))["sections"]}
    assert sections["incidents"]["sentence"] == "1 incident."
    assert sections["rollouts"]["tables"][0]["rows"][0][0] == "tags-1"
    assert sections["upcoming"]["tables"][0]["rows"] == []


def test_decisions_in_the_database_come_first_and_each_rollout_says_why_it_turned(home: Path) -> None:
    database = open_store(Settings(home).database_url)
    ledger = SqlLedger(database, code_version="t")
    story = [
        ("progressing", "ramp.raised", "m@2 gets its first 10 % of traffic"),
        ("promoting", "gate.safe-proven", "every gate is proven safe"),
        ("baking", "promote.baking", "m@2 is champion"),
        ("rolling-back", "gate.harm-proven", "m@2 fails 9 % of requests"),
        ("rolling-back", "rollback.shifting", "traffic goes back"),
        ("rolled-back", "rollout.rolled-back", "the rollout has ended: rolled-back"),
    ]
    for second, (phase, reason, sentence) in enumerate(story):
        decision = {"phase": phase, "reason": reason, "sentence": sentence, "champion": "m@1", "challenger": "m@2"}
        ledger.append(
            at_s=WEEK.start_s + second, rollout_id="tags-2", policy_digest="p", observation={}, decision=decision
        )
    database.close()
    sections = {s["key"]: s for s in json.loads(weekly(home, "--json"))["sections"]}
    (row,) = sections["rollouts"]["tables"][0]["rows"]
    assert row[:4] == ["tags-2", "m@1 → m@2", "rolled-back", "m@2 fails 9 % of requests"]


@pytest.mark.parametrize(
    "words", [["--out", "r.docx"], ["--pdf", "--json"], ["--week", "2026-W99"], ["--week", "2999-W01"]]
)
def test_what_cannot_be_made_is_refused_and_nothing_is_left(home: Path, words: list[str], tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        weekly(home, *words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home"]


def test_a_home_without_history_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="holds no history"):
        weekly(tmp_path / "none")


def test_a_pdf_is_printed_where_chromium_is_and_else_said(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evaluation.report.pdf.find_chromium", lambda: None)
    answer = runner.invoke(
        app, ["report", "weekly", "--week", str(WEEK), "--home", str(home), "--out", str(tmp_path / "r.html"), "--pdf"]
    )
    assert answer.exit_code == 0
    assert "Chromium is not installed" in answer.output
    assert (tmp_path / "r.html").is_file()


@pytest.mark.slow
@pytest.mark.skipif(find_chromium() is None, reason="Chromium is not installed (Debian's package chromium)")
def test_chromium_prints_the_page(home: Path, tmp_path: Path) -> None:
    weekly(home, "--out", str(tmp_path / "r.html"), "--pdf")
    assert (tmp_path / "r.pdf").read_bytes().startswith(b"%PDF")


def write_window(path: Path, mean: float, n: int = 6000, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    lines = [
        json.dumps({"at_s": 60 * i, "version": "m@1", "lane": "final", "scores": {"q": float(np.clip(x, 0, 1))}})
        for i, x in enumerate(rng.normal(mean, 0.1, n))
    ]
    path.write_text("\n".join([*lines, "torn"]))
    return path


def test_a_drift_check_tells_verdicts_by_text_json_and_status(tmp_path: Path) -> None:
    reference, steady = (
        write_window(tmp_path / "ref.jsonl", 0.7, 20_000),
        write_window(tmp_path / "a.jsonl", 0.7, seed=1),
    )
    moved = write_window(tmp_path / "b.jsonl", 0.65, seed=2)
    few = write_window(tmp_path / "c.jsonl", 0.7, 50, seed=3)
    for window, word, status in ((steady, "steady", 0), (moved, "drifted", 10), (few, "not-enough-data", 7)):
        answer = runner.invoke(app, ["drift", "check", str(window), "--reference", str(reference)])
        assert answer.exit_code == status
        assert f"  {word}  " in answer.stdout
        assert "line" in answer.stderr
        assert "left out" in answer.stderr
    answer = runner.invoke(app, ["drift", "check", str(moved), "--control", str(steady), "--json"])
    document = json.loads(answer.stdout)
    assert document["verdicts"][0]["outcome"] == "drifted"
    assert document["expected_false_alarms"] <= 0.01


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--reference", "R", "--control", "R"],
        ["--control", "R", "--season", "week"],
        ["--reference", "R", "--alpha", "2"],
    ],
)
def test_a_drift_check_without_one_comparison_is_refused(tmp_path: Path, words: list[str]) -> None:
    file = write_window(tmp_path / "ref.jsonl", 0.7, 300)
    answer = runner.invoke(app, ["drift", "check", str(file), *(str(file) if w == "R" else w for w in words)])
    assert isinstance(answer.exception, InvalidInput)


def test_embeddings_in_a_window_are_judged_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    files = []
    for name, shift, n in (("ref", 0.0, 800), ("live", 0.6, 400)):
        rows = [json.dumps({"at_s": i, "embedding": (rng.normal(size=8) + shift).tolist()}) for i in range(n)]
        files.append(tmp_path / f"{name}.jsonl")
        files[-1].write_text("\n".join(rows))
    answer = runner.invoke(app, ["drift", "check", str(files[1]), "--reference", str(files[0])])
    assert answer.exit_code == 10
    assert "embeddings 1" in answer.stdout


def test_a_hook_that_nobody_answers_stays_in_the_outbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOST_HOOK_SECRET", "a secret that is long enough")
    reference, moved = write_window(tmp_path / "ref.jsonl", 0.7, 20_000), write_window(tmp_path / "b.jsonl", 0.6)
    words = ["--home", str(tmp_path / "home")]
    check = [
        "drift",
        "check",
        str(moved),
        "--reference",
        str(reference),
        "--hook",
        "http://127.0.0.1:9/retrain",
        *words,
    ]
    answer = runner.invoke(app, check)
    assert answer.exit_code == 10
    assert "hook http://127.0.0.1:9/retrain: no answer" in answer.stderr
    waiting = runner.invoke(app, ["drift", "deliver", *words])
    assert "1 calls are waiting" in str(getattr(waiting.exception, "message", ""))
