"""Tables and tensors: the same answers as the model itself, and inputs that are not its own refused by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.errors import InvalidInput
from contracts.wire.tensors import InferRequest
from contracts.wire.worker import FailureReason, WorkerSpec
from serving.worker.opening import open_version
from serving.worker.runtimes.port import DrawFailure, TensorRuntime
from serving.worker.runtimes.pyfunc import PyfuncRuntime
from serving.worker.runtimes.skops import SkopsRuntime
from tests.serving.models import TABLE, fitted, spec_of, write_mlflow, write_onnx, write_skops

WRITERS: dict[str, Callable[[Path], Path]] = {
    "onnx": write_onnx,
    "skops": write_skops,
    "mlflow-skops": lambda folder: write_mlflow(folder, "skops"),
    "mlflow-cloudpickle": lambda folder: write_mlflow(folder, "cloudpickle"),
}
COLUMNS = {
    "inputs": [
        {"name": name, "shape": [4], "datatype": "FP64", "data": TABLE[name].tolist()} for name in ("width", "height")
    ]
}


def loaded(directory: Path) -> TensorRuntime:
    runtime = open_version(spec_of(directory))
    assert isinstance(runtime, TensorRuntime)
    runtime.load()
    runtime.warm_up()
    return runtime


@pytest.fixture(scope="module", params=sorted(WRITERS))
def runtime(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TensorRuntime:
    return loaded(WRITERS[request.param](tmp_path_factory.mktemp("model") / "version"))


def ask(runtime: TensorRuntime, document: dict[str, Any]) -> dict[str, list[Any]]:
    return {tensor.name: tensor.data for tensor in runtime.infer(InferRequest.model_validate(document))}


def test_columns_give_what_the_model_itself_gives(runtime: TensorRuntime) -> None:
    answers = ask(runtime, COLUMNS)
    assert next(iter(answers.values())) == fitted().predict(TABLE).tolist()


def test_a_matrix_is_taken_too(runtime: TensorRuntime) -> None:
    flat = TABLE.to_numpy().reshape(-1).tolist()
    name = "X" if runtime.metadata().inputs[0].name == "X" else "inputs"
    answers = ask(runtime, {"inputs": [{"name": name, "shape": [4, 2], "datatype": "FP32", "data": flat}]})
    assert next(iter(answers.values())) == fitted().predict(TABLE).tolist()


def test_the_model_tells_its_inputs(runtime: TensorRuntime) -> None:
    names = [spec.name for spec in runtime.metadata().inputs]
    assert names in (["width", "height"], ["X"])


@pytest.mark.parametrize(
    "inputs",
    [
        [{"name": "width", "shape": [4], "datatype": "FP64", "data": [0, 1, 2, 3]}],
        [*COLUMNS["inputs"], {"name": "depth", "shape": [4], "datatype": "FP64", "data": [0, 1, 2, 3]}],
        [{"name": name, "shape": [2], "datatype": "BYTES", "data": ["a", "b"]} for name in ("width", "height")],
        [{"name": name, "shape": [3], "datatype": "FP64", "data": [0, 1]} for name in ("width", "height")],
        [{"name": name, "shape": [2], "datatype": "INT64", "data": [0, 1.5]} for name in ("width", "height")],
        [{"name": "width", "shape": [1], "datatype": "FP64", "data": [0]}] * 2,
        [{"name": "inputs", "shape": [1, 3], "datatype": "FP64", "data": [0, 1, 2]}],
        [{"name": "inputs", "shape": [1, 2], "datatype": "FP64", "data": [[0], [1, 2]]}],
        [{"name": "inputs", "shape": [1, 2], "datatype": "UINT8", "data": [256, -1]}],
    ],
)
def test_inputs_that_are_not_the_models_are_refused(runtime: TensorRuntime, inputs: list[dict[str, Any]]) -> None:
    with pytest.raises(DrawFailure) as refusal:
        ask(runtime, {"inputs": inputs})
    assert refusal.value.reason is FailureReason.REFUSED
    assert refusal.value.message


def test_outputs_are_given_by_name(tmp_path: Path) -> None:
    runtime = loaded(write_skops(tmp_path / "v"))
    answers = ask(runtime, COLUMNS | {"outputs": [{"name": "predict_proba"}]})
    assert np.allclose(np.reshape(answers["predict_proba"], (4, 2)), fitted().predict_proba(TABLE))
    with pytest.raises(DrawFailure, match="no 'odds'; it gives predict"):
        ask(runtime, COLUMNS | {"outputs": [{"name": "odds"}]})


def test_a_models_own_list_of_trust_counts_nothing(tmp_path: Path) -> None:
    """MLflow's skops models are loaded by our list; only those that run code go through MLflow."""
    safe, code = write_mlflow(tmp_path / "safe", "skops"), write_mlflow(tmp_path / "code", "cloudpickle")
    assert isinstance(open_version(spec_of(safe)), SkopsRuntime)
    assert isinstance(open_version(spec_of(code)), PyfuncRuntime)
    import skops.io
    from sklearn.preprocessing import FunctionTransformer

    skops.io.dump(FunctionTransformer(func=spec_of), safe / "model.skops")
    text = (safe / "MLmodel").read_text()
    told = text.replace("skops_trusted_types: null", "skops_trusted_types: [tests.serving.models.spec_of]")
    assert told != text
    (safe / "MLmodel").write_text(told)
    runtime = open_version(spec_of(safe))
    with pytest.raises(InvalidInput, match="spec_of"):
        runtime.load()


def broken(folder: Path, name: str) -> WorkerSpec:
    """Return the spec of a version that can't be served."""
    directory = write_onnx(folder / name)
    match name:
        case "changed":
            spec = spec_of(directory)
            (directory / "model.onnx").write_bytes(b"other bytes")
            return spec
        case "gone":
            return spec_of(directory).model_copy(update={"directory": str(folder / "nowhere")})
        case "torn":
            (directory / "model.onnx").write_bytes((directory / "model.onnx").read_bytes()[:100])
        case "odd-plan":
            (directory / "roost.json").write_text('{"kind": "onnx", "model_file": "../../etc/passwd"}')
        case "unknown-kind":
            (directory / "roost.json").write_text('{"kind": "gguf"}')
        case "no-kind":
            (directory / "model.onnx").rename(directory / "model.txt")
        case "no-file":
            (directory / "roost.json").write_text('{"kind": "onnx", "model_file": "other.onnx"}')
        case "mlmodel":
            (directory / "MLmodel").write_text("flavors: [1")
        case "leaving":
            (directory / "MLmodel").write_text("flavors: {onnx: {data: ../../model.onnx}}")
    return spec_of(directory)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("changed", "have the digest"),
        ("gone", "is not a directory"),
        ("torn", "can't be loaded"),
        ("odd-plan", "roost.json: model_file"),
        ("unknown-kind", "roost.json: kind"),
        ("no-kind", "nothing here tells"),
        ("no-file", "can't be loaded"),
        ("mlmodel", "MLmodel can't be read"),
        ("leaving", "no file of its folder"),
    ],
)
def test_versions_that_can_not_be_served_say_why(tmp_path: Path, name: str, told: str) -> None:
    from contracts.errors import RoostError

    with pytest.raises(RoostError, match=told):
        open_version(broken(tmp_path, name)).load()
