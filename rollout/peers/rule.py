"""What every peer's rule looks like: it sees counted history at intervals and sets a weight, or ends."""

from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rollout.evidence.mixture import Array
from rollout.simulate.engine import End

Ends = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """Counts per tick since the rollout began.

    ``bad``, ``total`` (ticks, runs, indicators, 2) with the challenger first; each tick lasts ``tick_s``.
    """

    bad: Array
    total: Array
    tick_s: float

    @property
    def at_s(self) -> float:
        """Seconds since the rollout began."""
        return len(self.bad) * self.tick_s

    def window(self, length_s: float) -> tuple[Array, Array]:
        """Return bad and total (runs, indicators, 2) over the last ``length_s``, clipped to the rollout's age."""
        ticks = max(round(length_s / self.tick_s), 1)
        return self.bad[-ticks:].sum(axis=0), self.total[-ticks:].sum(axis=0)

    def points(self, step_s: float, length_s: float) -> tuple[Array, Array]:
        """Return bad and total per step of ``step_s`` (points, runs, indicators, 2) over the last ``length_s``."""
        width = max(round(step_s / self.tick_s), 1)
        count = min(round(length_s / step_s), self.bad.shape[0] // width)
        shape = (count, width, *self.bad.shape[1:])
        cut = count * width
        if not cut:
            return self.bad[:0], self.total[:0]
        return self.bad[-cut:].reshape(shape).sum(axis=1), self.total[-cut:].reshape(shape).sum(axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """Where a rule stands, arrays over runs: weight asked, how it ended, failed checks, looks or step."""

    weight: Array
    end: Ends
    failed: Array = field(default_factory=lambda: np.zeros(0))
    step: Array = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def begin(cls, runs: int, weight: float) -> "Course":
        """Return the course of ``runs`` rollouts that begin at ``weight``."""
        zeros = np.zeros(runs)
        return cls(np.full(runs, weight), np.zeros(runs, dtype=np.int64), zeros, zeros)

    def ended(self, end: End, which: Flags) -> "Course":
        """Return the course with ``which`` of the running rollouts ended so; their weight goes to 0 or 1."""
        which = which & (self.end == End.RUNNING)
        weight = np.where(which, 1.0 if end is End.PROMOTED else 0.0, self.weight)
        return replace(self, weight=weight, end=np.where(which, int(end), self.end))


class Rule(Protocol):
    """A peer's decision rule."""

    @property
    def name(self) -> str:
        """What the rule and its settings are called in tables."""
        ...

    @property
    def interval_s(self) -> float:
        """Seconds between looks."""
        ...

    def begin(self, runs: int) -> Course:
        """Return where rollouts begin."""
        ...

    def look(self, course: Course, history: History) -> Course:
        """Return where rollouts stand after one look at the history."""
        ...


def good_shares(bad: Array, total: Array) -> Array:
    """Return the share of good requests; NaN where there were none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(1.0 - bad / total)
