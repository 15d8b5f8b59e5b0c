"""The kinds of jobs that there are: what they take, when they run by themselves, and what they make of a real home."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from safetensors.numpy import save_file

from contracts.clock import FakeClock
from contracts.errors import InvalidInput
from contracts.manifest import make_manifest
from contracts.wire.telemetry import SampledOutput
from controlplane.job_kinds import KINDS, declare_schedules
from controlplane.jobs import compare, evaluate, optimise, roll_up, scan, train_demo
from controlplane.jobs.context import JobContext
from controlplane.jobs.schedules import Schedules
from controlplane.jobs.store import Jobs
from controlplane.settings import Settings
from controlplane.store.history import History
from controlplane.store.migrate import open_store
from evaluation.scorers.port import Score
from registry.catalogue import Lineage, Proof, Registration, VersionRecord
from registry.mlflow_catalogue import MlflowCatalogue
from tests.prepared import prepare_catalogue, prepare_store

MONDAY_S = 1_792_994_400.0
"""Monday, 26 October 2026, 06:00 UTC."""
DAY_S = 86400.0


class Steps:
    """The worker's end of a job: remembers steps as the database does, over all attempts."""

    def __init__(self, home: Path) -> None:
        self.home, self.kept, self.told = home, dict[str, Any](), list[tuple[float, str]]()

    def context(self, attempt: int = 1) -> JobContext:
        known = {"job": "j", "attempt": attempt, "fence": attempt, "home": str(self.home), "actor": "ada"}
        return JobContext(self, known)

    def tell(self, message: dict[str, Any]) -> None:
        self.told.append((message["progress"], message["message"]))

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        name = message["name"]
        if message["kind"] == "step":
            return {"found": name in self.kept, "result": self.kept.get(name)}
        return {"result": self.kept.setdefault(name, json.loads(json.dumps(message["result"])))}


@pytest.fixture
def steps(tmp_path: Path) -> Steps:
    (tmp_path / "prompts").mkdir()
    return Steps(tmp_path)


@pytest.fixture
def jobs(tmp_path: Path) -> Any:
    clock = FakeClock(MONDAY_S - 3 * DAY_S)
    database = open_store(prepare_store(tmp_path / "roost.db"), clock)
    yield Jobs(database, KINDS), clock
    database.close()


