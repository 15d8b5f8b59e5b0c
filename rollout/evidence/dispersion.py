"""How bursty the bad requests are: a Pearson ratio of successive ticks that a lasting change of rate barely moves.

For two neighbouring ticks with x1, x2 bad of n1, n2, and their common rate p, the term
(x1/n1 - x2/n2)² / (p(1-p)(1/n1 + 1/n2)) has mean one when requests are independent. Averaging the plain Pearson term
against the mean of the whole rollout would take a fault that begins late for burstiness and hide it; a successive
difference (von Neumann 1941) sees such a step once. Terms are capped, so that one step can't pass the threshold.
"""

import json
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from contracts.errors import InvalidInput
from rollout.evidence.counts import Tally, check_tally
from rollout.evidence.mixture import Array

Flags = npt.NDArray[np.bool_]

CAP = 6.0
PRIOR_TICKS = 10.0
THRESHOLD = 1.5


def pair_term(bad: Array, total: Array, last_bad: Array, last_total: Array) -> tuple[Array, Flags]:
    """Return the capped term and whether the pair of ticks tells anything (both had requests, some were bad)."""
    bad_of_both, total_of_both = bad + last_bad, total + last_total
    usable = (total > 0) & (last_total > 0) & (bad_of_both > 0) & (bad_of_both < total_of_both)
    n1, n2 = np.where(usable, total, 1.0), np.where(usable, last_total, 1.0)
    rate = np.where(usable, bad_of_both, 0.5) / np.where(usable, total_of_both, 1.0)
    difference = np.where(usable, bad, 0.0) / n1 - np.where(usable, last_bad, 0.0) / n2
    term = difference**2 / (rate * (1 - rate) * (1 / n1 + 1 / n2))
    return np.minimum(term, CAP), usable


def estimate(term_sum: Array, term_count: Array) -> Array:
    """Return the over-dispersion φ: one for independent requests, more for bursts; pulled to one by ten ticks."""
    return np.asarray((PRIOR_TICKS + term_sum) / (PRIOR_TICKS + term_count))


def deflation(dispersion: Array) -> Array:
    """Return what counts are divided by: φ where it exceeds 1.5, else one."""
    return np.where(dispersion > THRESHOLD, dispersion, 1.0)


@dataclass(frozen=True, slots=True)
class Dispersion:
    """The estimate as a state of its own: the last tick with requests, and the sums of its terms."""

    last: Tally = field(default_factory=Tally)
    term_sum: float = 0.0
    term_count: float = 0.0

    @property
    def estimate(self) -> float:
        """The over-dispersion φ so far."""
        return float(estimate(np.array(self.term_sum), np.array(self.term_count)))

    def update(self, tick: Tally) -> "Dispersion":
        """Return the state after one tick.

        Raises:
            InvalidInput: when a count is negative or bad exceeds total.
        """
        check_tally(tick, "tick")
        if not tick.total:
            return self
        numbers = (tick.bad, tick.total, self.last.bad, self.last.total)
        term, usable = pair_term(*(np.array(float(number)) for number in numbers))
        added = (float(term), 1.0) if usable else (0.0, 0.0)
        return Dispersion(tick, self.term_sum + added[0], self.term_count + added[1])

    def to_json(self) -> str:
        """Return the state as JSON; ``from_json`` gives back the same numbers, bit by bit."""
        return json.dumps([self.last.bad, self.last.total, self.term_sum, self.term_count])

    @classmethod
    def from_json(cls, text: str) -> "Dispersion":
        """Read what ``to_json`` wrote.

        Raises:
            InvalidInput: when it is something else.
        """
        try:
            bad, total, term_sum, term_count = json.loads(text)
            return cls(Tally(int(bad), int(total)), float(term_sum), float(term_count))
        except (ValueError, TypeError) as error:
            raise InvalidInput(f"dispersion: not the state of an estimate ({error})") from None
