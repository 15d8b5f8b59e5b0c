"""Figures of predictions on tables: accuracy, calibration, residuals, and how far a column has moved (PSI)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from contracts.errors import InvalidInput
from evaluation.scorers.intervals import Z_95, wilson

BINS: Final = 10
LEAST_ROWS: Final = 30
PSI_FLOOR: Final = 1e-4


@dataclass(frozen=True, slots=True)
class TableFigure:
    """A figure over ``n`` rows with a 95 % interval; ``value`` is None, with the reason, where there is no data.

    ``dropped`` rows had a NaN or nothing where a number was wanted.
    """

    name: str
    value: float | None
    n: int
    low: float | None = None
    high: float | None = None
    dropped: int = 0
    reason: str = ""


def measure_accuracy(predicted: Sequence[object], actual: Sequence[object]) -> TableFigure:
    """Return the share of rows whose prediction is the actual class, with Wilson's interval.

    Rows where either is None or NaN are dropped and counted.

    Raises:
        InvalidInput: when the columns differ in length.
    """
    _check_lengths(predicted, actual)
    rows = [(one, other) for one, other in zip(predicted, actual, strict=True) if _is_there(one) and _is_there(other)]
    dropped, n = len(predicted) - len(rows), len(rows)
    if not n:
        return TableFigure(
            "accuracy", None, 0, dropped=dropped, reason="no row has both a prediction and an actual class"
        )
    share = sum(one == other for one, other in rows) / n
    low, high = wilson(share, n)
    return TableFigure("accuracy", share, n, low, high, dropped)


def measure_calibration(probability: ArrayLike, happened: ArrayLike, *, bins: int = BINS) -> TableFigure:
    """Return the expected calibration error: Σ_b n_b/n · |mean probability - share that happened|, equal-mass bins.

    M. Naeini et al. 2015, with bins of equal mass, which are less biased (Nixon et al. 2019). The interval is the
    jackknife's. ``probability`` in [0, 1], ``happened`` 0 or 1.

    Raises:
        InvalidInput: when the columns differ in length or hold other numbers.
    """
    p, y, dropped = _numbers(probability, happened)
    if p.size and (p.min() < 0 or p.max() > 1 or not np.isin(y, (0.0, 1.0)).all()):
        raise InvalidInput("probability: numbers from 0 to 1 are wanted, and 0 or 1 for what happened")
    if p.size < LEAST_ROWS:
        return TableFigure("calibration-error", None, p.size, dropped=dropped, reason=f"fewer than {LEAST_ROWS} rows")
    order = np.argsort(p, kind="stable")
    gap = (p - y)[order]
    edges = np.linspace(0, p.size, min(bins, p.size) + 1).astype(int)[:-1]
    sums = np.add.reduceat(gap, edges)
    # Leaving one row out changes the sum of its own bin alone.
    owner = np.repeat(np.arange(edges.size), np.diff([*edges, p.size]))
    without = (np.abs(sums).sum() - np.abs(sums[owner]) + np.abs(sums[owner] - gap)) / (p.size - 1)
    value = float(np.abs(sums).sum() / p.size)
    half = Z_95 * math.sqrt((p.size - 1) / p.size * float(((without - without.mean()) ** 2).sum()))
    return TableFigure("calibration-error", value, p.size, max(0.0, value - half), min(1.0, value + half), dropped)


def measure_residuals(predicted: ArrayLike, actual: ArrayLike) -> list[TableFigure]:
    """Return bias (mean of predicted - actual), mean absolute error and root mean square error, with 95 % intervals.

    Raises:
        InvalidInput: when the columns differ in length or hold what is no number.
    """
    p, y, dropped = _numbers(predicted, actual)
    residual = p - y
    if residual.size < 2:
        reason = "fewer than 2 rows"
        return [
            TableFigure(name, None, residual.size, dropped=dropped, reason=reason) for name in ("bias", "mae", "rmse")
        ]
    figures = []
    for name, terms in (("bias", residual), ("mae", np.abs(residual)), ("mse", residual**2)):
        mean, half = float(terms.mean()), Z_95 * float(terms.std(ddof=1)) / math.sqrt(terms.size)
        figures.append(TableFigure(name, mean, terms.size, mean - half, mean + half, dropped))
    bias, mae, mse = figures
    low, high = math.sqrt(max(mse.low or 0.0, 0.0)), math.sqrt(max(mse.high or 0.0, 0.0))
    return [bias, mae, TableFigure("rmse", math.sqrt(mse.value or 0.0), mse.n, low, high, dropped)]


def measure_psi(reference: ArrayLike, current: ArrayLike, *, bins: int = BINS) -> TableFigure:
    """Return the population stability index Σ_b (c_b - r_b) · ln(c_b / r_b) over bins of the reference's quantiles.

    Shares below 1e-4 count as that much. ``low`` is what two samples of one distribution differ by on average,
    (bins - 1)(1/n + 1/m) (Yurdakul 2018): a PSI near it says nothing. A column of one value has no quantiles to tell.
    """
    r, r_dropped = _finite(reference)
    c, c_dropped = _finite(current)
    dropped = r_dropped + c_dropped
    if min(r.size, c.size) < LEAST_ROWS:
        return TableFigure("psi", None, c.size, dropped=dropped, reason=f"fewer than {LEAST_ROWS} rows on one side")
    inner = np.unique(np.quantile(r, np.linspace(0, 1, bins + 1)[1:-1]))
    shares = [
        np.bincount(np.searchsorted(inner, side, side="right"), minlength=inner.size + 1) / side.size for side in (r, c)
    ]
    before, now = (np.maximum(share, PSI_FLOOR) for share in shares)
    value = float(((now - before) * np.log(now / before)).sum())
    return TableFigure("psi", value, c.size, low=inner.size * (1 / r.size + 1 / c.size), dropped=dropped)


def _is_there(cell: object) -> bool:
    return cell is not None and not (isinstance(cell, float) and math.isnan(cell))


def _check_lengths(one: Sequence[object], other: Sequence[object]) -> None:
    if len(one) != len(other):
        raise InvalidInput(f"{len(one)} rows beside {len(other)}", hint="both columns need one value per row")


def _numbers(one: ArrayLike, other: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    a, b = _as_floats(one), _as_floats(other)
    if a.shape != b.shape:
        raise InvalidInput(f"{a.size} rows beside {b.size}", hint="both columns need one value per row")
    kept = np.isfinite(a) & np.isfinite(b)
    return a[kept], b[kept], int((~kept).sum())


def _finite(column: ArrayLike) -> tuple[NDArray[np.float64], int]:
    numbers = _as_floats(column)
    kept = np.isfinite(numbers)
    return numbers[kept], int((~kept).sum())


def _as_floats(column: ArrayLike) -> NDArray[np.float64]:
    try:
        return np.asarray(column, dtype=np.float64).ravel()
    except (TypeError, ValueError):
        raise InvalidInput(
            "a column holds what is no number", hint="write NaN, or nothing, for a missing one"
        ) from None
