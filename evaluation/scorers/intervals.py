"""Intervals of means of scores in [0, 1]."""

import math
from typing import Final

Z_95: Final = 1.959963984540054


def wilson(mean: float, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval (E. B. Wilson 1927) of a mean over ``n`` scores in [0, 1]; all of it for none.

    Exact in the limit for shares; for other scores it is wider than needed, for their variance is at most that of a
    share of the same mean.
    """
    if n == 0:
        return 0.0, 1.0
    centre = (mean + Z_95**2 / (2 * n)) / (1 + Z_95**2 / n)
    half = Z_95 * math.sqrt(max(mean * (1 - mean), 0.0) / n + Z_95**2 / (4 * n * n)) / (1 + Z_95**2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)
