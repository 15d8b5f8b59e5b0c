"""Evidently in a process of its own: it takes seconds to import and reseeds numpy's global generator.

Reads ``{"reference": {column: [...]}, "current": {...}, "points": {name: [[...], [...]]}, "html": path or null}`` from
standard input and writes one JSON list of ``{"column", "method", "threshold", "score", "drifted", "n"}``, by the
defaults of Evidently.
"""

import contextlib
import io
import json
import sys
import warnings
from typing import Any

MODEL_THRESHOLD = 0.55


def compute(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Return Evidently's figures for every column, and write its HTML report when a path is given."""
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    columns = sorted(request["reference"])
    definition = DataDefinition(numerical_columns=columns)
    current, reference = (
        Dataset.from_pandas(pd.DataFrame(request[side]), data_definition=definition)
        for side in ("current", "reference")
    )
    snapshot = Report([ValueDrift(column=column) for column in columns]).run(current, reference)
    if request.get("html"):
        snapshot.save_html(request["html"])
    rows = []
    for column, metric in zip(columns, snapshot.dict()["metrics"], strict=True):
        config, score = metric["config"], float(metric["value"])
        method, threshold = str(config.get("method", "")), float(config.get("threshold") or 0.05)
        drifted = score < threshold if "p_value" in method.lower() else score >= threshold
        rows.append(
            {
                "column": column,
                "method": method,
                "threshold": threshold,
                "score": score,
                "drifted": bool(drifted),
                "n": len(request["current"][column]),
            }
        )
    return rows + [judge_points(name, *sides) for name, sides in request["points"].items()]


def judge_points(name: str, reference: list[list[float]], current: list[list[float]]) -> dict[str, Any]:
    """Return Evidently's default figure of embeddings: how well a classifier tells the sides apart (AUC)."""
    import pandas as pd
    from evidently.legacy.metrics.data_drift.embedding_drift_methods import model

    score, drifted, method = model(threshold=MODEL_THRESHOLD)(pd.DataFrame(current), pd.DataFrame(reference))
    row = {"column": name, "method": method, "threshold": MODEL_THRESHOLD, "score": float(score)}
    return row | {"drifted": bool(drifted), "n": len(current)}


def main() -> None:
    """Answer one request; what libraries print goes nowhere."""
    request = json.load(sys.stdin)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        rows = compute(request)
    json.dump(rows, sys.stdout)


if __name__ == "__main__":
    main()
