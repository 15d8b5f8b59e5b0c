"""The Fréchet distance between two sets of features, each taken as a normal distribution."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.errors import InvalidInput

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FeatureSpread:
    """Mean (d,) and covariance (d, d) of n feature vectors: all that the distance needs of a set."""

    mean: Floats
    covariance: Floats
    n: int


def summarise(features: Floats) -> FeatureSpread:
    """Take mean and unbiased covariance of features (n, d); InvalidInput for fewer than two rows."""
    if features.ndim != 2 or len(features) < 2:
        raise InvalidInput(
            f"a spread needs at least two feature vectors, not an array {features.shape}",
            hint="generate more pictures, or look first why nothing could be read from them",
        )
    covariance = np.atleast_2d(np.cov(features, rowvar=False))
    return FeatureSpread(features.mean(axis=0), covariance, len(features))


def measure_distance(one: FeatureSpread, other: FeatureSpread) -> float:
    """Measure the Fréchet distance |m1 - m2|² + tr(S1 + S2 - 2 (S1^½ S2 S1^½)^½), in squared feature units.

    D. C. Dowson, B. V. Landau, "The Fréchet Distance between Multivariate Normal Distributions",
    J. Multivariate Analysis 12 (1982); the measure known as FID when the features are Inception's.
    It is biased upwards for few samples, so distances compare only at like n.
    """
    root = _take_root(one.covariance)
    cross = np.linalg.eigvalsh(root @ other.covariance @ root)
    shift = float(np.square(one.mean - other.mean).sum())
    traces = float(np.trace(one.covariance) + np.trace(other.covariance))
    return max(0.0, shift + traces - 2 * float(np.sqrt(np.clip(cross, 0, None)).sum()))


def _take_root(covariance: Floats) -> Floats:
    values, vectors = np.linalg.eigh(covariance)
    root: Floats = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    return root
