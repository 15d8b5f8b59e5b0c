"""Recipes: how they are named and joined, what they need, and what each does to a real pipeline's directory."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import InvalidInput, Unavailable
from contracts.wire.artefact import LoadingPlan, ModelKind, read_plan
from contracts.wire.worker import GenerationDefaults
from controlplane.demo.model.versions import assemble
from registry.recipes.names import KEYED, PLAIN, check_recipes, read_recipes, write_recipes
from registry.recipes.port import Draft, Needs, Stage, check_needs
from registry.safety.inspection import inspect
from serving.worker.runtimes.pipeline import load_pipeline

ASKED = GenerationDefaults(num_inference_steps=2, guidance_scale=2.0, height=32, width=64)
PIPELINE = LoadingPlan(kind=ModelKind.DIFFUSERS)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return assemble("good", tmp_path_factory.mktemp("demo") / "good")


@pytest.fixture
def draft(good: Path, tmp_path: Path) -> Draft:
    directory = shutil.copytree(good, tmp_path / "draft")
    return Draft(directory, PIPELINE, ASKED, load_pipeline, prompts=("a handwritten seven", "the digits 4 2"))


def size_bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def count_linear_weights(directory: Path) -> int:
    from safetensors import safe_open

    with safe_open(directory / "unet" / "diffusion_pytorch_model.safetensors", "np") as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118 - it is no dictionary
    return sum(shape[0] * shape[1] for shape in shapes if len(shape) == 2)


def apply(draft: Draft, text: str) -> Draft:
    recipes = read_recipes(text)
    check_recipes(recipes, draft.plan, draft.device)
    for recipe in recipes:
        recipe.apply(draft)
    return draft


def pictures(draft: Draft) -> Any:
    from registry.recipes.capture import draw

    return draw(draft.load_pipeline(), draft.prompts, draft.defaults, seed=3)


@given(st.permutations(["steps=4", "bf16", "torchao-int8wo", "vae-slicing", "guidance=1.5", "scheduler=dpm++"]))
def test_joined_recipes_take_their_turns_whatever_the_order(parts: list[str]) -> None:
    recipes = read_recipes("+".join(parts))
    assert [recipe.stage for recipe in recipes] == sorted(recipe.stage for recipe in recipes)
    assert sorted(recipe.name for recipe in recipes) == sorted(parts)
    assert read_recipes(write_recipes(recipes)) == recipes


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "'' is none"),
        ("bf17", "'bf17' is none"),
        ("bf16+bf16", "bf16 is given twice"),
        ("steps=4+steps=8", "steps is given twice"),
        ("bf16+fp16", "don't go together"),
        ("quanto-int8+torchao-int8wo", "don't go together"),
        ("bf16+onnx-fp32", "leaves no torch weights"),
        ("onnx-int8-dynamic+vae-tiling", "leaves no torch weights"),
        ("compile+openvino-bf16", "leaves no torch weights"),
        ("steps", "steps needs a value"),
        ("steps=0", "from 1 to 1000"),
        ("steps=²", "from 1 to 1000"),
        ("guidance=nan", "from 0 to 100"),
        ("scheduler=heun", "no scheduler of ours"),
    ],
)
def test_a_wrong_recipe_is_told_in_words(text: str, told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        read_recipes(text)


@pytest.mark.parametrize("name", [name for name, recipe in PLAIN.items() if ModelKind.DIFFUSERS in recipe.needs.kinds])
def test_recipes_of_pipelines_refuse_other_kinds(name: str) -> None:
    with pytest.raises(InvalidInput, match="the version is a skops model, the recipe is for diffusers"):
        check_needs(PLAIN[name], LoadingPlan(kind=ModelKind.SKOPS, model_file="m.skops"), "cpu")


@pytest.mark.parametrize(
    ("name", "words"),
    [("torchao-fp8", "Float8 dynamic quantization requires CUDA"), ("torchao-int4", "it runs on a CUDA device")],
)
def test_recipes_of_gpus_are_refused_on_a_cpu_in_the_librarys_words(name: str, words: str) -> None:
    with pytest.raises(Unavailable, match=words):
        check_needs(PLAIN[name], PIPELINE, "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("recipe", [*map(str, PLAIN), "steps=4", "guidance=1", "scheduler=ddim"])
def test_without_a_cuda_device_every_recipe_for_one_says_what_is_missing(recipe: str) -> None:
    (one,) = read_recipes(recipe)
    if any(find_spec(package) is None for package in one.needs.packages):
        pytest.skip("its extra is not installed here, which is told first")
    told = "it runs on the CPU" if one.needs.device == "cpu" else "torch sees no CUDA device here"
    with pytest.raises(Unavailable, match=told) as refusal:
        check_needs(one, LoadingPlan(kind=min(one.needs.kinds), model_file="m"), "cuda")
    assert refusal.value.hint == "choose another recipe, or a machine that has it"


def test_a_missing_package_is_named_with_the_extra_that_brings_it() -> None:
    class Wanting:
        name, stage, needs = "wanting", Stage.WEIGHTS, Needs(packages=("no_such_package",), extra="optimize")

        def apply(self, draft: Draft) -> None:
            raise AssertionError

    with pytest.raises(Unavailable, match="no_such_package is not installed") as refusal:
        check_needs(Wanting(), PIPELINE, "cpu")
    assert "roost[optimize]" in refusal.value.hint


def test_a_version_that_an_engine_runs_has_no_weights_for_torch() -> None:
    plan = LoadingPlan.model_validate(
        {"kind": "diffusers", "components": {"unet": {"engine": "onnxruntime", "file": "unet/model.onnx"}}}
    )
    with pytest.raises(InvalidInput, match=r"no torch weights left for it \(unet by onnxruntime\)"):
        check_recipes(read_recipes("bf16"), plan, "cpu")
    check_recipes(read_recipes("steps=4+guidance=1"), plan, "cpu")


def test_sampling_recipes_change_defaults_and_scheduler_and_no_weight(draft: Draft, good: Path) -> None:
    apply(draft, "steps=4+guidance=1.5+scheduler=unipc")
    assert (draft.defaults.num_inference_steps, draft.defaults.guidance_scale) == (4, 1.5)
    assert type(draft.load_pipeline().scheduler).__name__ == "UniPCMultistepScheduler"
    # The noise schedule is the version's own: with the library's defaults pictures would come out wrong.
    before, after = (json.loads((d / "scheduler/scheduler_config.json").read_text()) for d in (good, draft.directory))
    kept = ("prediction_type", "beta_schedule", "rescale_betas_zero_snr", "timestep_spacing")
    assert {key: before[key] for key in kept} == {key: after[key] for key in kept}
    for file in good.rglob("*.safetensors"):
        assert (draft.directory / file.relative_to(good)).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("kind", ["ddim", "euler", "dpm++", "unipc"])
def test_every_scheduler_draws_from_the_same_directory(draft: Draft, kind: str) -> None:
    drawn = pictures(apply(draft, f"scheduler={kind}+steps=3"))
    assert drawn.shape == (2, 32, 64, 3)
    assert drawn.std() > 0.05


def test_half_precision_halves_the_size_and_keeps_the_pictures(draft: Draft, good: Path) -> None:
    before = pictures(draft)
    apply(draft, "bf16")
    assert draft.defaults.torch_dtype == "bfloat16"
    assert size_bytes(draft.directory) < 0.55 * size_bytes(good)
    assert abs(pictures(draft) - before).mean() < 0.01
    assert inspect(draft.directory) == []


@pytest.mark.parametrize("name", ["torchao-int8wo", "torchao-int8dyn", "quanto-int8"])
def test_quantised_weights_are_counted_saved_and_loaded(draft: Draft, good: Path, name: str) -> None:
    before = pictures(draft)
    apply(draft, name)
    linear = (
        468_992  # weights of the demo's linear layers with a bias or without, as its card tells: all but convolutions
    )
    assert draft.quantised_parameters == linear
    assert size_bytes(draft.directory) < size_bytes(good) - 2.5 * linear
    assert abs(pictures(draft) - before).mean() < 0.01
    assert inspect(draft.directory) == []
    with pytest.raises(InvalidInput, match="unet is quantised already"):
        apply(draft, "torchao-int8wo")


def test_flags_are_written_into_the_plan(draft: Draft) -> None:
    before = pictures(draft)
    apply(draft, "vae-slicing+vae-tiling+compile")
    assert (draft.plan.vae_slicing, draft.plan.vae_tiling, draft.plan.compile) == (True, True, ("unet",))
    draft.plan = draft.plan.model_copy(update={"compile": ()})
    assert draft.load_pipeline().vae.use_slicing
    assert abs(pictures(draft) - before).max() < 1e-3


def test_every_recipe_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "reference" / "recipes.md").read_text()
    assert [name for name in PLAIN if f"`{name}`" not in text] == []
    assert [name for name in KEYED if f"`{name}=" not in text] == []


def test_the_plan_of_a_plain_directory_is_a_pipelines(good: Path) -> None:
    assert read_plan(good) == PIPELINE
