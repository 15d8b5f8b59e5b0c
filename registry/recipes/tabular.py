"""Recipes for scikit-learn estimators: ONNX by skl2onnx, and skops in the place of a pickle."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from contracts.errors import InvalidInput
from contracts.trust import TRUSTED_TYPES
from contracts.wire.artefact import LoadingPlan, ModelKind
from registry.recipes.port import Draft, Needs, Stage

ONNX_FILE: Final = "model.onnx"
SKOPS_FILE: Final = "model.skops"
NEEDS_SKL2ONNX: Final = Needs(
    kinds=frozenset({ModelKind.SKOPS, ModelKind.PYFUNC}), packages=("skl2onnx", "onnxruntime"), torch_weights=False
)
NEEDS_SKOPS: Final = Needs(kinds=frozenset({ModelKind.PYFUNC}), torch_weights=False)


@dataclass(frozen=True)
class SklearnOnnx:
    """The estimator as an ONNX graph, which runs without scikit-learn; numbers are float32 there."""

    name: str = "sklearn-onnx"
    stage: Stage = Stage.WEIGHTS
    needs: Needs = NEEDS_SKL2ONNX

    def apply(self, draft: Draft) -> None:
        """Convert the estimator; the graph takes the place of everything else.

        Raises:
            InvalidInput: when there is no scikit-learn estimator, or skl2onnx can't convert it, in its own words.
        """
        import numpy as np
        from skl2onnx import to_onnx

        estimator = load_estimator(draft.directory, draft.plan)
        draft.report("converting the estimator")
        example = np.zeros((1, count_features(estimator)), dtype=np.float32)
        options = {id(estimator): {"zipmap": False}} if hasattr(estimator, "predict_proba") else None
        try:
            graph = to_onnx(estimator, example, options=options)
        except Exception as error:
            raise InvalidInput(f"recipe {self.name}: skl2onnx can't convert it: {str(error).strip()[:300]}") from error
        _replace_all(draft, ModelKind.ONNX, ONNX_FILE, graph.SerializeToString())


@dataclass(frozen=True)
class Skops:
    """The estimator in skops' format: what a pickle holds, without a pickle's code."""

    name: str = "skops"
    stage: Stage = Stage.WEIGHTS
    needs: Needs = NEEDS_SKOPS

    def apply(self, draft: Draft) -> None:
        """Write the estimator anew; the file takes the place of everything else."""
        import skops.io

        estimator = load_estimator(draft.directory, draft.plan)
        draft.report("writing the estimator")
        _replace_all(draft, ModelKind.SKOPS, SKOPS_FILE, skops.io.dumps(estimator))


def load_estimator(directory: Path, plan: LoadingPlan) -> Any:
    """Load a version's scikit-learn estimator; what may be loaded was decided when it was registered.

    Raises:
        InvalidInput: when it holds none, or it can't be read.
    """
    import skops.io

    try:
        if plan.kind is ModelKind.SKOPS and plan.model_file:
            file = directory / plan.model_file
            strange = set(skops.io.get_untrusted_types(file=file))
            return skops.io.load(file, trusted=sorted(strange & TRUSTED_TYPES))
        flavors = yaml.safe_load((directory / "MLmodel").read_text(encoding="utf-8"))["flavors"]
        if "sklearn" not in flavors:
            raise InvalidInput("the version holds no scikit-learn estimator", hint="these recipes are for scikit-learn")
        import mlflow.sklearn

        return mlflow.sklearn.load_model(str(directory))
    except InvalidInput:
        raise
    except Exception as error:
        raise InvalidInput(f"the estimator can't be loaded: {type(error).__name__}: {str(error)[:300]}") from error


def count_features(estimator: Any) -> int:
    """Return how many columns an estimator takes.

    Raises:
        InvalidInput: when it doesn't tell.
    """
    count = getattr(estimator, "n_features_in_", None)
    if not isinstance(count, int):
        raise InvalidInput(
            "the estimator doesn't tell how many columns it takes", hint="fit it again with numbers only"
        )
    return count


def _replace_all(draft: Draft, kind: ModelKind, name: str, content: bytes) -> None:
    for path in list(draft.directory.iterdir()):
        if path.is_dir():
            shutil.rmtree(path)
        elif not path.name.lower().startswith(("license", "notice", "readme")):
            path.unlink()
    (draft.directory / name).write_bytes(content)
    draft.plan = LoadingPlan(kind=kind, model_file=name)
