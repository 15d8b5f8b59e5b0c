"""Sketches: quantiles within 2 %, and the same sketch in whatever order it is merged."""

import math

from hypothesis import given
from hypothesis import strategies as st

from contracts.sketch import LARGEST, SMALLEST, bucket_of, merge, quantile_s

durations = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=200)


def sketch(values: list[float]) -> dict[int, int]:
    return merge({bucket_of(value): 1} for value in values)


@given(durations, st.floats(0, 1))
def test_a_quantile_is_within_two_per_cent(values: list[float], share: float) -> None:
    exact = sorted(values)[max(1, math.ceil(share * len(values))) - 1]
    found = quantile_s(sketch(values), share)
    assert found is not None
    assert abs(found - exact) <= 0.0201 * exact


@given(durations, durations, durations)
def test_merging_is_exact_in_any_order(first: list[float], second: list[float], third: list[float]) -> None:
    parts = [sketch(first), sketch(second), sketch(third)]
    assert merge(parts) == merge(reversed(parts)) == sketch([*first, *second, *third])


def test_what_is_out_of_range_stays_in_it() -> None:
    assert [bucket_of(value) for value in (0.0, -1.0, 1e-300, 1e300)] == [SMALLEST, SMALLEST, SMALLEST, LARGEST]
    assert quantile_s({}, 0.5) is None
