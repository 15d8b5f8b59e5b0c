"""Figures of a CSV of predictions."""

from pathlib import Path

import pandas as pd

from contracts.errors import InvalidInput
from evaluation.scorers.tables import (
    TableFigure,
    measure_accuracy,
    measure_calibration,
    measure_psi,
    measure_residuals,
)

ACTUAL, PREDICTION, PROBABILITY = "actual", "prediction", "probability"
MOST_CLASSES = 50


def measure_table(file: Path, reference: Path | None = None) -> list[TableFigure]:
    """Return the figures that a file's columns allow.

    ``actual`` and ``prediction``: residuals when both are numbers of more than fifty values, accuracy otherwise.
    ``actual`` and ``probability``: calibration error. With a reference: the PSI of every numeric column of both.

    Raises:
        InvalidInput: when a file can't be read or has none of these columns.
    """
    frame = _read(file)
    figures: list[TableFigure] = []
    if ACTUAL in frame and PREDICTION in frame:
        actual, prediction = frame[ACTUAL], frame[PREDICTION]
        if _is_quantity(actual) and pd.api.types.is_numeric_dtype(prediction):
            figures += measure_residuals(prediction.to_numpy(), actual.to_numpy())
        else:
            figures.append(measure_accuracy(prediction.tolist(), actual.tolist()))
    if ACTUAL in frame and PROBABILITY in frame:
        figures.append(measure_calibration(frame[PROBABILITY].to_numpy(), frame[ACTUAL].to_numpy()))
    if reference is not None:
        before = _read(reference)
        for name in frame.columns.intersection(before.columns):
            if all(pd.api.types.is_numeric_dtype(side[name]) for side in (before, frame)):
                figure = measure_psi(before[name].to_numpy(dtype=float), frame[name].to_numpy(dtype=float))
                figures.append(_named(figure, f"psi of {name}"))
    if not figures:
        raise InvalidInput(
            f"{file.name} has no columns to measure: {', '.join(map(str, frame.columns)) or 'none'}",
            hint=f"it needs {ACTUAL}, and {PREDICTION} or {PROBABILITY}; or --reference",
        )
    return figures


def _named(figure: TableFigure, name: str) -> TableFigure:
    return TableFigure(name, figure.value, figure.n, figure.low, figure.high, figure.dropped, figure.reason)


def _is_quantity(column: "pd.Series[float]") -> bool:
    return bool(pd.api.types.is_numeric_dtype(column)) and column.nunique() > MOST_CLASSES


def _read(file: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(file)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{file} can't be read: {error}", hint="name a CSV with a line of column names") from None
