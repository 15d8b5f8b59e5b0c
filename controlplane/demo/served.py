"""What users got from a challenger: read from the same observations that decide, as the ledger has them."""

from dataclasses import dataclass

from contracts.specs.service import ServiceSpec
from contracts.specs.slo import AvailabilitySlo, LatencySlo, ScoreSlo
from rollout.evidence.counts import Tally
from rollout.observation import Observation


@dataclass
class Served:
    """Counts over one case.

    ``answers`` by the challenger; of these ``wrong`` by a score of nothing, and ``slow``: later than an objective
    allows. ``failed`` attempts brought no answer; ``unanswered`` is how many users were left without one in this time,
    whichever version was to blame.
    """

    answers: int = 0
    wrong: int = 0
    slow: int = 0
    failed: int = 0
    unanswered: int = 0

    @property
    def rescued(self) -> int:
        """Attempts that failed and whose user got an answer all the same, from the fallback."""
        return max(0, self.failed - self.unanswered)

    @property
    def bad(self) -> int:
        """Bad responses of the challenger that reached a user."""
        return self.wrong + self.slow + self.failed - self.rescued


@dataclass(frozen=True, slots=True)
class Objectives:
    """A service's objectives by what they count, as observations name them."""

    counted: tuple[str, ...]
    timed: tuple[str, ...]
    scored: tuple[str, ...]

    @classmethod
    def of(cls, spec: ServiceSpec) -> "Objectives":
        """Sort a service's objectives."""
        by_kind: dict[type, list[str]] = {AvailabilitySlo: [], LatencySlo: [], ScoreSlo: []}
        for name, slo in spec.objectives().items():
            by_kind[type(slo)].append(name)
        return cls(*(tuple(by_kind[kind]) for kind in (AvailabilitySlo, LatencySlo, ScoreSlo)))

    def count(self, served: Served, seen: Observation) -> None:
        """Add one tick's observation."""
        tried, timed = (_worst(_tallies(seen, names)[0]) for names in (self.counted, self.timed))
        served.answers += tried.total - tried.bad
        served.failed += tried.bad
        # A failed attempt counts as late, too; here it is told apart.
        served.slow += max(0, timed.bad - tried.bad)
        scores = [seen.scores[name].challenger for name in self.scored if name in seen.scores]
        served.wrong += max((sum(score == 0 for score in found) for found in scores), default=0)

    def is_troubled(self, seen: Observation, *, share: float) -> bool:
        """Tell whether more than a share of the traffic on both versions failed or came late; none is no trouble."""
        arms = [_worst(arm) for arm in _tallies(seen, (*self.counted, *self.timed))]
        return sum(arm.bad for arm in arms) > share * sum(arm.total for arm in arms)


def _tallies(seen: Observation, names: tuple[str, ...]) -> tuple[list[Tally], list[Tally]]:
    """Return the counts of challenger and champion by these objectives."""
    ticks = [seen.counts[name] for name in names if name in seen.counts]
    return [tick.challenger for tick in ticks], [tick.champion for tick in ticks]


def _worst(tallies: list[Tally]) -> Tally:
    return max(tallies, key=lambda tally: tally.bad, default=Tally())
