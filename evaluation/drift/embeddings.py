"""Drift of embeddings, window by window: Hotelling's T² on a frozen PCA asks, a permutation test of MMD decides.

The T² of a window's mean is cheap but leans on normality; windows it finds unusual are confirmed by an exact
permutation test of the kernel distance (Gretton et al. 2012). With W windows planned each is tested at α/W, so the
probability of any false alarm is at most α, however the windows depend on their common reference.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from contracts.errors import InvalidInput
from evaluation.drift.detector import Array

LEAST_WINDOW = 200
COMPONENTS = 32
SCREEN = 0.05
MOST_PERMUTATIONS = 20_000
BLOCK = 500


@dataclass(frozen=True, slots=True, eq=False)
class FrozenPca:
    """The reference's mean (d,) and its first components (d, k), scaled so that the projections have unit variance."""

    mean: Array
    components: Array
    n: int

    def project(self, embeddings: Array) -> Array:
        """Return whitened coordinates: (n, d) → (n, k)."""
        return np.asarray((embeddings - self.mean) @ self.components)


@dataclass(frozen=True, slots=True)
class WindowFinding:
    """One window: T² with its p-value, and the confirming p-value where one was asked for."""

    window: int
    n: int
    t_squared: float
    p_screen: float
    p_confirm: float | None
    drifted: bool
    sentence: str


def fit_pca(reference: Array, *, components: int = COMPONENTS) -> FrozenPca:
    """Freeze the reference's main directions.

    Raises:
        InvalidInput: with fewer than 200 finite rows, or rows that are all alike.
    """
    reference = _finite_rows(reference, "reference")
    if len(reference) < LEAST_WINDOW:
        raise InvalidInput(
            f"reference: {len(reference)} embeddings, {LEAST_WINDOW} are the least", hint="take a longer reference"
        )
    mean = reference.mean(axis=0)
    _, singular, directions = np.linalg.svd(reference - mean, full_matrices=False)
    kept = min(components, int((singular > 1e-9 * max(singular[0], 1e-30)).sum()), len(reference) // 5)
    if not kept or singular[0] < 1e-12:
        raise InvalidInput("reference: the embeddings are all alike", hint="check the embedder")
    scale = singular[:kept] / math.sqrt(len(reference) - 1)
    return FrozenPca(mean, directions[:kept].T / scale, len(reference))


def hotelling(pca: FrozenPca, window: Array) -> tuple[float, float]:
    """Return T² of a window's mean and its p-value by the two-sample F distribution (n₂ = the reference's size)."""
    from scipy.stats import f as fisher

    n, k = len(window), pca.components.shape[1]
    centre = pca.project(window).mean(axis=0)
    t_squared = float(n * pca.n / (n + pca.n) * centre @ centre)
    freedom = pca.n - k
    return t_squared, float(fisher.sf(t_squared * freedom / (k * (pca.n - 1)), k, freedom))


def permutation_mmd(reference: Array, window: Array, *, permutations: int, rng: np.random.Generator) -> float:
    """Return the exact p-value that both samples have one distribution: Gaussian kernel, median bandwidth."""
    pooled = np.concatenate([reference, window])
    squares = (pooled**2).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares[None] - 2 * pooled @ pooled.T, 0.0)
    positive = distances[distances > 1e-12]
    if not positive.size:
        return 1.0
    kernel = np.exp(-distances / float(np.median(positive)))
    signs = np.concatenate([np.full(len(reference), 1 / len(reference)), np.full(len(window), -1 / len(window))])
    observed = float(signs @ kernel @ signs)
    at_least = 0
    for start in range(0, permutations, BLOCK):
        shuffled = rng.permuted(np.tile(signs, (min(BLOCK, permutations - start), 1)), axis=1)
        at_least += int((np.einsum("pi,pi->p", shuffled @ kernel, shuffled) >= observed - 1e-12).sum())
    return (at_least + 1) / (permutations + 1)


def check_windows(
    reference: Array, windows: Sequence[Array], *, planned: int, alpha: float = 0.01, seed: int = 0
) -> list[WindowFinding]:
    """Judge each window; ``planned`` windows share ``alpha``. The reference (n, d) and each window (m, d) in one space.

    Raises:
        InvalidInput: when the reference can't be used, there are more windows than planned, or so many that no test
            could ever confirm one.
    """
    if len(windows) > planned:
        raise InvalidInput(f"windows: {len(windows)} of them, {planned} were planned", hint="plan for more")
    level, rng = alpha / planned, np.random.default_rng(seed)
    if level * (MOST_PERMUTATIONS + 1) < 1:
        raise InvalidInput(
            f"windows: each of {planned} is judged at {level:.1g}, which {MOST_PERMUTATIONS} permutations can't show",
            hint="judge fewer and longer windows",
        )
    pca = fit_pca(reference)
    permutations = min(math.ceil(2 / level), MOST_PERMUTATIONS)
    usual = pca.project(_finite_rows(reference, "reference"))
    confirm = _Confirmation(usual, level, permutations, rng)
    return [_judge(pca, confirm, number, window) for number, window in enumerate(windows, 1)]


@dataclass(frozen=True, eq=False)
class _Confirmation:
    """The exact test of a window against part of the reference, at one window's level."""

    usual: Array
    level: float
    permutations: int
    rng: np.random.Generator

    def p_value(self, projected: Array) -> float:
        n = min(2 * len(projected), len(self.usual))
        among = self.usual[self.rng.choice(len(self.usual), n, replace=False)]
        return permutation_mmd(among, projected, permutations=self.permutations, rng=self.rng)


def _judge(pca: FrozenPca, confirm: _Confirmation, number: int, window: Array) -> WindowFinding:
    kept = _finite_rows(window, f"window {number}")
    n = len(kept)
    if n < LEAST_WINDOW or kept.shape[1] != pca.mean.size:
        why = f"{n} embeddings, {LEAST_WINDOW} are the least" if n < LEAST_WINDOW else "embeddings of another size"
        return WindowFinding(number, n, math.nan, math.nan, None, drifted=False, sentence=f"not enough data: {why}")
    t_squared, p_screen = hotelling(pca, kept)
    if p_screen > SCREEN:
        return WindowFinding(number, n, t_squared, p_screen, None, drifted=False, sentence="steady")
    p_confirm = confirm.p_value(pca.project(kept))
    drifted = p_confirm <= confirm.level
    word = "drifted" if drifted else "steady: unusual by T², not confirmed"
    return WindowFinding(number, n, t_squared, p_screen, p_confirm, drifted, word)


def _finite_rows(embeddings: Array, field: str) -> Array:
    found: Array = np.asarray(embeddings, dtype=float)
    if found.ndim != 2:
        raise InvalidInput(f"{field}: embeddings are not of one length", hint="one row each, all of one size")
    return found[np.isfinite(found).all(axis=1)]
