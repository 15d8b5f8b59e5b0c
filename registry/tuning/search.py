"""The search: successive halving over prompts, every candidate on the same prompts and seeds.

Jamieson & Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization" (AISTATS 2016): all
candidates draw a few prompts, the better half draws twice as many, and so on, so that most of the time goes to those
that may win.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from contracts.clock import Clock
from contracts.errors import RoostError
from registry.profile.compare import Contender
from registry.profile.quality import mean_interval
from registry.profile.quantiles import estimate_quantile
from registry.tuning.objective import Condition, Figures, Objective

FIRST_PROMPTS: Final = 8
KEPT: Final = 0.5


@dataclass(frozen=True, slots=True, order=True)
class Candidate:
    """One setting: the recipe that makes the version ('' for the version as it is), steps and guidance."""

    recipe: str
    steps: int
    guidance: float

    def __str__(self) -> str:
        sampling = f"{self.steps} step{'s'[: self.steps > 1]}, guidance {self.guidance:g}"
        return f"{self.recipe}, {sampling}" if self.recipe else sampling


@dataclass(frozen=True)
class Tried:
    """What a candidate gave on some prompts: scores in their order (None where the judge can't tell), times, peak."""

    scores: tuple[float | None, ...]
    latencies_s: tuple[float, ...]
    peak_bytes: int


class Atelier(Protocol):
    """Where candidates are tried; settings of one recipe share a worker."""

    def open(self, recipe: str) -> None:
        """Make the recipe's version if it was not made yet, and start a worker that serves it; any other is ended.

        Raises:
            RoostError: when the recipe can't work here.
        """
        ...

    def attempt(self, candidate: Candidate, first: int, count: int) -> Tried:
        """Draw and judge ``count`` prompts from the ``first`` on, one by one, with a candidate of the open recipe."""
        ...


@dataclass
class Trial:
    """A candidate and all that was seen of it; ``failure`` in words when it can't be served."""

    candidate: Candidate
    scores: list[float | None] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)
    peak_bytes: int | None = None
    failure: str = ""

    @property
    def prompts(self) -> int:
        """How many prompts it has drawn."""
        return len(self.latencies_s)

    @property
    def quality(self) -> float | None:
        """Mean of the known scores."""
        known = [score for score in self.scores if score is not None]
        return sum(known) / len(known) if known else None

    @property
    def quality_interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the quality."""
        known, mean = sum(score is not None for score in self.scores), self.quality
        return None if mean is None else mean_interval(mean, known)

    def figures(self, price_per_hour: float | None) -> Figures:
        """Return its figures so far; cost is of pictures drawn one by one."""
        if not self.latencies_s:
            return {}
        mean_s = sum(self.latencies_s) / self.prompts
        return {
            "p95": estimate_quantile(self.latencies_s, 0.95).value,
            "quality": self.quality,
            "memory": self.peak_bytes,
            "cost": None if price_per_hour is None else price_per_hour / 3600 * 1000 * mean_s,
        }


@dataclass(frozen=True)
class Found:
    """The outcome: every trial, the best that meets the objective (None when none does), and whether time ran out."""

    trials: tuple[Trial, ...]
    best: Trial | None
    out_of_time: bool


def search(
    atelier: Atelier,
    candidates: Sequence[Candidate],
    objective: Objective,
    *,
    prompts: int,
    budget_s: float,
    price_per_hour: float | None,
    clock: Clock,
    tell: Callable[[str], None],
) -> Found:
    """Try candidates on more and more prompts, dropping half of them each time, until one time's budget is spent.

    A candidate whose quality could still, by its interval, meet the objective is not dropped for quality's sake; among
    those the better by the objective stay. The best is chosen among those that drew the most prompts.
    """
    deadline_s = clock.monotonic_s() + budget_s
    trials = [Trial(candidate) for candidate in sorted(set(candidates))]
    alive, out_of_time = list(trials), False
    for first, count in _rungs(prompts):
        tell(f"{len(alive)} candidates, prompts {first + 1} to {first + count}")
        out_of_time = not _climb(atelier, alive, first, count, clock=clock, deadline_s=deadline_s, tell=tell)
        if out_of_time:
            break
        alive = [trial for trial in alive if not trial.failure]
        if first + count < prompts:
            alive.sort(key=lambda trial: _hope(trial, objective, price_per_hour))
            alive = alive[: max(1, math.ceil(KEPT * len(alive)))]
    most = max((trial.prompts for trial in trials if not trial.failure), default=0)
    finalists = [trial for trial in trials if not trial.failure and most and trial.prompts == most]
    meeting = [trial for trial in finalists if objective.is_met(trial.figures(price_per_hour))]
    best = min(meeting, key=lambda trial: objective.rank(trial.figures(price_per_hour)), default=None)
    return Found(tuple(trials), best, out_of_time)


def contend(trial: Trial, price_per_hour: float | None) -> Contender:
    """Return a trial as a contender for the Pareto front."""
    figures, interval = trial.figures(price_per_hour), trial.quality_interval
    return Contender(
        name=str(trial.candidate),
        p95_s=figures.get("p95"),
        quality=trial.quality,
        quality_low=interval[0] if interval else None,
        quality_high=interval[1] if interval else None,
        memory_bytes=trial.peak_bytes,
        cost_per_1k=figures.get("cost"),
    )


def _rungs(prompts: int) -> Iterator[tuple[int, int]]:
    """Yield which prompts each round draws: 8, then 8 more, 16 more, and so on until all are drawn."""
    done = 0
    while done < prompts:
        count = min(max(done, FIRST_PROMPTS), prompts - done)
        yield done, count
        done += count


def _climb(
    atelier: Atelier,
    alive: Sequence[Trial],
    first: int,
    count: int,
    *,
    clock: Clock,
    deadline_s: float,
    tell: Callable[[str], None],
) -> bool:
    """Let every candidate draw the next prompts, recipe by recipe; tell whether there was time for all of them."""
    opened: str | None = None
    broken: dict[str, str] = {}
    for trial in sorted(alive, key=lambda one: one.candidate):
        if clock.monotonic_s() >= deadline_s:
            return False
        recipe = trial.candidate.recipe
        try:
            if recipe in broken:
                trial.failure = broken[recipe]
                continue
            if recipe != opened:
                atelier.open(recipe)
                opened = recipe
            tried = atelier.attempt(trial.candidate, first, count)
        except RoostError as error:
            trial.failure = error.message
            if recipe != opened:
                broken[recipe] = error.message
            opened = None
            tell(f"{trial.candidate}: {error.message}")
            continue
        trial.scores += tried.scores
        trial.latencies_s += tried.latencies_s
        trial.peak_bytes = max(trial.peak_bytes or 0, tried.peak_bytes)
    return True


def _hope(trial: Trial, objective: Objective, price_per_hour: float | None) -> tuple[bool, float]:
    """Order candidates by what they may still become: quality is taken at the upper end of its interval."""
    figures, interval = dict(trial.figures(price_per_hour)), trial.quality_interval
    may_meet = all(
        condition.holds(_at_best(condition, figures.get(condition.metric), interval))
        for condition in objective.conditions
    )
    return not may_meet, objective.rank(figures)


def _at_best(condition: Condition, value: float | None, interval: tuple[float, float] | None) -> float | None:
    if condition.metric != "quality" or interval is None:
        return value
    return interval[1] if condition.relation == ">=" else interval[0]
