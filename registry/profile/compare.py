"""Versions beside one another: latency, quality, memory and cost, and which of them no other beats in everything."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from registry.profile.document import Profile

Goal = Callable[["Contender"], float | None]


@dataclass(frozen=True, slots=True)
class Contender:
    """One version, or one trial of a search, by its figures; None where there is no data.

    ``p95_s`` is of one picture alone, ``quality`` a mean score in [0, 1] with its interval, ``cost_per_1k`` the least
    cost of 1000 pictures. ``on_front``: no other is at least as good in all that is known of both, and better in
    something.
    """

    name: str
    p95_s: float | None
    quality: float | None
    quality_low: float | None = None
    quality_high: float | None = None
    memory_bytes: float | None = None
    cost_per_1k: float | None = None
    size_bytes: int | None = None
    on_front: bool = False


MEMORY_STEP: Final = math.log(1.02)
"""Memory is compared in steps of 2 %: within one, allocators differ from run to run."""


def _memory_steps(one: Contender) -> float | None:
    return round(math.log(one.memory_bytes) / MEMORY_STEP) if one.memory_bytes else None


GOALS: Final[tuple[Goal, ...]] = (
    lambda one: one.p95_s,
    lambda one: None if one.quality is None else -one.quality,
    _memory_steps,
    lambda one: one.cost_per_1k,
)
"""What is to be small."""


def place(profile: Profile, *, size_bytes: int | None = None) -> Contender:
    """Return a profiled version by the figures at its own size and steps."""
    own, quality = profile.at_defaults(), profile.quality
    return Contender(
        name=str(profile.version),
        p95_s=own.p95.value_s if own is not None and own.p95 is not None else None,
        quality=quality.value if quality is not None else None,
        quality_low=quality.low if quality is not None else None,
        quality_high=quality.high if quality is not None else None,
        memory_bytes=own.peak_memory_bytes if own is not None else None,
        cost_per_1k=profile.cheapest(),
        size_bytes=size_bytes,
    )


def mark_front(contenders: Sequence[Contender]) -> list[Contender]:
    """Return the contenders with the Pareto front marked; one of whom nothing is known is never on it."""
    return [
        replace(one, on_front=_known(one) and not any(_beats(other, one) for other in contenders)) for one in contenders
    ]


def _known(one: Contender) -> bool:
    return one.p95_s is not None


def _beats(other: Contender, one: Contender) -> bool:
    """Tell whether ``other`` is nowhere worse and somewhere better, over the goals that are known of both."""
    pairs = [
        (theirs, mine) for goal in GOALS if (theirs := goal(other)) is not None and (mine := goal(one)) is not None
    ]
    return bool(pairs) and all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)
