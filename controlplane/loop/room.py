"""Room: how the workers of both versions of a rollout fit on the fleet, decided before it begins.

Two promises hold for every plan that starts a rollout. The memory of all workers stays within the budget. And either
version alone carries the busiest traffic of late with the workers that the plan gives it: so a promotion needs no
worker that isn't there yet, and a rollback needs no model load.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from pydantic import Field

from contracts.ids import VersionId
from contracts.model import Frozen
from contracts.specs.service import Workers
from contracts.units import format_bytes
from contracts.wire.capacity import WorkerLimits
from rollout.observation import Fit

STARTS = frozenset({Fit.WHOLE, Fit.REDUCED, Fit.SHARED})


class Room(Frozen):
    """The plan for one rollout: workers of each version while it lives, and why.

    ``limits`` are the challenger's workers' own while they draw smaller batches; ``carries`` is how many requests per
    second its workers serve, None when they are as many and as large as ever, or nobody knows.
    """

    fit: Fit
    sentence: str
    champion: int = Field(ge=1)
    challenger: int = Field(ge=1)
    limits: WorkerLimits | None = None
    carries: float | None = None

    @property
    def starts(self) -> bool:
        """Tell whether the rollout may begin with it."""
        return self.fit in STARTS


@dataclass(frozen=True, slots=True)
class Smaller:
    """A worker that draws smaller batches: its limits, the memory it takes, the requests per second it carries."""

    limits: WorkerLimits
    memory_bytes: int
    rate: float


@dataclass(frozen=True, slots=True)
class Need:
    """What one worker of a version takes, and carries.

    ``rate`` is how many requests per second it answers when it draws all the time, None where no profile tells;
    ``smaller`` are the batches below its own, the largest first.
    """

    version: VersionId
    memory_bytes: int
    rate: float | None = None
    threads: int = 1
    smaller: tuple[Smaller, ...] = ()


@dataclass(frozen=True, slots=True)
class Holding:
    """Memory that is somebody else's; ``passes`` when they give it back by themselves."""

    who: str
    memory_bytes: int
    passes: bool = False


@dataclass(frozen=True, slots=True)
class Means:
    """What the fleet may use: memory in all, None where nobody knows, and the cores that draw."""

    memory_bytes: int | None = None
    cores: int | None = None


@dataclass(frozen=True)
class Question:
    """What a plan is made from.

    ``rate`` is the busiest traffic of late in requests per second, None while nothing was heard; ``budget_bytes`` what
    all workers may hold, None where nobody knows; ``cores`` bounds how many threads can draw at once.
    """

    champion: Need
    challenger: Need
    workers: Workers
    budget_bytes: int | None
    rate: float | None = None
    others: tuple[Holding, ...] = ()
    cores: int | None = None

    @cached_property
    def held_bytes(self) -> int:
        """What others hold."""
        return sum(holding.memory_bytes for holding in self.others)

    @cached_property
    def full_bytes(self) -> int:
        """What all workers of both versions take."""
        return self.workers.replicas * (self.champion.memory_bytes + self.challenger.memory_bytes)

    def carries(self, need: Need, rate: float, replicas: int) -> float:
        """Return the requests per second that so many workers carry; more than there are cores for draw no faster."""
        busy = replicas if self.cores is None else min(replicas, self.cores / need.threads)
        return busy * rate * self.workers.busy

    def least(self, need: Need, rate: float | None) -> int:
        """Return with how few workers a version still carries the traffic: all of them, where that isn't known."""
        whole, stated = self.workers.replicas, self.workers.at_least
        if rate is None or self.rate is None:
            return stated or whole
        enough = (n for n in range(stated or 1, whole) if self.carries(need, rate, n) >= self.rate)
        return next(enough, whole)


def plan_room(asked: Question) -> Room:
    """Return what is done: all workers, fewer, smaller batches, wait for others or for traffic to fall, or never."""
    whole = asked.workers.replicas
    if asked.budget_bytes is None:
        sentence = "the fleet's memory is not known: the challenger starts beside the champion"
        return Room(fit=Fit.WHOLE, sentence=sentence, champion=whole, challenger=whole)
    free_bytes = asked.budget_bytes - asked.held_bytes
    found = next(_options(asked, free_bytes), None)
    return found if found is not None else _refusal(asked, free_bytes)


def is_still_proven(room: Room, asked: Question) -> bool:
    """Tell whether either version alone carries the traffic of now with what a plan gave it."""
    if room.champion < min(asked.workers.replicas, asked.least(asked.champion, asked.champion.rate)):
        return False
    return room.carries is None or asked.rate is None or room.carries >= asked.rate


def _options(asked: Question, free_bytes: int) -> Iterator[Room]:
    """Yield the plans that fit, the best first: users notice least when the champion stays as it is."""
    whole = asked.workers.replicas
    if asked.full_bytes <= free_bytes:
        told = f"both versions need {format_bytes(asked.full_bytes)} of {_told_budget(asked)}: all of it is there"
        yield Room(fit=Fit.WHOLE, sentence=told, champion=whole, challenger=whole)
    full = asked.challenger
    least = asked.least(asked.champion, asked.champion.rate)
    for champion in range(whole, least - 1, -1):
        room = _beside(asked, champion, free_bytes, full.memory_bytes, asked.least(full, full.rate))
        if room is not None:
            carries = None if full.rate is None or room == whole else asked.carries(full, full.rate, room)
            sentence = _told_reduced(asked, champion, room)
            yield Room(fit=Fit.REDUCED, sentence=sentence, champion=champion, challenger=room, carries=carries)
    if asked.workers.share and asked.rate is not None:
        yield from _shared(asked, asked.rate, least, free_bytes)


