"""A real MLflow store per test module, and small real model directories."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from safetensors.numpy import save_file

from registry.mlflow_catalogue import MlflowCatalogue
from tests.prepared import prepare_catalogue


def open_catalogue(home: Path, uri: str | None = None) -> MlflowCatalogue:
    return MlflowCatalogue(
        uri or f"sqlite:///{home}/mlflow.db", artifacts=home / "artifacts", manifests=home / "manifests"
    )


def make_model(directory: Path, seed: int = 0) -> Path:
    (directory / "unet").mkdir(parents=True)
    (directory / "model_index.json").write_text("{}")
    weights = np.random.default_rng(seed).normal(size=(4, 8)).astype(np.float32)
    save_file({"weight": weights}, directory / "unet" / "weights.safetensors")
    return directory


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def catalogue(home: Path) -> MlflowCatalogue:
    return prepare_catalogue(home)


@pytest.fixture(scope="module")
def client(home: Path, catalogue: MlflowCatalogue) -> MlflowClient:
    """MLflow's own client on the same store: the person beside us."""
    return MlflowClient(f"sqlite:///{home}/mlflow.db", f"sqlite:///{home}/mlflow.db")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "pipeline")


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[dict[str, bytes]], Path]:
    """Make a directory of files from their names and bytes."""

    def make(files: dict[str, bytes]) -> Path:
        for name, content in files.items():
            path = tmp_path / "files" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return tmp_path / "files"

    return make
