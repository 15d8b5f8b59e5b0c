"""``roost model profile``, ``compare`` and ``tune`` as a person meets them, in real worker processes."""

import json
import os
import signal
import threading
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from contracts.errors import InvalidInput, NotFound, RoostError
from contracts.ids import VersionId, VersionRef
from contracts.wire.artefact import PLAN_FILE, LoadingPlan, ModelKind
from contracts.wire.worker import FaultDrill
from controlplane.cli.main import app
from controlplane.demo.model.versions import assemble, find_version
from controlplane.loop.effects import worker_spec
from controlplane.profiling.bench import ProcessBench, forget_files
from controlplane.profiling.job import bench_spec
from controlplane.settings import Settings
from registry.catalogue import Registration, VersionState
from registry.mlflow_catalogue import MlflowCatalogue
from registry.profile.document import Profile
from registry.profile.grid import Point
from registry.profile.port import WorkerGone
from registry.provenance.attestation import verify_attestation
from registry.provenance.keys import load_public_key
from registry.tuning.search import Found
from tests.prepared import prepare_catalogue

RUNNER = CliRunner()
OWN = Point(32, 64, 2)


def roost(home: Path, *words: str, status: int = 0) -> Any:
    answer = RUNNER.invoke(app, ["model", *words, "--home", str(home), "--json"])
    if isinstance(answer.exception, RoostError):
        raise answer.exception
    assert answer.exit_code == status, answer.output
    return json.loads(answer.stdout)


