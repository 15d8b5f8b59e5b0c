"""How two versions differ on one indicator: values of both, their difference, and a band that holds at all times.

Each version gets a confidence sequence at half the level, so that by the union bound the band around the difference
(challenger minus champion) holds with confidence 95 % at all times at once, however often somebody looks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from rollout.evidence.bounds import MeanBounds, lower_rate, upper_rate

LEVEL = 0.05
ARM_LEVEL = LEVEL / 2

Number = float | None
Scores = tuple[Sequence[float], Sequence[float], Sequence[float]]


@dataclass(frozen=True, slots=True)
class Reading:
    """What was known of both versions at one decision; None where there is no data yet."""

    challenger: Number
    champion: Number
    challenger_n: int
    champion_n: int
    difference: Number
    low: Number
    high: Number


NOTHING = Reading(None, None, 0, 0, None, None, None)


@dataclass(slots=True)
class DifferenceCourse:
    """Readings, one per row of an indicator, worked out when they are asked for and kept."""

    readings: list[Reading] = field(default_factory=list)
    _mine: MeanBounds = field(default_factory=MeanBounds)
    _theirs: MeanBounds = field(default_factory=MeanBounds)
    _pairs: MeanBounds = field(default_factory=MeanBounds)

    def advance_counts(self, counts: Sequence[tuple[int, int, int, int]]) -> list[Reading]:
        """Return a reading for every row of running totals."""
        fresh = counts[len(self.readings) :]
        if fresh:
            bad, total, champion_bad, champion_total = np.array(fresh, dtype=float).T
            level = np.array(ARM_LEVEL)
            high, low = upper_rate(bad, total, level), lower_rate(bad, total, level)
            champion_high = upper_rate(champion_bad, champion_total, level)
            champion_low = lower_rate(champion_bad, champion_total, level)
            for row, mine in enumerate(fresh):
                self.readings.append(
                    _reading(
                        (_ratio(mine[0], mine[1]), mine[1], float(low[row]), float(high[row])),
                        (_ratio(mine[2], mine[3]), mine[3], float(champion_low[row]), float(champion_high[row])),
                    )
                )
        return self.readings

    def advance_scores(self, scores: Sequence[Scores]) -> list[Reading]:
        """Return a reading for every row of scores; mirrored pairs tell the difference where there are any."""
        for mine, theirs, pairs in scores[len(self.readings) :]:
            self._mine = self._mine.update(mine, level=ARM_LEVEL)
            self._theirs = self._theirs.update(theirs, level=ARM_LEVEL)
            self._pairs = self._pairs.update([(pair + 1) / 2 for pair in pairs], level=LEVEL)
            self.readings.append(self._compare())
        return self.readings

    def _compare(self) -> Reading:
        live = _reading(_mean(self._mine), _mean(self._theirs))
        if not self._pairs.count:
            return live
        low, high = (2 * end - 1 for end in self._pairs.interval(LEVEL))
        difference = 2 * self._pairs.total / self._pairs.count - 1
        n = self._mine.count + self._pairs.count
        return Reading(live.challenger, live.champion, n, live.champion_n, difference, low, high)


def _reading(mine: tuple[Number, int, float, float], theirs: tuple[Number, int, float, float]) -> Reading:
    if mine[0] is None or theirs[0] is None:
        return Reading(mine[0], theirs[0], mine[1], theirs[1], None, None, None)
    return Reading(
        mine[0], theirs[0], mine[1], theirs[1], mine[0] - theirs[0], mine[2] - theirs[3], mine[3] - theirs[2]
    )


def _ratio(bad: int, total: int) -> Number:
    return bad / total if total else None


def _mean(bounds: MeanBounds) -> tuple[Number, int, float, float]:
    if not bounds.count:
        return None, 0, 0.0, 1.0
    return bounds.total / bounds.count, bounds.count, *bounds.interval(ARM_LEVEL)
