"""``roost model optimize`` as a person meets it: real child processes, real workers, a real store."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest
from typer.testing import CliRunner

from contracts.errors import IntegrityError, InvalidInput, NotPermitted, RoostError, Unavailable
from contracts.ids import VersionId, VersionRef
from controlplane.cli.main import app
from controlplane.demo.model.versions import assemble, find_version
from controlplane.optimise.staging import staging
from controlplane.optimise.timing import summarise
from registry.catalogue import Registration
from registry.mlflow_catalogue import MlflowCatalogue
from registry.provenance.attestation import verify_attestation
from registry.provenance.keys import load_public_key
from tests.prepared import prepare_catalogue

ROOT = Path(__file__).parents[2]
QUICK = ("--time-budget", "1")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def catalogue(home: Path) -> MlflowCatalogue:
    return prepare_catalogue(home)


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("prompts") / "golden.txt"
    file.write_text("the digits 4 2 7\na handwritten seven\nprice tag 31 in red ink on yellow paper\nthe number 9 0\n")
    return file


Register = Callable[..., VersionId]


@pytest.fixture
def register(catalogue: MlflowCatalogue, tmp_path: Path) -> Register:
    """Register a demo version, its directory edited first."""

    def make(model: str, name: str = "good", edit: Callable[[Path], None] = lambda directory: None) -> VersionId:
        directory = assemble(name, tmp_path / f"{model}-{name}")
        edit(directory)
        return catalogue.register(model, Registration(directory, defaults=find_version(name).defaults)).id

    return make


def optimize(home: Path, reference: VersionId, recipe: str, *words: str) -> Any:
    options = ["--recipe", recipe, "--home", str(home), "--json", *words]
    answer = CliRunner().invoke(app, ["model", "optimize", str(reference), *options])
    if isinstance(answer.exception, RoostError):
        raise answer.exception
    assert answer.exit_code == 0, answer.output
    return json.loads(answer.stdout)


def assert_nothing_new(home: Path, catalogue: MlflowCatalogue, version: VersionId) -> None:
    assert [record.id for record in catalogue.list_versions(version.model)] == [version]
    assert leftovers(home) == []


def leftovers(home: Path) -> list[Path]:
    folder = home / "optimise"
    return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_version_is_made_proven_and_registered(
    home: Path, catalogue: MlflowCatalogue, register: Register, prompts: Path
) -> None:
    parent = register("made")
    words = ("--prompts", str(prompts), "--scorer", "text-accuracy", *QUICK)
    report = optimize(home, parent, "steps=4+onnx-int8-dynamic", *words)
    made = catalogue.get(VersionRef.parse(report["version"]))
    assert (made.parent, made.lineage.recipe) == (parent, "onnx-int8-dynamic+steps=4")
    assert (made.defaults.num_inference_steps, made.defaults.guidance_scale) == (4, 2.0)
    assert made.digest == report["digest"]
    # Smaller, faster than half, like its parent at the same steps, and as right as its parent.
    assert report["size_after_bytes"] < 0.8 * report["size_before_bytes"]
    assert report["time"]["ratio"] < 0.5
    assert report["difference"]["psnr_db"] > 40
    assert report["quality"]["after"] >= report["quality"]["before"] - 0.05
    assert 0.2 < report["quantised_share"] < 0.5
    assert report["peak_memory_after_bytes"] > 100e6
    assert report["has_gain"]
    # What is kept of it: the report, numbers for MLflow, and who made it from what.
    kept, bundle = catalogue.optimisations.read(made.id)
    assert kept == report | {"version": str(made.id)}
    job = verify_attestation(bundle, made, [load_public_key(home / "keys" / "jobs.pub")])
    parent_digest = catalogue.get(VersionRef.parse(str(parent))).digest
    assert (job.recipe, job.inputs) == ("onnx-int8-dynamic+steps=4", {str(parent): parent_digest})
    directory = catalogue.fetch(made.id)
    assert (directory / "unet/model.onnx").is_file()
    assert not list(directory.rglob("unet/*.safetensors"))
    assert b"site-packages" not in (directory / "unet/model.onnx").read_bytes()
    assert leftovers(home) == []
    with pytest.raises(InvalidInput, match="no torch weights left"):
        optimize(home, made.id, "bf16")


@pytest.mark.parametrize(
    ("ratios", "faster"),
    [
        ((0.8, 0.85, 0.9, 0.9, 0.94), True),
        ((0.97, 0.96, 0.98, 0.97, 0.99, 0.96), False),
        ((0.7, 0.8, 0.9, 0.9, 1.1, 1.2), False),
        ((0.8, 0.8, 0.8, 0.8), False),
        ((0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 1.3), True),
    ],
    ids=["faster", "hardly", "noise", "too few", "with one that was held up"],
)
def test_noise_is_no_gain(ratios: tuple[float, ...], *, faster: bool) -> None:
    assert summarise([(1.0, ratio) for ratio in ratios]).is_faster is faster


def test_chance_is_the_sign_tests() -> None:
    timing = summarise([(1.0, ratio) for ratio in (0.9, 0.9, 0.9, 0.9, 1.1, 0.9, 1.2)])
    assert timing.chance == pytest.approx(binomtest(5, 7, alternative="greater").pvalue)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_recipe_without_gain_is_told_or_refused(
    home: Path, catalogue: MlflowCatalogue, register: Register, prompts: Path
) -> None:
    parent = register("vain")
    words = ("--prompts", str(prompts), "--time-budget", "6")
    with pytest.raises(NotPermitted, match=r"steps=8 of vain@1 brings no gain, nothing was registered"):
        optimize(home, parent, "steps=8", "--require-gain", *words)
    assert_nothing_new(home, catalogue, parent)
    options = ["--recipe", "steps=8", "--home", str(home), *words]
    answer = CliRunner().invoke(app, ["model", "optimize", str(parent), *options])
    assert answer.stdout.startswith("vain@2  vain@1 by steps=8")
    assert "no gain: it is neither a tenth smaller nor a twentieth faster" in answer.stdout


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_pictures_that_differ_or_are_blank_or_worse_are_refused(
    home: Path, catalogue: MlflowCatalogue, register: Register, prompts: Path
) -> None:
    words = ("--prompts", str(prompts), *QUICK)
    black = register("blank", "black")
    with pytest.raises(NotPermitted, match=r"4 of 4 golden pictures are blank"):
        optimize(home, black, "guidance=1", *words)
    assert_nothing_new(home, catalogue, black)
    good = register("unlike")
    with pytest.raises(NotPermitted, match=r"differ by \d+\.\d dB PSNR, at least 90 dB is wanted"):
        optimize(home, good, "bf16", "--min-psnr", "90", *words)
    with pytest.raises(NotPermitted, match=r"text-accuracy falls from 1.000 to"):
        optimize(home, good, "guidance=90", "--scorer", "text-accuracy", *words)
    assert_nothing_new(home, catalogue, good)


def wrong_shapes(directory: Path) -> None:
    file = directory / "unet/config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"cross_attention_dim": 32}))


def no_vae(directory: Path) -> None:
    shutil.rmtree(directory / "vae")


def no_index(directory: Path) -> None:
    (directory / "model_index.json").unlink()


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (wrong_shapes, "unet can't be loaded"),
        (no_vae, "vae can't be loaded"),
        (no_index, "nothing here tells what kind of model it is"),
    ],
)
def test_a_version_that_can_not_be_loaded_is_not_optimised(
    home: Path, catalogue: MlflowCatalogue, register: Register, edit: Callable[[Path], None], told: str
) -> None:
    version = register(f"unsound-{edit.__name__.replace('_', '-')}", edit=edit)
    with pytest.raises(InvalidInput, match=told):
        optimize(home, version, "bf16")
    assert_nothing_new(home, catalogue, version)


def test_bytes_that_were_changed_since_are_not_optimised(
    home: Path, catalogue: MlflowCatalogue, register: Register
) -> None:
    version = register("changed")
    file = catalogue.fetch(version) / "unet/diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(IntegrityError, match=r"changed: unet/diffusion_pytorch_model\.safetensors"):
        optimize(home, version, "bf16")
    assert leftovers(home) == []


@pytest.mark.parametrize(
    ("recipe", "kind", "told"),
    [
        ("torchao-fp8", Unavailable, "torchao says: Float8 dynamic quantization requires CUDA"),
        ("sklearn-onnx", InvalidInput, "the version is a diffusers model, the recipe is for pyfunc or skops"),
        ("bf17", InvalidInput, "'bf17' is none"),
    ],
)
def test_what_can_not_work_is_refused_before_it_starts(
    home: Path, catalogue: MlflowCatalogue, register: Register, recipe: str, kind: type[RoostError], told: str
) -> None:
    version = register(f"refused-{recipe}")
    with pytest.raises(kind, match=told):
        optimize(home, version, recipe)
    assert_nothing_new(home, catalogue, version)


def test_a_killed_job_leaves_nothing_behind(home: Path, catalogue: MlflowCatalogue, register: Register) -> None:
    version = register("killed")
    command = [sys.executable, "-m", "controlplane.cli.main", "model", "optimize", str(version), "--recipe", "bf16"]
    process = subprocess.Popen([*command, "--home", str(home)], cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline_s = time.monotonic() + 60
    while not any((path / "made/unet").is_dir() for path in leftovers(home)):
        assert process.poll() is None
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(leftovers(home)) == 1
    # The child ends with its parent, and the next job sweeps.
    with staging(home / "optimise") as folder:
        assert leftovers(home) == [folder]
    assert_nothing_new(home, catalogue, version)


def test_a_full_disk_is_said_and_leaves_nothing(home: Path, catalogue: MlflowCatalogue, register: Register) -> None:
    version = register("full")
    # A limit on the size of files stands for a small disk: the weights don't fit, the store's pages do.
    words = f"{sys.executable} -m controlplane.cli.main model optimize {version} --recipe bf16 --home {home}"
    ended = subprocess.run(
        ["bash", "-c", f"ulimit -f 3500; exec {words}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == Unavailable.exit_status, ended.stderr
    assert "error: the disk is full; nothing was registered" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert_nothing_new(home, catalogue, version)


def test_two_jobs_do_not_sweep_each_other(tmp_path: Path) -> None:
    with staging(tmp_path) as one, staging(tmp_path) as other:
        assert one.is_dir()
        assert one != other
    assert leftovers(tmp_path.parent) == []
    assert not one.exists()


def test_an_unwritable_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="can't be used"), staging(tmp_path / "file"):
        pass


def test_recipes_are_listed_with_what_keeps_them_from_running() -> None:
    rows = json.loads(CliRunner().invoke(app, ["model", "recipes", "--json"]).stdout)
    by_name = {row["recipe"]: row for row in rows}
    assert "Float8 dynamic quantization requires CUDA" in by_name["torchao-fp8"]["refusal"]
    assert by_name["onnx-fp32"]["refusal"] == ""
    assert by_name["skops"]["kinds"] == ["pyfunc"]
    assert "steps=…" in by_name


def test_a_job_sees_no_secret(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from controlplane.optimise.child import run_child

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    (tmp_path / "telling.py").write_text(
        "import os\n"
        "from controlplane.optimise.child import serve_parent\n"
        "serve_parent(lambda spec, tell: dict(os.environ))\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    seen = run_child("telling", "{}", log=tmp_path / "log")
    assert "AWS_SECRET_ACCESS_KEY" not in seen
    assert seen["HF_HUB_OFFLINE"] == "1"
