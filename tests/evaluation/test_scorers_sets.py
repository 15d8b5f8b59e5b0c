"""Distances between sets: checked against the formulas written out, never compared across n or extractor."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.linalg
from numpy.typing import NDArray
from PIL import Image

from contracts.errors import InvalidInput
from evaluation.scorers.sets import distances
from evaluation.scorers.sets.extractors import PixelFeatures, TagFeatures
from evaluation.scorers.sets.measure import LEAST_N, DistanceName, measure_set

Floats = NDArray[np.float64]
NAMES: tuple[DistanceName, ...] = ("fid", "kid", "cmmd")


def sets(n: int, d: int, shift: float, seed: int = 0) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(size=(n, d)) + shift


def alone(distance: distances.Distance, one: Floats, other: Floats) -> float:
    return distance(one, other, np.arange(len(one)) % 3, np.arange(len(other)) % 3)[0]


def plain_mmd(one: Floats, other: Floats, kernel: Callable[[Floats, Floats], float], *, unbiased: bool) -> float:
    """Squared MMD by its definition: loops over all pairs."""
    n, m = len(one), len(other)

    def within(rows: Floats) -> float:
        total = sum(kernel(a, b) for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j or not unbiased)
        return total / (len(rows) * (len(rows) - 1) if unbiased else len(rows) ** 2)

    return within(one) + within(other) - 2 * sum(kernel(a, b) for a in one for b in other) / (n * m)


def test_kid_is_the_unbiased_mmd_with_the_cubic_kernel() -> None:
    one, other = sets(12, 5, 0.7)
    other = other[:9]
    expected = plain_mmd(one, other, lambda a, b: float((a @ b / 5 + 1) ** 3), unbiased=True)
    assert alone(distances.kid, one, other) == pytest.approx(expected)


def test_cmmd_is_a_thousand_times_the_biased_mmd_of_unit_vectors() -> None:
    one, other = sets(11, 4, 0.5)
    left, right = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (one, other))
    expected = plain_mmd(left, right, lambda a, b: math.exp(-float(((a - b) ** 2).sum()) / 200), unbiased=False)
    assert alone(distances.cmmd, one, other) == pytest.approx(1000 * expected)


def test_frechet_is_the_published_formula_with_the_matrix_root() -> None:
    rng = np.random.default_rng(3)
    one, other = rng.normal(size=(60, 4)) @ rng.normal(size=(4, 4)), rng.normal(size=(50, 4)) + 1
    covariances = [np.cov(rows, rowvar=False) for rows in (one, other)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    shift = float(((one.mean(axis=0) - other.mean(axis=0)) ** 2).sum())
    expected = shift + float(np.trace(covariances[0] + covariances[1] - 2 * root))
    assert alone(distances.frechet, one, other) == pytest.approx(expected)


def test_kid_is_unbiased_and_fid_is_not() -> None:
    """Two sets of one distribution: KID is zero on average, FID grows as n falls."""
    kids = [alone(distances.kid, *sets(60, 8, 0.0, seed)) for seed in range(80)]
    error = np.std(kids) / math.sqrt(80)
    assert abs(np.mean(kids)) < 3.5 * error
    assert np.mean([alone(distances.frechet, *sets(50, 8, 0.0, s)) for s in range(20)]) > 2 * np.mean(
        [alone(distances.frechet, *sets(400, 8, 0.0, s)) for s in range(20)]
    )


@pytest.mark.parametrize("distance", [distances.frechet, distances.kid, distances.cmmd])
def test_what_is_left_out_is_left_out(distance: distances.Distance) -> None:
    one, other = sets(40, 3, 0.4)
    groups_one, groups_other = np.arange(40) % 4, np.arange(40) // 10
    _, left = distance(one, other, groups_one, groups_other)
    for group in range(4):
        expected = alone(distance, one[groups_one != group], other[groups_other != group])
        assert left[group] == pytest.approx(expected)


@pytest.mark.parametrize("name", NAMES)
def test_the_interval_is_as_wide_as_values_scatter(name: DistanceName) -> None:
    found = [measure_set(name, *sets(300, 12, 0.25, seed), extractor="x", digest="d") for seed in range(30)]
    half_widths = [(figure.high or 0.0) - (figure.value or 0.0) for figure in found]
    scatter = float(np.std([figure.value for figure in found if figure.value is not None], ddof=1))
    # The jackknife's error is within a factor of two of the true one (30 runs tell it to 13 %).
    assert 0.5 * scatter < np.mean(half_widths) / 2.093 < 2.5 * scatter


@pytest.mark.parametrize("name", NAMES)
def test_too_few_vectors_are_no_data(name: DistanceName) -> None:
    least = LEAST_N[name]
    few = measure_set(name, *sets(least - 1, 3, 0.1), extractor="x", digest="d")
    assert few.value is None
    assert str(least) in few.reason
    assert measure_set(name, *sets(least, 3, 0.1), extractor="x", digest="d").value is not None


def test_fid_needs_vectors_for_every_dimension() -> None:
    assert measure_set("fid", *sets(399, 200, 0.1), extractor="x", digest="d").value is None


def test_values_of_another_n_or_extractor_are_never_compared() -> None:
    one = measure_set("kid", *sets(120, 3, 0.1), extractor="x", digest="d")
    other = measure_set("kid", *sets(120, 3, 0.4, 1), extractor="x", digest="d")
    assert one.difference(other) == pytest.approx((one.value or 0) - (other.value or 0))
    for stranger, told in (
        (measure_set("kid", *sets(130, 3, 0.1), extractor="x", digest="d"), "different n"),
        (measure_set("kid", *sets(120, 3, 0.1), extractor="x", digest="e"), "different extractors"),
        (measure_set("cmmd", *sets(300, 3, 0.1), extractor="x", digest="d"), "different distances"),
    ):
        with pytest.raises(InvalidInput, match=told):
            one.difference(stranger)
    few = measure_set("kid", *sets(20, 3, 0.1), extractor="x", digest="d")
    with pytest.raises(InvalidInput, match="needs 100 vectors"):
        few.difference(few)


def test_rows_that_are_not_finite_are_left_out() -> None:
    one, other = sets(120, 3, 0.2)
    spoilt = np.vstack([one, [[np.nan, 0, 0], [0, np.inf, 0]]])
    assert measure_set("kid", spoilt, other, extractor="x", digest="d").n_one == 120


def test_wrong_shapes_and_names_are_told() -> None:
    with pytest.raises(InvalidInput, match="don't compare"):
        measure_set("kid", np.zeros((200, 3)), np.zeros((200, 4)), extractor="x", digest="d")
    with pytest.raises(InvalidInput, match="no distance"):
        measure_set("lpips", np.zeros((200, 3)), np.zeros((200, 3)), extractor="x", digest="d")  # type: ignore[arg-type]


def test_extractors_see_what_they_say() -> None:
    red, blue = Image.new("RGB", (64, 64), "red"), Image.new("RGB", (32, 48), "blue")
    rows = PixelFeatures().extract([red, blue, red])
    assert rows.shape == (3, 16 * 16 * 6)
    assert np.array_equal(rows[0], rows[2])
    assert not np.array_equal(rows[0], rows[1])
    assert rows.min() >= 0
    assert rows.max() <= 1
    assert TagFeatures().extract([Image.new("RGB", (64, 32), "white")]).shape == (0, 64)