@pytest.mark.parametrize(
    ("kind", "arguments", "told"),
    [
        ("scan", {}, "version: is missing"),
        ("scan", {"version": "tags"}, "names no version"),
        ("scan", {"version": 3}, "valid string"),
        ("optimise", {"version": "tags@1", "recipe": "bf16", "recipes": "x"}, "did you mean recipe?"),
        ("optimise", {"version": "tags@1", "recipe": "bf16", "require_gain": "yes"}, "valid boolean"),
        ("optimise", {"version": "tags@1", "recipe": "bf16", "timing_budget_s": 0}, "greater than 0"),
        ("profile", {"version": "tags@champion", "batches": ["2"]}, "batches.0"),
        ("profile", {"version": "tags@1", "device": "tpu"}, "device"),
        ("evaluate", {"version": "tags@1", "prompts": "../../etc/passwd"}, "prompts"),
        ("compare", {"one": "tags@1", "other": "tags@2", "prompts": "p.txt", "tolerance": "much"}, "tolerance"),
        ("train-demo", {"name": "../x"}, "name"),
        ("weekly-report", {"week": "last"}, "week"),
        ("roll-up", {"now": 1}, "unknown key"),
        ("checkpoint", {"now": object()}, "not JSON"),
    ],
)
def test_wrong_arguments_are_told_and_nothing_is_queued(
    jobs: tuple[Jobs, FakeClock], kind: str, arguments: dict[str, Any], told: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        jobs[0].submit(kind, arguments, actor="t")
    assert told in caught.value.message
    assert jobs[0].list() == []
    with pytest.raises(InvalidInput):
        Schedules(jobs[0]).declare("often", "every 1h", kind, arguments)


def test_what_a_kind_takes_is_queued_as_it_was_written(jobs: tuple[Jobs, FakeClock]) -> None:
    told = {"version": "tags@champion", "sizes": ["32x64"], "batches": [1, 2], "budget_s": 30}
    assert jobs[0].submit("profile", told, actor="t").arguments == told


def test_heavy_jobs_run_one_at_a_time_whatever_their_kind(jobs: tuple[Jobs, FakeClock]) -> None:
    jobs[0].submit("optimise", {"version": "tags@1", "recipe": "bf16"}, actor="t")
    jobs[0].submit("profile", {"version": "tags@1"}, actor="t")
    jobs[0].submit("scan", {"version": "tags@1"}, actor="t")
    taken = [job.kind for job in iter(lambda: jobs[0].claim("w", 30.0), None)]
    assert sorted(taken) == ["optimise", "scan"]


def test_only_who_needs_the_database_sees_our_secrets() -> None:
    assert {kind.name for kind in KINDS if kind.is_trusted} == {"checkpoint", "tidy", "weekly-report"}


def test_the_weekly_report_is_asked_for_once_a_week_and_once_after_a_pause(jobs: tuple[Jobs, FakeClock]) -> None:
    store, clock = jobs
    one, other = Schedules(store), Schedules(store)
    for schedules in (one, other):
        declare_schedules(schedules)
    asked: list[tuple[float, str]] = []

    def look() -> None:
        for schedules in (one, other):
            asked.extend((clock.now_s(), name) for name in schedules.submit_due() if name.startswith("weekly"))

    for _ in range(17 * 8):  # two Mondays
        look()
        clock.advance(3 * 3600)
    assert [at_s - MONDAY_S for at_s, _ in asked] == [0.0, 7 * DAY_S]
    clock.advance(5 * 7 * DAY_S)  # no control plane for five weeks
    for _ in range(16):
        look()
        clock.advance(3 * 3600)
    assert len(asked) == 3, "the last slot alone is made up for"
    assert len({name for _, name in asked}) == 3
    hourly = [job for job in store.list(kind="roll-up", at_most=1000) if job.actor == "schedule/roll-up"]
    assert len(hourly) == pytest.approx(19 * 8, abs=2), "each look finds one slot that has begun"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MlflowCatalogue, VersionRecord]:
    """A home with one small registered version."""
    home = tmp_path_factory.mktemp("home")
    catalogue = prepare_catalogue(home)
    return home, catalogue, catalogue.register("tags", Registration(make_model(home / "model")))


def make_model(directory: Path) -> Path:
    directory.mkdir()
    (directory / "model_index.json").write_text("{}")
    save_file({"weight": np.ones((4, 8), np.float32)}, directory / "weights.safetensors")
    return directory


def test_a_scan_tells_findings_waivers_and_changed_bytes(registry: tuple[Path, MlflowCatalogue, VersionRecord]) -> None:
    home, catalogue, record = registry
    told = scan.run(Steps(home).context(), {"version": "tags@1"})
    assert (told["passes"], told["findings"], told["digest"]) == (True, [], record.digest)
    (weights,) = catalogue.fetch(record.id).rglob("weights.safetensors")
    sound = weights.read_bytes()
    weights.write_bytes(sound[:-4] + b"\0\0\0\1")
    told = scan.run(Steps(home).context(), {"version": "tags@1"})
    weights.write_bytes(sound)
    assert not told["passes"]
    assert "weights.safetensors" in told["changed"]