def open_home(home: Path) -> MlflowCatalogue:
    settings = Settings(home)
    return MlflowCatalogue(settings.mlflow_uri, artifacts=settings.artifacts, manifests=settings.manifests)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with two versions of the demo model: ``good`` and ``distilled``."""
    folder = tmp_path_factory.mktemp("profiled")
    catalogue = prepare_catalogue(folder)
    for name in ("good", "distilled"):
        directory = assemble(name, folder / name)
        catalogue.register("tags", Registration(directory, defaults=find_version(name).defaults))
    return folder


@pytest.fixture
def bench(home: Path, tmp_path: Path) -> Any:
    spec = bench_spec(open_home(home), VersionId("tags", 1), device="cpu", threads=1)
    made = ProcessBench(spec, ("price tag 4 2",), tmp_path / "worker.log")
    yield made
    made.close()


@pytest.mark.parametrize(
    ("words", "kind", "said"),
    [
        (("profile", "tags@9"), NotFound, "not registered"),
        (("profile", "tags@1", "--sizes", "30x64"), InvalidInput, "sizes"),
        (("profile", "tags@1", "--steps", "0"), InvalidInput, "steps"),
        (("profile", "tags@1", "--batches", "many"), InvalidInput, "batches"),
        (("profile", "tags@1", "--device", "cuda:7"), InvalidInput, "device"),
        (("profile", "tags@1", "--device", "tpu"), InvalidInput, "device"),
        (("profile", "tags@1", "--memory-limit", "much"), InvalidInput, "size in bytes"),
        (("profile", "tags@1", "--budget", "3"), InvalidInput, "duration"),
        (("profile", "tags@1", "--scorer", "nobody"), InvalidInput, "scorer"),
        (("profile", "tags@1", "--scorer", "image-unique"), InvalidInput, "prompts|scorer"),
        (("profile", "tags@1", "--prices", "/no/such/file"), InvalidInput, "prices"),
        (("compare", "tags@1"), InvalidInput, "two versions"),
        (("compare", "tags@1", "tags@9"), NotFound, "not registered"),
        (("tune", "tags@1", "--objective", "fastest"), InvalidInput, "objective"),
        (("tune", "tags@1", "--objective", "max quality"), InvalidInput, "judge"),
        (("tune", "tags@1", "--objective", "min p95", "--recipes", "nonsense"), InvalidInput, "recipe"),
        (("tune", "tags@1", "--objective", "min p95", "--guidance", "a,b"), InvalidInput, "guidance"),
    ],
)
def test_wrong_input_is_told_before_anything_is_measured(
    home: Path, words: tuple[str, ...], kind: type[RoostError], said: str
) -> None:
    with pytest.raises(kind, match=said) as refusal:
        roost(home, *words)
    assert refusal.value.hint
    assert not (home / "logs").exists() or not list((home / "logs").glob("profile-*"))


def test_prices_without_the_device_are_refused(home: Path, tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text("per_hour: {tpu: 1}")
    with pytest.raises(InvalidInput, match="no price"):
        roost(home, "profile", "tags@1", "--prices", str(tmp_path / "prices.yaml"))


def test_versions_without_profiles_compare_by_what_is_known(home: Path) -> None:
    row = roost(home, "compare", "tags@1", "tags@2")
    assert row["settings"]["num_inference_steps"] == [8, 4]
    assert [one["p95_s"] for one in row["profiles"]] == [None, None]
    assert not any(one["on_front"] for one in row["profiles"])


def test_files_leave_the_page_cache_and_stay_whole(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(bytes(range(256)) * 4096)
    forget_files(tmp_path)
    assert (tmp_path / "weights").read_bytes() == bytes(range(256)) * 4096


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_version_is_profiled_compared_and_served_as_found(home: Path, tmp_path: Path) -> None:
    prices, chart = tmp_path / "prices.yaml", tmp_path / "front.svg"
    prices.write_text(yaml.safe_dump({"currency": "EUR", "per_hour": {"cpu": 0.1}}))
    axes = ("--sizes", "32x64,64x128", "--steps", "2,8", "--batches", "1,4", "--budget", "8s")
    judged = ("--scorer", "text-accuracy", "--judged", "8", "--prices", str(prices))
    profile = Profile.model_validate(roost(home, "profile", "tags@1", *axes, *judged))
    assert len(profile.points) == 8
    for point in profile.points:
        assert point.p50 is not None
        assert point.repeats >= 3
        assert point.peak_memory_bytes is not None
        assert point.peak_memory_bytes > profile.loading.memory_bytes * 0.9
        assert point.cost_per_1k is not None
    assert profile.capacity is not None
    assert profile.capacity.memory_error < 0.10
    assert profile.quality is not None
    assert profile.quality.value >= 0.75  # 8 pictures of a version that writes 99 % of tags right
    catalogue = open_home(home)
    record = catalogue.get(VersionRef("tags", number=1))
    assert record.state is VersionState.PROFILED
    assert worker_spec(catalogue, record.id).capacity == profile.capacity
    job = verify_attestation(
        catalogue.profiles.attestation(record.id), record, [load_public_key(home / "keys" / "jobs.pub")]
    )
    assert (job.recipe, job.inputs) == ("profile", {"tags@1": record.digest})
    row = roost(home, "compare", "tags@1", "tags@2", "--svg", str(chart))
    assert [one["on_front"] for one in row["profiles"]] == [True, False]
    text = " ".join(ET.fromstring(chart.read_text()).itertext())
    assert "tags@1" in text
    assert "no data: tags@2" in text


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_worker_held_to_a_limit_runs_out_of_memory_and_lives(bench: ProcessBench) -> None:
    bench.start(memory_limit_bytes=768 * 2**20)
    assert bench.draw(Point(256, 256, 1, batch=16), seed=1).out_of_memory
    assert not bench.draw(OWN, seed=1).out_of_memory
    assert bench.usage().peak_bytes <= 768 * 2**20
    with pytest.raises(InvalidInput, match="memory-limit"):
        bench.start(memory_limit_bytes=64 * 2**20)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_worker_that_is_killed_in_the_middle_is_told_and_nothing_hangs(bench: ProcessBench) -> None:
    bench.start()
    pid = bench._running().process.pid

    def kill() -> None:
        time.sleep(0.3)
        os.kill(pid, signal.SIGKILL)

    def draw_on() -> None:
        for seed in range(10_000):
            bench.draw(OWN, seed)

    threading.Thread(target=kill).start()
    with pytest.raises(WorkerGone, match="ended with status -9") as gone:
        draw_on()
    assert gone.value.killed


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sampling_is_tuned_without_any_recipe(home: Path, tmp_path: Path) -> None:
    chart = tmp_path / "tune.svg"
    words = ("--objective", "min p95 where quality >= 60%", "--scorer", "text-accuracy", "--judged", "16")
    found = roost(home, "tune", "tags@1", *words, "--steps", "1,8", "--guidance", "2", "--svg", str(chart))
    assert found["best"] == "1 step, guidance 2"
    assert found["registered"] is None
    assert {trial["name"] for trial in found["trials"]} == {"1 step, guidance 2", "8 steps, guidance 2"}
    assert "1 step, guidance 2" in " ".join(ET.fromstring(chart.read_text()).itertext())
    assert len(open_home(home).list_versions("tags")) == 2


def test_nothing_that_meets_the_objective_has_exit_status_1(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = Found(trials=(), best=None, out_of_time=False)
    monkeypatch.setattr("controlplane.profiling.tuning.tune_version", lambda *_, **__: (nothing, None))
    found = roost(home, "tune", "tags@1", "--objective", "min p95 where p95 <= 1us", "--register-best", status=1)
    assert (found["best"], found["registered"]) == (None, None)


def test_a_version_that_draws_nothing_is_refused(home: Path, tmp_path: Path) -> None:
    catalogue = open_home(home)
    (tmp_path / PLAN_FILE).write_text(LoadingPlan(kind=ModelKind.ONNX, model_file="model.onnx").model_dump_json())
    record = catalogue.register("table", Registration(tmp_path))
    with pytest.raises(InvalidInput, match="draws no pictures"):
        bench_spec(catalogue, record.id, device="cpu", threads=1)


def test_a_version_with_faults_is_measured_with_them(home: Path, tmp_path: Path) -> None:
    catalogue = open_home(home)
    faults = FaultDrill(stale_prompts_after=200)
    record = catalogue.register("drilled", Registration(assemble("good", tmp_path / "pipeline"), faults=faults))
    assert bench_spec(catalogue, record.id, device="cpu", threads=1).faults == faults
