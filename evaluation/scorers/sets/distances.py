"""The three distances between sets of feature vectors, by their published definitions.

Each comes with what it would be without one of several groups of vectors, for the jackknife: the kernel distances from
sums over pairs of groups, so that every pair of vectors is looked at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from evaluation.price_tags.frechet import measure_distance, summarise

CMMD_SIGMA: Final = 10.0
CMMD_SCALE: Final = 1000.0
BLOCK_ROWS: Final = 1024

Floats = NDArray[np.float64]
Groups = NDArray[np.int64]
Kernel = Callable[[Floats, Floats], Floats]
Distance = Callable[[Floats, Floats, Groups, Groups], "tuple[float, Floats]"]
"""Two sets (n, d), (m, d) and the group of each vector, to the distance and the distances without each group."""


def frechet(one: Floats, other: Floats, groups_one: Groups, groups_other: Groups) -> tuple[float, Floats]:
    """Return the Fréchet distance of two sets taken as normal: FID when the features are Inception's.

    Heusel et al. 2017. Biased upwards, the more the fewer the pictures.
    """
    left = [
        measure_distance(summarise(one[groups_one != group]), summarise(other[groups_other != group]))
        for group in range(int(groups_one.max()) + 1)
    ]
    return measure_distance(summarise(one), summarise(other)), np.array(left)


def kid(one: Floats, other: Floats, groups_one: Groups, groups_other: Groups) -> tuple[float, Floats]:
    """Return the unbiased squared MMD with the kernel (a·b/d + 1)³ over all pairs; it may be below zero.

    Bińkowski et al. 2018 average it over subsets of 1000; here it is taken over the whole sets, as they allow.
    """
    d = one.shape[1]

    def kernel(a: Floats, b: Floats) -> Floats:
        linear = a @ b.T / d + 1
        return np.asarray(linear * linear * linear)

    sums = PairSums.over(kernel, (one, other), (groups_one, groups_other))
    return sums.unbiased(), np.array([sums.without(group).unbiased() for group in range(len(sums.counts[0]))])


def cmmd(one: Floats, other: Floats, groups_one: Groups, groups_other: Groups) -> tuple[float, Floats]:
    """Return 1000 times the biased squared MMD with a Gaussian kernel of σ = 10 on unit vectors.

    Jayasumana et al. 2024, meant for CLIP's embeddings, which are scaled to length one there.
    """

    def kernel(a: Floats, b: Floats) -> Floats:
        squares = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2 * a @ b.T
        return np.asarray(np.exp(-squares / (2 * CMMD_SIGMA**2)))

    sums = PairSums.over(kernel, (_to_unit(one), _to_unit(other)), (groups_one, groups_other))
    left = np.array([sums.without(group).biased() for group in range(len(sums.counts[0]))])
    return CMMD_SCALE * sums.biased(), CMMD_SCALE * left


@dataclass(frozen=True, slots=True)
class PairSums:
    """Sums of a kernel by groups: within each set (G, G), between them (G, G), of each vector with itself (G,)."""

    within: tuple[Floats, Floats]
    between: Floats
    alone: tuple[Floats, Floats]
    counts: tuple[Floats, Floats]

    @classmethod
    def over(cls, kernel: Kernel, sets: tuple[Floats, Floats], groups: tuple[Groups, Groups]) -> "PairSums":
        """Sum a kernel over all pairs of vectors."""
        one, other = (np.eye(int(group.max()) + 1)[group] for group in groups)
        return cls(
            (_sum_pairs(kernel, sets[0], sets[0], one, one), _sum_pairs(kernel, sets[1], sets[1], other, other)),
            _sum_pairs(kernel, sets[0], sets[1], one, other),
            (_sum_alone(kernel, sets[0], one), _sum_alone(kernel, sets[1], other)),
            (one.sum(axis=0), other.sum(axis=0)),
        )

    def without(self, group: int) -> "PairSums":
        """Return the sums without one group of both sets."""
        kept = np.arange(len(self.counts[0])) != group
        square = np.ix_(kept, kept)
        return PairSums(
            (self.within[0][square], self.within[1][square]),
            self.between[square],
            (self.alone[0][kept], self.alone[1][kept]),
            (self.counts[0][kept], self.counts[1][kept]),
        )

    def unbiased(self) -> float:
        """Return the U-statistic: no vector is paired with itself."""
        parts = [
            (within.sum() - alone.sum()) / (count.sum() * (count.sum() - 1))
            for within, alone, count in zip(self.within, self.alone, self.counts, strict=True)
        ]
        return float(sum(parts) - self._cross())

    def biased(self) -> float:
        """Return the V-statistic: all pairs count."""
        parts = [within.sum() / count.sum() ** 2 for within, count in zip(self.within, self.counts, strict=True)]
        return float(sum(parts) - self._cross())

    def _cross(self) -> float:
        return float(2 * self.between.sum() / (self.counts[0].sum() * self.counts[1].sum()))


def _sum_pairs(kernel: Kernel, one: Floats, other: Floats, groups_one: Floats, groups_other: Floats) -> Floats:
    """Return the kernel's sums by groups, given as indicators (n, G)."""
    total = np.zeros((groups_one.shape[1], groups_other.shape[1]))
    for first in range(0, len(one), BLOCK_ROWS):
        rows = slice(first, first + BLOCK_ROWS)
        total += groups_one[rows].T @ kernel(one[rows], other) @ groups_other
    return total


def _sum_alone(kernel: Kernel, rows: Floats, groups: Floats) -> Floats:
    itself = np.concatenate(
        [np.diag(kernel(part, part)) for part in np.array_split(rows, max(1, len(rows) // BLOCK_ROWS))]
    )
    return np.asarray(groups.T @ itself)


def _to_unit(rows: Floats) -> Floats:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))