def _shared(asked: Question, rate: float, least: int, free_bytes: int) -> Iterator[Room]:
    for smaller in asked.challenger.smaller:
        needed = asked.least(asked.challenger, smaller.rate)
        if asked.carries(asked.challenger, smaller.rate, needed) < rate:
            continue
        for champion in range(asked.workers.replicas, least - 1, -1):
            count = _beside(asked, champion, free_bytes, smaller.memory_bytes, needed)
            if count is not None:
                yield Room(
                    fit=Fit.SHARED,
                    sentence=_told_shared(asked, champion, count, smaller),
                    champion=champion,
                    challenger=count,
                    limits=smaller.limits,
                    carries=asked.carries(asked.challenger, smaller.rate, count),
                )


def _beside(asked: Question, champion: int, free_bytes: int, each_bytes: int, needed: int) -> int | None:
    """Return how many of the challenger's workers fit beside so many of the champion's, None when too few do."""
    left_bytes = free_bytes - champion * asked.champion.memory_bytes
    whole = asked.workers.replicas
    fitting = whole if each_bytes <= 0 else min(whole, left_bytes // each_bytes)
    return fitting if left_bytes >= 0 and fitting >= needed else None


def _refusal(asked: Question, free_bytes: int) -> Room:
    """Return what has to end or change before there is a plan; the champion keeps all its workers until then."""
    whole, budget_bytes = asked.workers.replicas, asked.budget_bytes or 0
    mine = f"both versions need {format_bytes(asked.full_bytes)}"
    passing = [holding for holding in asked.others if holding.passes]
    freed_bytes = free_bytes + sum(holding.memory_bytes for holding in passing)
    if next(_options(asked, freed_bytes), None) is not None:
        fit, why = Fit.WAITING, f"it waits for {_told_holders(passing)}"
    elif next(_options(asked, budget_bytes), None) is not None:
        fit, why = Fit.WAITING, f"it waits until others have ended: {_told_holders(asked.others)}"
    elif asked.rate and next(_options(replace(asked, rate=0.0), budget_bytes), None) is not None:
        fit, why = Fit.WAITING, f"fewer workers can't carry {asked.rate:.3g} requests/s: it waits for less traffic"
    else:
        fit, why = Fit.NEVER, _told_never(asked)
    sentence = f"{mine} of {_told_budget(asked)}: {why}"
    return Room(fit=fit, sentence=sentence, champion=whole, challenger=whole)


def _told_budget(asked: Question) -> str:
    budget = format_bytes(asked.budget_bytes or 0)
    if not asked.others:
        return budget
    left = format_bytes(max(0, (asked.budget_bytes or 0) - asked.held_bytes))
    return f"{budget}, of which {left} are left"


def _told_reduced(asked: Question, champion: int, challenger: int) -> str:
    whole = asked.workers.replicas
    told = []
    if champion < whole:
        verb = "is" if whole - champion == 1 else "are"
        told.append(
            f"{whole - champion} of {whole} champion replicas {verb} drained first and back after the rollout"
            f"{_told_proof(asked, asked.champion, champion)}"
        )
    if challenger < whole:
        told.append(f"the challenger starts with {challenger} of {whole}")
    full = f"both versions need {format_bytes(asked.full_bytes)} of {_told_budget(asked)}"
    return f"{full}: {'; '.join(told)}"


def _told_proof(asked: Question, need: Need, replicas: int) -> str:
    if need.rate is None or asked.rate is None:
        return f" ({replicas} left, enough by the spec)"
    can = asked.carries(need, need.rate, replicas)
    return f" ({replicas} left, good for {can:.3g} requests/s; the busiest of late were {asked.rate:.3g})"


def _told_shared(asked: Question, champion: int, challenger: int, smaller: Smaller) -> str:
    whole = asked.workers.replicas
    batch, memory = smaller.limits.max_batch_size, format_bytes(smaller.memory_bytes)
    told = f"{_told_reduced(asked, champion, challenger)}{'; ' if min(champion, challenger) < whole else ''}"
    return f"{told}the challenger draws {batch} at once in {memory} each, until the champion's memory is free"


def _told_never(asked: Question) -> str:
    known = asked.champion.rate is not None and asked.challenger.rate is not None and asked.rate is not None
    if asked.workers.replicas > 1 and asked.workers.at_least is None and not known:
        return (
            "they can't run side by side with all workers, and how few carry the traffic is not known: "
            "profile both versions, or say so in workers.at_least"
        )
    return "they can't run side by side; a smaller variant, or a fleet with more memory, can"


def _told_holders(holdings: Sequence[Holding]) -> str:
    return ", ".join(f"{holding.who} ({format_bytes(holding.memory_bytes)})" for holding in holdings)


def write_room(room: Room | None) -> str:
    """Return a plan as it is kept in a rollout's row."""
    return "" if room is None else room.model_dump_json()


def read_room(text: str) -> Room | None:
    """Return a plan out of a rollout's row, None where there is none."""
    return Room.model_validate_json(text) if text else None
