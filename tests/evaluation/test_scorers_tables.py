"""Figures of predictions on tables, against their formulas written out, with gaps in the data."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import InvalidInput
from evaluation.scorers.intervals import wilson
from evaluation.scorers.tables import measure_accuracy, measure_calibration, measure_psi, measure_residuals


def test_accuracy_drops_and_counts_rows_with_gaps() -> None:
    found = measure_accuracy(["a", "b", None, "a", float("nan")], ["a", "a", "a", "a", "a"])
    assert found.value == pytest.approx(2 / 3)
    assert (found.n, found.dropped) == (3, 2)
    assert measure_accuracy([None], ["a"]).value is None
    with pytest.raises(InvalidInput, match="1 rows beside 2"):
        measure_accuracy(["a"], ["a", "b"])


@given(hits=st.integers(0, 40), n=st.integers(1, 40))
def test_the_interval_holds_the_share_and_stays_within_bounds(hits: int, n: int) -> None:
    share = min(hits, n) / n
    low, high = wilson(share, n)
    assert 0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1
    assert low < high


def test_wilson_is_the_root_of_its_equation() -> None:
    for bound in wilson(0.3, 50):
        assert abs(0.3 - bound) == pytest.approx(1.959963984540054 * math.sqrt(bound * (1 - bound) / 50))


def test_a_calibrated_forecast_has_a_small_error_and_an_overconfident_one_a_large() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(size=4000)
    happened = (rng.uniform(size=4000) < p).astype(float)
    good = measure_calibration(p, happened)
    bold = measure_calibration(np.where(p > 0.5, 0.99, 0.01), happened)
    assert good.value is not None
    assert bold.value is not None
    assert good.value < 0.03
    # |0.99 - 0.75| in both halves.
    assert bold.value == pytest.approx(0.24, abs=0.02)
    assert bold.low is not None
    assert bold.low > (good.high or 0)


def test_calibration_by_hand() -> None:
    p, y = [0.1] * 20 + [0.9] * 20, [0] * 18 + [1] * 2 + [1] * 12 + [0] * 8
    assert measure_calibration(p, y, bins=2).value == pytest.approx(0.5 * abs(0.1 - 0.1) + 0.5 * abs(0.9 - 0.6))
    with pytest.raises(InvalidInput, match="from 0 to 1"):
        measure_calibration([1.5] * 40, [1] * 40)
    assert "fewer than 30" in measure_calibration([0.5, float("nan")], [1, 1]).reason


def test_residuals() -> None:
    bias, mae, rmse = measure_residuals([1.0, 2.0, 3.0, float("nan")], [0.0, 2.0, 5.0, 1.0])
    assert bias.value == pytest.approx(-1 / 3)
    assert mae.value == pytest.approx(1.0)
    assert rmse.value == pytest.approx(math.sqrt(5 / 3))
    assert {figure.dropped for figure in (bias, mae, rmse)} == {1}
    assert [figure.value for figure in measure_residuals([1.0], [1.0])] == [None] * 3
    with pytest.raises(InvalidInput, match="no number"):
        measure_residuals(["x", "y"], [1, 2])


def test_psi_by_hand_and_without_movement() -> None:
    reference = np.arange(1000) / 1000
    moved = np.concatenate([np.full(500, 0.05), np.full(500, 0.95)])
    expected = 2 * (0.5 - 0.1) * math.log(0.5 / 0.1) + 8 * (1e-4 - 0.1) * math.log(1e-4 / 0.1)
    assert measure_psi(reference, moved).value == pytest.approx(expected, rel=1e-6)
    rng = np.random.default_rng(1)
    values = [measure_psi(rng.normal(size=500), rng.normal(size=400)) for _ in range(60)]
    usual = float(np.mean([figure.value for figure in values if figure.value is not None]))
    # What it says is usual without movement is what is seen.
    assert usual == pytest.approx(values[0].low or 0.0, rel=0.25)
    assert measure_psi([1.0] * 10, [1.0] * 100).value is None
    assert measure_psi([1.0] * 50, [1.0] * 50).value == pytest.approx(0.0)
