"""Graphs in OpenVINO: compiled for the shapes of the first call, and once more for whatever else comes."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, checker, helper, numpy_helper, save

from contracts.errors import InvalidInput
from contracts.wire.artefact import Component, Engine
from serving.worker.runtimes.components import load_graph

pytest.importorskip("openvino")

WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3)
PART = Component(engine=Engine.OPENVINO, file="unet/model.onnx")


@pytest.fixture
def graph_file(tmp_path: Path) -> Path:
    given = helper.make_tensor_value_info("sample", TensorProto.FLOAT, ["batch", "tokens", 4])
    answer = helper.make_tensor_value_info("out_sample", TensorProto.FLOAT, ["batch", "tokens", 3])
    node = helper.make_node("MatMul", ["sample", "weight"], ["out_sample"])
    graph = helper.make_graph([node], "linear", [given], [answer], [numpy_helper.from_array(WEIGHTS, "weight")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    checker.check_model(model)
    file = tmp_path / "unet" / "model.onnx"
    file.parent.mkdir()
    save(model, file)
    return file


def test_every_shape_is_answered_alike_whichever_came_first(graph_file: Path) -> None:
    graph = load_graph(graph_file, PART)
    assert list(graph.inputs) == ["sample"]
    assert graph.outputs == ("out_sample",)
    rng = np.random.default_rng(1)
    for shape in [(1, 5, 4), (2, 5, 4), (1, 7, 4), (1, 5, 4), (2, 5, 4)]:
        sample = rng.normal(size=shape).astype(np.float32)
        (answer,) = graph.call({"sample": sample})
        np.testing.assert_allclose(answer, sample @ WEIGHTS, rtol=1e-5, atol=1e-5)


def test_no_more_is_compiled_than_the_first_shape_and_all_others(
    graph_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import openvino

    compiled: list[bool] = []
    real = openvino.Core.compile_model

    def count(core: openvino.Core, model: openvino.Model, *rest: object) -> object:
        compiled.append(model.is_dynamic())
        return real(core, model, *rest)

    monkeypatch.setattr(openvino.Core, "compile_model", count)
    graph = load_graph(graph_file, PART)
    for batch in (1, 1, 2, 3, 1, 4):
        graph.call({"sample": np.zeros((batch, 5, 4), dtype=np.float32)})
    assert compiled == [False, True]


def test_a_graph_that_is_none_is_refused_when_it_is_loaded(graph_file: Path) -> None:
    graph_file.write_bytes(graph_file.read_bytes()[:40])
    with pytest.raises(InvalidInput, match=r"unet/model\.onnx: openvino can't load this graph"):
        load_graph(graph_file, PART)
