"""Agreement of raters, and strengths of versions from paired judgements."""

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from evaluation.drift.detector import Array
from evaluation.review.results import Strength

Index = npt.NDArray[np.intp]
DRAWS = 1000
RIDGE = 1e-3
Z = 1.959964


def krippendorff_alpha(answers: Sequence[Mapping[str, Hashable]]) -> float | None:
    """Return Krippendorff's alpha (nominal) over items, each a mapping from rater to answer; missing ones are left out.

    1 is full agreement, 0 what chance gives, below 0 systematic disagreement (Krippendorff 2011, coincidence matrices).
    None when no item has two answers, or when all answers are the same: then there is nothing to agree on.
    """
    coincidences: dict[tuple[Hashable, Hashable], float] = defaultdict(float)
    for item in answers:
        counts = Counter(item.values())
        n = sum(counts.values())
        if n < 2:
            continue
        for one, many in counts.items():
            for other, more in counts.items():
                coincidences[one, other] += many * (more - (one == other)) / (n - 1)
    totals: dict[Hashable, float] = defaultdict(float)
    for (one, _), amount in coincidences.items():
        totals[one] += amount
    n_pairable = sum(totals.values())
    expected = n_pairable**2 - sum(amount**2 for amount in totals.values())
    if n_pairable < 2 or expected <= 0:
        return None
    observed = sum(amount for (one, other), amount in coincidences.items() if one != other)
    return 1.0 - (n_pairable - 1) * observed / expected


def alpha_interval(answers: Sequence[Mapping[str, Hashable]], *, seed: int = 0) -> tuple[float, float] | None:
    """Return the 95 % bootstrap interval of alpha over items; None when it can't be computed."""
    judged = [item for item in answers if len(item) >= 2]
    if krippendorff_alpha(judged) is None:
        return None
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(DRAWS):
        alpha = krippendorff_alpha([judged[i] for i in rng.integers(len(judged), size=len(judged))])
        # A draw in which all answers are alike holds no disagreement.
        draws.append(1.0 if alpha is None else alpha)
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def bradley_terry(comparisons: Sequence[tuple[str, str, float]]) -> list[Strength]:
    """Return strengths from (first, second, outcome) with outcome 1 (first), 0 (second) or 0.5 (tie), strongest first.

    Davidson's model of ties (1970): the odds of first, tie and second are π₁ : ν√(π₁π₂) : π₂. A small ridge keeps a
    version that never lost finite. Standard errors are of the difference from the mean strength.
    """
    from scipy.optimize import minimize

    versions = sorted({name for first, second, _ in comparisons for name in (first, second)})
    if len(versions) < 2:
        return []
    index = {name: position for position, name in enumerate(versions)}
    first = np.array([index[one] for one, _, _ in comparisons], dtype=np.intp)
    second = np.array([index[other] for _, other, _ in comparisons], dtype=np.intp)
    outcome = np.array([row[2] for row in comparisons], dtype=float)

    def loss(parameters: Array) -> tuple[float, Array]:
        return _davidson(parameters, first, second, outcome)

    fitted = minimize(loss, np.zeros(len(versions) + 1), jac=True, method="BFGS").x
    strengths, covariance = _centred(loss, fitted)
    counts = Counter(name for one, other, _ in comparisons for name in (one, other))
    found = []
    for position, name in enumerate(versions):
        half = Z * math.sqrt(max(covariance[position, position], 0.0))
        value = float(strengths[position])
        found.append(Strength(name, value, value - half, value + half, counts[name]))
    return sorted(found, key=lambda strength: -strength.strength)


def _davidson(parameters: Array, first: Index, second: Index, outcome: Array) -> tuple[float, Array]:
    """Return the penalised negative log-likelihood and its gradient; the last parameter is ln ν."""
    strengths, log_nu = parameters[:-1], parameters[-1]
    one, two = strengths[first], strengths[second]
    tie = log_nu + (one + two) / 2
    options = np.stack([one, tie, two])
    log_total = np.logaddexp.reduce(options, axis=0)
    chosen = np.stack([outcome == 1, outcome == 0.5, outcome == 0]).astype(float)
    residual = np.exp(options - log_total) - chosen
    gradient = np.zeros_like(parameters)
    np.add.at(gradient, first, residual[0] + residual[1] / 2)
    np.add.at(gradient, second, residual[2] + residual[1] / 2)
    gradient[-1] = residual[1].sum()
    loss = float((log_total - (chosen * options).sum(axis=0)).sum() + RIDGE * (parameters**2).sum())
    return loss, gradient + 2 * RIDGE * parameters


def _centred(loss: object, fitted: Array) -> tuple[Array, Array]:
    """Return strengths around their mean, with their covariance from the Hessian (differences of the gradient)."""
    size, step = fitted.size, 1e-4
    hessian = np.zeros((size, size))
    for position in range(size):
        shift = np.zeros(size)
        shift[position] = step
        up, down = loss(fitted + shift)[1], loss(fitted - shift)[1]  # type: ignore[operator]
        hessian[position] = (up - down) / (2 * step)
    covariance = np.linalg.inv((hessian + hessian.T) / 2)
    centre = np.eye(size - 1) - 1.0 / (size - 1)
    return centre @ fitted[:-1], np.asarray(centre @ covariance[:-1, :-1] @ centre.T)