def test_a_version_that_an_earlier_attempt_registered_is_not_made_again(
    registry: tuple[Path, MlflowCatalogue, VersionRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, catalogue, parent = registry
    steps, asked = Steps(home), {"version": "tags@1", "recipe": "bf16"}
    made: list[str] = []

    def make(*_: object, **__: object) -> None:
        directory = make_model(tmp_path / "made")
        proof = Proof(make_manifest(directory).digest, {"recipe": "bf16"}, {}, "{}")
        registration = Registration(directory, parent=parent.id, lineage=Lineage(recipe="bf16"), proof=proof)
        made.append(str(catalogue.register("tags", registration).id))
        raise KeyboardInterrupt  # its worker dies before it can tell

    monkeypatch.setattr("controlplane.optimise.job.optimise", make)
    with pytest.raises(KeyboardInterrupt):
        optimise.run(steps.context(), asked)
    assert optimise.run(steps.context(attempt=2), asked) == {"recipe": "bf16", "version": made[0]}
    assert len(made) == 1


class Lengths:
    """Scores a picture by its prompt's length, and none whose prompt is empty of letters."""

    name, digest = "lengths", "sha256:l"

    def score(self, samples: list[SampledOutput]) -> list[Score]:
        return [Score(min(len(sample.prompt), 10) / 10) for sample in samples]


class DyingPainter:
    """Draws until it has drawn so many."""

    def __init__(self, most: int) -> None:
        self.most, self.drawn = most, list[str]()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def draw(self, prompt: Any) -> Any:
        from evaluation.side_by_side.ports import Drawing

        if len(self.drawn) >= self.most:
            raise MemoryError
        self.drawn.append(prompt.text)
        return Drawing(b"png", 0.1) if prompt.text != "nothing" else Drawing(None, 0.1, "gone: it crashed")


def test_an_evaluation_goes_on_where_it_was_and_counts_what_was_not_drawn(
    registry: tuple[Path, MlflowCatalogue, VersionRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = registry[0]
    (home / "prompts").mkdir()
    texts = [f"tag {n:06d}" for n in range(39)] + ["nothing"]
    (home / "prompts" / "p.txt").write_text("\n".join(texts))
    steps, asked = Steps(home), {"version": "tags@1", "prompts": "p.txt"}
    monkeypatch.setattr("controlplane.evaluation.comparing.make_scorers", lambda choices: [Lengths()])
    first, second = DyingPainter(20), DyingPainter(100)
    monkeypatch.setattr("controlplane.evaluation.painter.lone_painter", lambda *_, **__: first)
    with pytest.raises(MemoryError):
        evaluate.run(steps.context(), asked)
    monkeypatch.setattr("controlplane.evaluation.painter.lone_painter", lambda *_, **__: second)
    (found,) = evaluate.run(steps.context(2), asked)["scorers"]
    assert second.drawn == texts[evaluate.PROMPTS_A_STEP :]
    assert (found["n"], found["no_data"], found["mean"]) == (39, 1, 1.0)
    assert found["reasons"] == ("gone: it crashed (1×)",)
    assert steps.told[-1][0] == 1.0


def test_a_prompt_set_that_is_not_there_is_said_with_those_that_are(steps: Steps) -> None:
    (steps.home / "prompts" / "tags.txt").write_text("a tag")
    with pytest.raises(InvalidInput, match=r"there is no other.txt") as caught:
        compare.run(steps.context(), {"one": "tags@1", "other": "tags@2", "prompts": "other.txt"})
    assert "tags.txt" in caught.value.hint


def test_a_training_that_is_over_is_not_begun_again_and_never_written_over(
    steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[Path] = []

    def train(out: Path, seed: int, *, start: Callable[[str, int], Callable[[int, float], None]], **_: object) -> Path:
        start("autoencoder", 2)(1, 0.25)
        start("figures", 2)(1, math.nan)
        (out / "good").mkdir(parents=True)
        trained.append(out)
        return out

    monkeypatch.setattr("controlplane.demo.model.train.train", train)
    told = train_demo.run(steps.context(), {"name": "mine"})
    assert told == {"folder": str(steps.home / "trained" / "mine"), "versions": ["good"]}
    assert steps.told == [(0.5 / 4, "autoencoder, loss 0.250"), (1.5 / 4, "figures")]
    assert train_demo.run(steps.context(2), {"name": "mine"}) == told
    assert len(trained) == 1
    assert not trained[0].parent.exists()
    with pytest.raises(InvalidInput, match="is there already"):
        train_demo.run(Steps(steps.home).context(), {"name": "mine"})


def test_rolling_up_tells_what_is_left_and_changes_nothing_the_second_time(steps: Steps) -> None:
    from contracts.clock import SystemClock
    from contracts.wire.telemetry import RequestCounts, TelemetryBatch

    history = History(Settings(steps.home).history_uri)
    start_s = SystemClock().now_s() // 3600 * 3600 - 4 * DAY_S
    requests = (RequestCounts(service="tags", lane="final", total=7, bad=0),)
    for number in range(120):
        at_s = start_s + number
        history.record([TelemetryBatch(gateway="g", boot="b", sequence=number, start_s=at_s, end_s=at_s + 1,
                                       table_revision=1, requests=requests)])  # fmt: skip
    history.close()
    first = roll_up.run(steps.context(), {})
    assert first == {"rows": {"3600 s": 1}}
    assert roll_up.run(steps.context(), {}) == first
