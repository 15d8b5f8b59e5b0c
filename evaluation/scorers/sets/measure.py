"""A distance between two sets as a figure: its n, its extractor, its uncertainty, and what it compares with."""

import math
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from contracts.errors import InvalidInput
from evaluation.scorers.sets.distances import Distance, cmmd, frechet, kid

DistanceName = Literal["fid", "kid", "cmmd"]
DISTANCES: Final[dict[DistanceName, Distance]] = {"fid": frechet, "kid": kid, "cmmd": cmmd}
LEAST_N: Final[dict[DistanceName, int]] = {"fid": 300, "kid": 100, "cmmd": 300}
"""Fewer vectors than this on either side are no data: A/A noise would be as large as real shifts."""

LEAST_PER_DIMENSION: Final = 2
"""FID needs as many vectors per dimension; with fewer its covariances are singular."""

GROUPS: Final = 20
T_975: Final = 2.093
"""Student's t at 97.5 % with GROUPS - 1 degrees of freedom."""


@dataclass(frozen=True, slots=True)
class SetDistance:
    """One distance between two sets of ``n_one`` and ``n_other`` feature vectors.

    ``low`` and ``high`` are a 95 % interval by the delete-a-group jackknife. ``value`` is None, with the reason,
    where there is no data.
    """

    name: DistanceName
    value: float | None
    n_one: int
    n_other: int
    extractor: str
    extractor_digest: str
    low: float | None = None
    high: float | None = None
    reason: str = ""

    def difference(self, other: "SetDistance") -> float:
        """Return this value minus another.

        Raises:
            InvalidInput: when they are of other kinds, another n or another extractor: such values don't compare.
        """
        for what, mine, its in (
            ("distances", self.name, other.name),
            ("n", (self.n_one, self.n_other), (other.n_one, other.n_other)),
            ("extractors", self.extractor_digest, other.extractor_digest),
        ):
            if mine != its:
                raise InvalidInput(
                    f"{self.name} values of different {what} don't compare: {mine} and {its}",
                    hint="measure both with the same extractor on as many pictures",
                )
        if self.value is None or other.value is None:
            raise InvalidInput(f"{self.name}: {self.reason or other.reason}", hint="no data can't be compared")
        return self.value - other.value


def measure_set(
    name: DistanceName,
    one: NDArray[np.float64],
    other: NDArray[np.float64],
    *,
    extractor: str,
    digest: str,
    seed: int = 0,
) -> SetDistance:
    """Measure a distance between two sets of feature vectors (n, d); rows that are not finite are left out.

    The interval is the delete-a-group jackknife's over twenty random groups of both sets (P. S. Kott 2001): a bootstrap
    would put the same vector twice into a set, which all three distances take for likeness.

    Raises:
        InvalidInput: for an unknown distance, or vectors of different lengths.
    """
    if name not in DISTANCES:
        raise InvalidInput(f"there is no distance {name!r}", hint=f"known: {', '.join(get_args(DistanceName))}")
    if one.ndim != 2 or other.ndim != 2 or one.shape[1] != other.shape[1]:
        raise InvalidInput(f"feature vectors {one.shape} and {other.shape} don't compare", hint="use one extractor")
    one, other = (rows[np.isfinite(rows).all(axis=1)] for rows in (one, other))
    least = LEAST_N[name]
    if name == "fid":
        least = max(least, LEAST_PER_DIMENSION * one.shape[1])
    if min(len(one), len(other)) < least:
        reason = f"{name} needs {least} vectors on each side, there are {len(one)} and {len(other)}"
        return SetDistance(name, None, len(one), len(other), extractor, digest, reason=reason)
    rng = np.random.default_rng(seed)
    value, left = DISTANCES[name](one, other, *(rng.permutation(len(rows)) % GROUPS for rows in (one, other)))
    half = T_975 * math.sqrt((GROUPS - 1) / GROUPS * float(((left - left.mean()) ** 2).sum()))
    return SetDistance(name, value, len(one), len(other), extractor, digest, value - half, value + half)
