"""A scenario: what traffic, what faults, what telemetry; a value from which a seeded generator makes streams."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from contracts.errors import InvalidInput
from rollout.evidence.mixture import Array

DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class Rates:
    """True bad rates of one counted indicator: the champion's, and the challenger's once its fault has begun."""

    champion: float
    challenger: float


@dataclass(frozen=True, slots=True)
class Quality:
    """True scores of one scored indicator: Beta-distributed with these means and standard deviation.

    ``sample`` is the share of requests that is scored.
    """

    champion: float
    challenger: float
    deviation: float = 0.1
    sample: float = 0.05


@dataclass(frozen=True, slots=True)
class Outage:
    """A stretch in which both arms fail at ``rate``, whatever the release."""

    start_s: float
    length_s: float
    rate: float


@dataclass(frozen=True, slots=True)
class Bursts:
    """Bad requests in bursts: in a share of ticks the rate is multiplied, for both arms or each by itself.

    The rate between bursts is lowered so that the mean stays what ``Rates`` says.
    """

    share: float
    factor: float
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Scenario:
    """One situation to roll out into.

    ``request_rate`` in requests per second; ``tick_s`` between decisions; the fault begins at ``onset_s``.
    ``diurnal`` is the relative swing of load and of both bad rates over a day that begins at its mean.
    ``lag_ticks`` is how late telemetry arrives, ``loss`` the share of ticks whose telemetry is lost. ``parts`` splits
    the traffic into slices by share; when ``faulty_part`` is named the fault hits that slice alone.
    """

    name: str
    request_rate: float
    rates: Mapping[str, Rates]
    quality: Mapping[str, Quality] = field(default_factory=dict)
    duration_s: float = 4 * 3600.0
    tick_s: float = 10.0
    onset_s: float = 0.0
    diurnal: float = 0.0
    bursts: Bursts | None = None
    outage: Outage | None = None
    lag_ticks: int = 0
    loss: float = 0.0
    parts: Mapping[str, float] = field(default_factory=dict)
    faulty_part: str = ""

    def __post_init__(self) -> None:
        for name, rates in self.rates.items():
            if not (0.0 <= rates.champion <= 1.0 and 0.0 <= rates.challenger <= 1.0):
                raise InvalidInput(f"rates.{name}: a rate is outside [0, 1]")
        if self.request_rate < 0 or self.tick_s <= 0 or self.duration_s <= 0:
            raise InvalidInput("request_rate, tick_s, duration_s: not a positive amount")
        if self.parts and abs(sum(self.parts.values()) - 1.0) > 1e-9:
            raise InvalidInput("parts: the shares of slices must add up to 1")
        if self.faulty_part and self.faulty_part not in self.parts:
            raise InvalidInput(f"faulty_part: no slice is called {self.faulty_part}")

    def swing(self, at_s: float) -> float:
        """Return the day's factor on load and bad rates at a time."""
        return 1.0 + self.diurnal * math.sin(2 * math.pi * at_s / DAY_S)

    def bad_rates(self, indicator: str, at_s: float, *, faulty: bool = True) -> tuple[float, float]:
        """Return the true bad rates (challenger, champion) at a time, bursts aside; ``faulty``: where the fault is."""
        rates = self.rates[indicator]
        if self.outage is not None and 0.0 <= at_s - self.outage.start_s < self.outage.length_s:
            return self.outage.rate, self.outage.rate
        broken = faulty and at_s >= self.onset_s
        swing = self.swing(at_s)
        return min((rates.challenger if broken else rates.champion) * swing, 1.0), min(rates.champion * swing, 1.0)


def burst_factors(bursts: Bursts, runs: int, rng: np.random.Generator) -> Array:
    """Return the factors on the bad rate of one tick, (runs, 2) with the challenger first, of mean one."""
    width = 1 if bursts.shared else 2
    hit = rng.random((runs, width)) < bursts.share
    calm = (1.0 - bursts.share * bursts.factor) / (1.0 - bursts.share)
    return np.broadcast_to(np.where(hit, bursts.factor, max(calm, 0.0)), (runs, 2))
