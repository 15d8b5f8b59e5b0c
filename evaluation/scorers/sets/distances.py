"""The three distances between sets of feature vectors, by their published definitions."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from evaluation.price_tags.frechet import measure_distance, summarise

CMMD_SIGMA: Final = 10.0
CMMD_SCALE: Final = 1000.0
BLOCK_ROWS: Final = 1024

Floats = NDArray[np.float64]


def frechet(one: Floats, other: Floats) -> float:
    """Return the Fréchet distance of two sets (n, d) taken as normal: FID when the features are Inception's.

    Heusel et al. 2017. Biased upwards, the more the fewer the pictures.
    """
    return measure_distance(summarise(one), summarise(other))


def kid(one: Floats, other: Floats) -> float:
    """Return the unbiased squared MMD with the kernel (a·b/d + 1)³ over all pairs; it may be below zero.

    Bińkowski et al. 2018 average it over subsets of 1000; here it is taken over the whole sets, as they allow.
    """
    d = one.shape[1]
    n, m = len(one), len(other)
    within_one = _polynomial_sum(one, one, d) - float(((np.square(one).sum(axis=1) / d + 1) ** 3).sum())
    within_other = _polynomial_sum(other, other, d) - float(((np.square(other).sum(axis=1) / d + 1) ** 3).sum())
    between = _polynomial_sum(one, other, d)
    return within_one / (n * (n - 1)) + within_other / (m * (m - 1)) - 2 * between / (n * m)


def cmmd(one: Floats, other: Floats) -> float:
    """Return 1000 times the biased squared MMD with a Gaussian kernel of σ = 10 on unit vectors.

    Jayasumana et al. 2024, meant for CLIP's embeddings, which are scaled to length one there.
    """
    one, other = _to_unit(one), _to_unit(other)
    n, m = len(one), len(other)
    value = (
        _gaussian_sum(one, one) / n**2 + _gaussian_sum(other, other) / m**2 - 2 * _gaussian_sum(one, other) / (n * m)
    )
    return CMMD_SCALE * value


def _polynomial_sum(one: Floats, other: Floats, d: int) -> float:
    return sum(float(((part @ other.T / d + 1) ** 3).sum()) for part in _blocks(one))


def _gaussian_sum(one: Floats, other: Floats) -> float:
    gamma = 1 / (2 * CMMD_SIGMA**2)
    squares = np.square(other).sum(axis=1)
    total = 0.0
    for part in _blocks(one):
        distance = np.square(part).sum(axis=1)[:, None] + squares - 2 * part @ other.T
        total += float(np.exp(-gamma * distance).sum())
    return total


def _blocks(rows: Floats) -> list[Floats]:
    return [rows[first : first + BLOCK_ROWS] for first in range(0, len(rows), BLOCK_ROWS)]


def _to_unit(rows: Floats) -> Floats:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))
