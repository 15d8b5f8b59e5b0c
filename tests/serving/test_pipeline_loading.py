"""Loading a pipeline by its plan: every weight in its place, or a clear error; graphs in the places of modules."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from contracts.errors import InvalidInput
from contracts.wire.artefact import PLAN_FILE, Component, Engine, LoadingPlan, ModelKind, read_plan
from controlplane.demo.model.versions import assemble
from serving.worker.runtimes.components import Graph, flatten_arguments, load_graph, stand_in
from serving.worker.runtimes.pipeline import load_pipeline

UNET = "unet/diffusion_pytorch_model.safetensors"
PIPELINE = LoadingPlan(kind=ModelKind.DIFFUSERS)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return assemble("good", tmp_path_factory.mktemp("demo") / "good")


@pytest.fixture
def directory(good: Path, tmp_path: Path) -> Path:
    return shutil.copytree(good, tmp_path / "version")


def load(directory: Path, plan: LoadingPlan = PIPELINE, device: str = "cpu") -> Any:
    return load_pipeline(directory, plan, "float32", device)


def drop_a_weight(directory: Path) -> None:
    weights = load_file(directory / UNET)
    weights.pop("conv_in.weight")
    save_file(weights, directory / UNET)


def add_a_weight(directory: Path) -> None:
    save_file(load_file(directory / UNET) | {"conv_in.twin": torch.zeros(3)}, directory / UNET)


def reshape_a_weight(directory: Path) -> None:
    weights = load_file(directory / UNET)
    weights["conv_in.weight"] = weights["conv_in.weight"][:, :8].contiguous()
    save_file(weights, directory / UNET)


def rename_text_weights(directory: Path) -> None:
    file = directory / "text_encoder/model.safetensors"
    save_file({f"other.{name}": weight for name, weight in load_file(file).items()}, file)


def truncate(directory: Path) -> None:
    (directory / UNET).write_bytes((directory / UNET).read_bytes()[:-1000])


def remove_weights(directory: Path) -> None:
    (directory / "vae/diffusion_pytorch_model.safetensors").unlink()


def name_own_code(directory: Path) -> None:
    index = json.loads((directory / "model_index.json").read_text())
    (directory / "model_index.json").write_text(json.dumps(index | {"unet": ["my_module", "MyUnet"]}))


def break_index(directory: Path) -> None:
    (directory / "model_index.json").write_text("{")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (drop_a_weight, r"unet can't be loaded: no weights for: conv_in.weight"),
        (add_a_weight, r"unet can't be loaded: weights without a place: conv_in.twin"),
        (reshape_a_weight, r"unet can't be loaded: .*conv_in"),
        (rename_text_weights, r"text_encoder can't be loaded: no weights for: .* and \d+ more"),
        (truncate, r"unet can't be loaded"),
        (remove_weights, r"vae can't be loaded"),
        (name_own_code, r"unet: my_module.MyUnet is of neither diffusers nor transformers"),
        (break_index, r"model_index.json can't be read"),
    ],
)
def test_a_spoilt_directory_is_not_loaded(directory: Path, spoil: Callable[[Path], None], told: str) -> None:
    spoil(directory)
    with pytest.raises(InvalidInput, match=told):
        load(directory)


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        (LoadingPlan(kind=ModelKind.SKOPS, model_file="m.skops"), "a skops model, not a pipeline"),
        (LoadingPlan(kind=ModelKind.DIFFUSERS, compile=("transformer",)), "has no transformer"),
        (
            LoadingPlan(
                kind=ModelKind.DIFFUSERS,
                components={"unet": Component(engine=Engine.ONNXRUNTIME, file="unet/none.onnx")},
            ),
            "unet/none.onnx is missing",
        ),
        (
            LoadingPlan(
                kind=ModelKind.DIFFUSERS,
                components={"unet": Component(engine=Engine.ONNXRUNTIME, file="unet/config.json")},
            ),
            "onnxruntime can't load this graph",
        ),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(good: Path, plan: LoadingPlan, told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        load(good, plan)


def test_engines_of_the_cpu_are_not_served_by_a_gpu(good: Path) -> None:
    part = Component(engine=Engine.ONNXRUNTIME, file="unet/model.onnx")
    with pytest.raises(InvalidInput, match="runs on the CPU only"):
        load(good, LoadingPlan(kind=ModelKind.DIFFUSERS, components={"unet": part}), "cuda")


@pytest.mark.parametrize("name", ["../up.onnx", "/abs.onnx", "unet/../../up.onnx", "unet/.hidden", ""])
def test_a_plan_names_no_file_outside_its_directory(directory: Path, name: str) -> None:
    plan = {"kind": "diffusers", "components": {"unet": {"engine": "onnxruntime", "file": name}}}
    (directory / PLAN_FILE).write_text(json.dumps(plan))
    with pytest.raises(InvalidInput, match=r"roost.json: components.unet.file"):
        read_plan(directory)


def test_a_graph_answers_as_the_module_would() -> None:
    import diffusers

    asked: dict[str, Any] = {}

    def call(arrays: dict[str, Any]) -> list[Any]:
        asked.update(arrays)
        return [arrays["sample"] * 2]

    types = {"sample": torch.float32, "timestep": torch.float32, "text_embeds": torch.float32}
    graph = Graph(types, ("out_sample",), call)
    config = SimpleNamespace(in_channels=4, projection_class_embeddings_input_dim=32)
    unet = stand_in(diffusers.UNet2DConditionModel, graph, config, "forward", torch.bfloat16)
    assert isinstance(unet, diffusers.UNet2DConditionModel)
    assert (unet.dtype, unet.config.in_channels, unet.add_embedding.linear_1.in_features) == (torch.bfloat16, 4, 32)
    sample = torch.ones(1, 4, 2, 2, dtype=torch.bfloat16)
    answer = unet(sample, torch.tensor(7), None, added_cond_kwargs={"text_embeds": torch.ones(1, 3)}, return_dict=False)
    assert answer[0] is answer.sample
    assert answer.sample.dtype == torch.bfloat16
    assert answer.sample.eq(2).all()
    assert {name: array.dtype for name, array in asked.items()} == dict.fromkeys(types, np.dtype("float32"))
    assert asked["timestep"] == 7
    with pytest.raises(RuntimeError, match="the graph wants text_embeds"):
        unet(sample, 7, None)


def test_tensors_of_a_call_are_found_by_name_wherever_they_stand() -> None:
    tensor = torch.zeros(1)
    arguments = {"sample": tensor, "flag": True, "none": None, "step": 3, "inner": {"ids": tensor}}
    assert flatten_arguments(arguments) == {"sample": tensor, "step": 3, "ids": tensor}


def test_a_broken_graph_is_told_by_its_file(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"no graph")
    with pytest.raises(InvalidInput, match=r"model.onnx: onnxruntime can't load this graph"):
        load_graph(file, Component(engine=Engine.ONNXRUNTIME, file="model.onnx"))
