"""Heavy jobs for real: each kind in its child process, on the demo model, with what it leaves behind."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.ids import VersionId
from controlplane.demo.model.assets import verify
from controlplane.demo.model.versions import assemble, find_version
from controlplane.job_kinds import KINDS
from controlplane.jobs.job import JobState
from controlplane.jobs.store import Jobs
from controlplane.jobs.worker import Worker
from controlplane.settings import Settings
from controlplane.store.history import History
from controlplane.store.migrate import open_store
from registry.catalogue import Registration
from registry.mlflow_catalogue import MlflowCatalogue
from tests.controlplane.postgres import wait_for
from tests.prepared import prepare_catalogue

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PROMPTS = [f"price tag {number}" for number in (4, 71, 902, 5, 38, 6, 14, 220, 9, 53, 17, 8, 401, 66, 2, 95)]
PATIENCE_S = 120.0
LEASE_S = 2.0
WORKER = f"""
import sys
from pathlib import Path
from controlplane.job_kinds import KINDS
from controlplane.jobs.store import Jobs
from controlplane.jobs.worker import Worker
from controlplane.settings import Settings
from controlplane.store.migrate import open_store
home = Path(sys.argv[1])
Worker(Jobs(open_store(Settings(home).database_url), KINDS), home, name="first", lease_s={LEASE_S}).work_one()
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the demo's ``good`` version, a history of nothing yet, and prompts for 2 × 16 pictures."""
    folder = tmp_path_factory.mktemp("home")
    catalogue = prepare_catalogue(folder)
    directory = assemble("good", folder / "good")
    catalogue.register("tags", Registration(directory, defaults=find_version("good").defaults))
    History(Settings(folder).history_uri).close()
    prompts = Settings(folder).prompts
    prompts.mkdir()
    (prompts / "few.txt").write_text("\n".join(PROMPTS[:4]))
    (prompts / "twice.txt").write_text("\n".join(PROMPTS + [f"{text} in red ink" for text in PROMPTS]))
    return folder


@pytest.fixture
def jobs(home: Path) -> Iterator[Jobs]:
    database = open_store(Settings(home).database_url)
    yield Jobs(database, KINDS)
    database.close()


def open_catalogue(home: Path) -> MlflowCatalogue:
    settings = Settings(home)
    return MlflowCatalogue(settings.mlflow_uri, artifacts=settings.artifacts, manifests=settings.manifests)


def work(jobs: Jobs, home: Path, kind: str, **arguments: Any) -> dict[str, Any]:
    """Ask for a job, see it to its end, and return its result."""
    job = jobs.submit(kind, arguments, actor="t")
    ended = Worker(jobs, home).work_one()
    assert ended is not None
    assert ended.id == job.id
    assert ended.state is JobState.DONE, ended.error
    assert ended.progress == 1.0
    assert ended.result is not None
    return ended.result


def test_a_scan_reads_every_byte_of_a_version(jobs: Jobs, home: Path) -> None:
    told = work(jobs, home, "scan", version="tags@1")
    assert told["passes"]
    assert told["bytes"] == open_catalogue(home).list_versions("tags")[0].size_bytes


def test_a_weeks_report_is_written(jobs: Jobs, home: Path) -> None:
    told = work(jobs, home, "weekly-report", week="2026-W46")
    assert Path(told["file"]) == home / "reports" / "report-2026-W46.html"
    assert Path(told["file"]).stat().st_size == told["bytes"] > 1000


def test_a_profile_is_measured_and_kept_with_its_version(jobs: Jobs, home: Path) -> None:
    told = work(
        jobs, home, "profile", version="tags@1", sizes=["32x64"], steps=[1, 2], batches=[1, 2], budget_s=1, threads=1
    )
    assert {(point["steps"], point["batch"]) for point in told["points"]} == {(1, 1), (1, 2), (2, 1), (2, 2)}
    assert all(point["peak_memory_bytes"] > 100 << 20 and point["p50"]["value_s"] > 0 for point in told["points"])
    kept = open_catalogue(home).list_versions("tags")[0]
    assert kept.serving["cpu"].cold_start_s == told["loading"]["cold_s"], "its workers are started by what was found"


def test_a_version_is_made_from_another_and_proven(jobs: Jobs, home: Path) -> None:
    told = work(
        jobs, home, "optimise", version="tags@1", recipe="steps=4", prompts="few.txt",
        scorer="text-accuracy", timing_budget_s=1,
    )  # fmt: skip
    made = next(one for one in open_catalogue(home).list_versions("tags") if str(one.id) == told["version"])
    assert made.parent == VersionId("tags", 1)
    assert made.defaults.num_inference_steps == 4


def test_an_evaluation_whose_worker_is_killed_goes_on_where_it_was(jobs: Jobs, home: Path) -> None:
    asked = {"version": "tags@1", "prompts": "twice.txt", "scorers": ["text-accuracy"]}
    job = jobs.submit("evaluate", asked, actor="t")
    first = subprocess.Popen([sys.executable, "-c", WORKER, str(home)], cwd=Path(__file__).parents[2])
    try:
        wait_for(lambda: jobs.get(job.id).progress >= 0.5, PATIENCE_S)
    finally:
        first.kill()
        first.wait()
    assert jobs.get(job.id).state is JobState.RUNNING, "nobody has said that it ended"
    second, ended = Worker(jobs, home, name="second"), None
    while ended is None:  # the first one's lease has to end before
        ended = second.work_one()
        time.sleep(0.1)
    assert (ended.state, ended.attempts, ended.worker) == (JobState.DONE, 2, "second")
    assert ended.result is not None
    (found,) = ended.result["scorers"]
    assert found["n"] == 32
    assert found["mean"] > 0.8


def test_a_training_is_cancelled_and_another_comes_to_its_end(jobs: Jobs, home: Path) -> None:
    long = jobs.submit("train-demo", {"name": "long"}, actor="t")
    worker = threading.Thread(target=Worker(jobs, home, lease_s=LEASE_S).work_one)
    worker.start()
    wait_for(lambda: jobs.get(long.id).progress > 0, PATIENCE_S)
    assert "loss" in jobs.get(long.id).message
    jobs.cancel(long.id, actor="t", reason="it takes too long")
    worker.join(PATIENCE_S)
    assert jobs.get(long.id).state is JobState.CANCELLED
    short = {"autoencoder_steps": 2, "denoiser_steps": 2, "distillation_steps": 1, "judged": 4}
    told = work(jobs, home, "train-demo", name="short", **short)
    assert told["versions"] == ["distilled", "early", "good"]
    for name in told["versions"]:
        verify(Path(told["folder"]) / name)
    assert not (Settings(home).trained / "long").exists()
    assert not list((home / "training").glob("*/*")), "what was half made is gone"
