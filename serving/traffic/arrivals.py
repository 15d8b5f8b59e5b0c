"""Arrivals: when requests come, as real ones do; the same for the same seed."""

import itertools
import math
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from contracts.model import Frozen
from contracts.rng import Rng
from contracts.units import Duration

DIURNAL_DEPTH = 0.8


class Pattern(StrEnum):
    """How requests come: at random, in bursts, as over a day, or evenly."""

    POISSON = "poisson"
    BURSTY = "bursty"
    DIURNAL = "diurnal"
    STEADY = "steady"


class Arrivals(Frozen):
    """Requests per second on average, and how they lie in time.

    ``poisson``: independent of each other. ``bursty``: Poisson at ``burst_factor`` times the rate for a share of every
    ``period``, in between nothing; on average the rate. ``diurnal``: Poisson with a rate that goes up and down by 80 %
    in a sine of one ``period``, lowest at the start. ``steady``: evenly spaced.
    """

    rate: Annotated[float, Field(gt=0, le=100_000)]
    pattern: Pattern = Pattern.POISSON
    period: Annotated[Duration, Field(gt=0)] = 10.0
    burst_factor: Annotated[float, Field(ge=1, le=1000)] = 5.0

    def times_s(self, rng: Rng) -> Iterator[float]:
        """Yield the times of arrivals in seconds from the start, for ever.

        The varying rates are drawn by thinning: candidates at the highest rate, each kept with the share that the rate
        has of it then (Lewis and Shedler 1979).
        """
        if self.pattern is Pattern.STEADY:
            yield from (index / self.rate for index in itertools.count())
            return
        highest = self.rate * self._highest_factor()
        at_s = 0.0
        while True:
            at_s -= math.log(1 - rng.uniform()) / highest
            if self.pattern is Pattern.POISSON or rng.uniform() * highest < self.rate_at(at_s):
                yield at_s

    def rate_at(self, at_s: float) -> float:
        """Return the rate at a time."""
        phase = at_s / self.period % 1
        if self.pattern is Pattern.BURSTY:
            return self.rate * self.burst_factor if phase < 1 / self.burst_factor else 0.0
        if self.pattern is Pattern.DIURNAL:
            return self.rate * (1 - DIURNAL_DEPTH * math.cos(2 * math.pi * phase))
        return self.rate

    def _highest_factor(self) -> float:
        return {Pattern.BURSTY: self.burst_factor, Pattern.DIURNAL: 1 + DIURNAL_DEPTH}.get(self.pattern, 1.0)
