"""Small real models for tests: an ONNX graph, scikit-learn estimators in the formats that a version can have."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from contracts.ids import VersionId
from contracts.manifest import make_manifest
from contracts.wire.capacity import WorkerLimits
from contracts.wire.worker import WorkerSpec

TABLE = pd.DataFrame({"width": [0.0, 1.0, 2.0, 3.0], "height": [3.0, 2.0, 1.0, 0.0]})
LABELS = [0, 0, 1, 1]


def fitted(columns: bool = True) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression().fit(TABLE if columns else TABLE.to_numpy(), LABELS)


def write_onnx(folder: Path) -> Path:
    """Write an estimator as a graph with one matrix as its input."""
    from skl2onnx import to_onnx

    folder.mkdir(parents=True, exist_ok=True)
    model = fitted(columns=False)
    graph = to_onnx(model, TABLE[:1].to_numpy().astype(np.float32), options={id(model): {"zipmap": False}})
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    return folder


def write_skops(folder: Path) -> Path:
    """Write an estimator that knows its columns."""
    import skops.io

    folder.mkdir(parents=True, exist_ok=True)
    skops.io.dump(fitted(), folder / "model.skops")
    return folder


def write_mlflow(folder: Path, serialization: str) -> Path:
    """Write an estimator as MLflow does."""
    with warnings.catch_warnings():
        # MLflow warns of its own type hints.
        warnings.simplefilter("ignore")
        import mlflow
        from mlflow.models import infer_signature

        mlflow.sklearn.save_model(
            fitted(),
            str(folder),
            serialization_format=serialization,
            signature=infer_signature(TABLE, np.array(LABELS)),
            pip_requirements=["scikit-learn"],
        )
    return folder


def spec_of(directory: Path, number: int = 1, limits: WorkerLimits | None = None) -> WorkerSpec:
    """Return how a worker for a directory is started."""
    return WorkerSpec(
        version=VersionId("m", number),
        digest=make_manifest(directory).digest,
        directory=str(directory),
        limits=limits or WorkerLimits(),
    )
