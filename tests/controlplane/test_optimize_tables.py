"""Estimators made into graphs and into skops: real MLflow models, compared on golden rows in fresh processes."""

import json
import warnings
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from typer.testing import CliRunner

from contracts.errors import InvalidInput, RoostError
from contracts.ids import VersionRef
from contracts.wire.artefact import ModelKind, read_plan
from controlplane.cli.main import app
from registry.catalogue import Registration
from registry.mlflow_catalogue import MlflowCatalogue
from tests.prepared import prepare_catalogue


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def catalogue(home: Path) -> MlflowCatalogue:
    return prepare_catalogue(home)


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    data: np.ndarray = load_digits().data.astype(np.float32)
    return data


@pytest.fixture(scope="module")
def classifier(catalogue: MlflowCatalogue, tmp_path_factory: pytest.TempPathFactory, rows: np.ndarray) -> Any:
    """An estimator that is registered as ``digits@1``."""
    estimator = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)).fit(rows, load_digits().target)
    catalogue.register("digits", Registration(write_estimator(estimator, tmp_path_factory.mktemp("digits"))))
    return estimator


def write_estimator(estimator: Any, folder: Path) -> Path:
    import skops.io

    skops.io.dump(estimator, folder / "model.skops")
    return folder


def optimize(home: Path, reference: str, recipe: str, *words: str) -> Any:
    options = ["--recipe", recipe, "--home", str(home), "--json", *words]
    answer = CliRunner().invoke(app, ["model", "optimize", reference, *options])
    if isinstance(answer.exception, RoostError):
        raise answer.exception
    assert answer.exit_code == 0, answer.output
    return json.loads(answer.stdout)


def test_a_classifier_becomes_a_graph_that_answers_alike(
    home: Path, catalogue: MlflowCatalogue, tmp_path: Path, rows: np.ndarray, classifier: Any
) -> None:
    np.savetxt(tmp_path / "rows.csv", rows[:500], delimiter=",")
    report = optimize(home, "digits@1", "sklearn-onnx", "--rows", str(tmp_path / "rows.csv"))
    assert report["rows"]["rows"] == 500
    assert report["rows"]["agreement"] == 1.0
    assert report["rows"]["largest_difference"] < 1e-4
    made = catalogue.get(VersionRef.parse(report["version"]))
    directory = catalogue.fetch(made.id)
    assert read_plan(directory).kind is ModelKind.ONNX
    import onnxruntime

    session = onnxruntime.InferenceSession(directory / "model.onnx", providers=["CPUExecutionProvider"])
    labels = session.run(None, {session.get_inputs()[0].name: rows[:100]})[0]
    assert (labels == classifier.predict(rows[:100])).all()


def test_an_mlflow_model_becomes_skops(
    home: Path, catalogue: MlflowCatalogue, tmp_path: Path, rows: np.ndarray
) -> None:
    estimator = RandomForestRegressor(10, random_state=0).fit(rows, load_digits().target)
    trusted = ["sklearn.tree._tree.Tree"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # MLflow's, of its own type hints, when it is first imported
        mlflow.sklearn.save_model(
            estimator, tmp_path / "model", serialization_format="skops", skops_trusted_types=trusted
        )
    catalogue.register("trees", Registration(tmp_path / "model"))
    report = optimize(home, "trees@1", "skops")
    made = catalogue.get(VersionRef.parse(report["version"]))
    directory = catalogue.fetch(made.id)
    assert [path.name for path in sorted(directory.iterdir())] == ["model.skops", "roost.json"]
    assert report["rows"]["agreement"] == 1.0
    assert read_plan(directory).kind is ModelKind.SKOPS


def test_what_skl2onnx_can_not_convert_is_told_in_its_words(
    home: Path, catalogue: MlflowCatalogue, tmp_path: Path, rows: np.ndarray, classifier: Any
) -> None:
    steps = (FunctionTransformer(np.log1p), RandomForestClassifier(3, random_state=0))
    estimator = make_pipeline(*steps).fit(rows, load_digits().target)
    (tmp_path / "odd").mkdir()
    version = catalogue.register("odd", Registration(write_estimator(estimator, tmp_path / "odd"))).id
    with pytest.raises(InvalidInput, match=r"sklearn-onnx: "):
        optimize(home, str(version), "sklearn-onnx")
    with pytest.raises(InvalidInput, match="the version is a skops model, the recipe is for diffusers"):
        optimize(home, str(version), "bf16")
    with pytest.raises(InvalidInput, match=r"rows: .*columns|can't be read"):
        optimize(home, "digits@1", "sklearn-onnx", "--rows", str(tmp_path / "none.csv"))
    assert [record.id for record in catalogue.list_versions("odd")] == [version]
