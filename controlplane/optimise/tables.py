"""Golden rows: what an estimator says before and after a recipe, in a fresh process, with the time both take."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from contracts.errors import InvalidInput
from contracts.model import Frozen
from contracts.wire.artefact import LoadingPlan, ModelKind, read_plan
from controlplane.optimise.child import Tell, run_child, serve_parent
from controlplane.optimise.timing import Timing, summarise

ROWS: Final = 2048
SEED: Final = 427
TOLERANCE: Final = 1e-4
"""Of float32 against float64: a number further off, relative to 1 + its size, is another answer."""

LEAST_AGREEMENT: Final = 0.999
PAIRS: Final = 15


class RowsSpec(Frozen):
    """Which directories to compare, and on which rows (CSV of numbers, no header); without a file rows are drawn."""

    before: Path
    after: Path
    rows: Path | None = None


class RowsReport(Frozen):
    """How far answers agree: the share of rows with the same answer, the largest difference of probabilities."""

    rows: int
    agreement: float
    largest_difference: float
    timing: Timing


def compare_rows(spec: RowsSpec, *, log: Path, tell: Tell) -> RowsReport:
    """Compare both versions in a child process.

    Raises:
        InvalidInput: when a version can't be loaded or the rows don't fit it.
    """
    return RowsReport.model_validate(run_child(__name__, spec.model_dump_json(), log=log, tell=tell))


def _work(spec_json: str, tell: Tell) -> object:
    import numpy as np

    spec = RowsSpec.model_validate_json(spec_json)
    tell("loading both versions")
    before, features = _load(spec.before)
    after, _ = _load(spec.after)
    rows = _read_rows(spec.rows, features)
    tell("comparing answers on golden rows")
    (labels, scores), (other_labels, other_scores) = before(rows), after(rows)
    numeric = np.issubdtype(np.asarray(labels).dtype, np.floating)
    if numeric:
        same = np.abs(other_labels - labels) <= TOLERANCE * (1 + np.abs(labels))
    else:
        same = np.asarray(labels).astype(str) == np.asarray(other_labels).astype(str)
    differences = np.abs(np.asarray(other_scores) - np.asarray(scores)) if scores is not None else np.zeros(1)
    return RowsReport(
        rows=len(rows),
        agreement=float(np.mean(same)),
        largest_difference=float(differences.max()),
        timing=summarise([_time_pair(before, after, rows, after_first=number % 2 == 1) for number in range(PAIRS)]),
    ).model_dump()


def _load(directory: Path) -> tuple[Callable[[Any], tuple[Any, Any]], int | None]:
    """Return a version's predict, which gives answers and probabilities (or None), and how many columns it takes."""
    plan = read_plan(directory)
    return _load_onnx(directory, plan) if plan.kind is ModelKind.ONNX else _load_estimator(directory, plan)


def _load_estimator(directory: Path, plan: LoadingPlan) -> tuple[Callable[[Any], tuple[Any, Any]], int | None]:
    from registry.recipes.tabular import count_features, load_estimator

    estimator = load_estimator(directory, plan)

    def predict(rows: Any) -> tuple[Any, Any]:
        scores = estimator.predict_proba(rows) if hasattr(estimator, "predict_proba") else None
        return estimator.predict(rows), scores

    return predict, count_features(estimator)


def _load_onnx(directory: Path, plan: LoadingPlan) -> tuple[Callable[[Any], tuple[Any, Any]], int | None]:
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        directory / str(plan.model_file), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name

    def predict(rows: Any) -> tuple[Any, Any]:
        labels, *scores = session.run(None, {name: rows.astype(np.float32)})
        return labels.reshape(len(rows)) if labels.ndim > 1 else labels, scores[0] if scores else None

    return predict, None


def _read_rows(file: Path | None, features: int | None) -> Any:
    import numpy as np

    if file is None:
        return np.random.default_rng(SEED).normal(size=(ROWS, features or 1)).astype(np.float32)
    try:
        rows = np.loadtxt(file, delimiter=",", ndmin=2, dtype=np.float32)
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"rows: {file} can't be read: {error}", hint="give a CSV of numbers without a header"
        ) from None
    if features is not None and rows.shape[1] != features:
        raise InvalidInput(f"rows: {file} has {rows.shape[1]} columns, the model takes {features}")
    return rows


def _time_pair(
    before: Callable[[Any], Any], after: Callable[[Any], Any], rows: Any, *, after_first: bool
) -> tuple[float, float]:
    """Return the times before and after; who comes second finds the rows warm, so they take turns."""
    if after_first:
        after_s = _time(after, rows)
        return _time(before, rows), after_s
    return _time(before, rows), _time(after, rows)


def _time(predict: Callable[[Any], Any], rows: Any) -> float:
    begun_s = time.process_time()
    predict(rows)
    return time.process_time() - begun_s


if __name__ == "__main__":
    serve_parent(_work)
