"""Service level objectives: what must be good, how often, over what window."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, model_validator

from contracts.ids import Name
from contracts.model import Frozen
from contracts.units import Duration, Fraction


class GateKind(StrEnum):
    """What a check may do: roll back, only hold, or only be shown."""

    GATE = "gate"
    WATCH = "watch"
    INFO = "info"


class Objective(Frozen):
    """What every objective has.

    ``objective`` is the share (or mean score) aimed at; ``window`` the period its error budget is counted over;
    ``kind`` what its check may do to a rollout; ``alpha_weight`` its part of the policy's false-alarm probability
    relative to the other gates.
    """

    objective: Annotated[Fraction, Field(gt=0, lt=1)]
    window: Annotated[Duration, Field(gt=0)] = 28 * 86400.0
    kind: GateKind = GateKind.GATE
    alpha_weight: Annotated[float, Field(gt=0)] = 1.0


class Burns(Frozen):
    """How much faster than the error budget allows a challenger may burn.

    At ``tolerable_burn`` and below it is never rolled back (but with probability α); at ``unacceptable_burn`` and
    above it is never promoted (but with probability β).
    """

    tolerable_burn: Annotated[float, Field(gt=0)] = 1.0
    unacceptable_burn: Annotated[float, Field(gt=0)] = 2.0

    @model_validator(mode="after")
    def _ordered(self) -> "Burns":
        if self.unacceptable_burn <= self.tolerable_burn:
            raise ValueError("unacceptable_burn must be larger than tolerable_burn")
        return self


class AvailabilitySlo(Objective, Burns):
    """The share of attempts that are answered with a picture or a prediction, not an error."""


class LatencySlo(Objective, Burns):
    """The share of attempts answered within ``threshold``; counted exactly, never estimated from quantiles."""

    threshold: Annotated[Duration, Field(gt=0)]


class ScoreSlo(Objective):
    """The mean of a scorer in [0, 1] over sampled outputs.

    ``margin`` below the objective is tolerated (a version there is never rolled back, but with probability α);
    ``unacceptable_margin`` below it is never promoted (but with probability β). ``sample`` is the share of live
    outputs that is scored. ``in_harm_budget``: the ramp counts an answer that scores s as 1 - s of a bad one, and
    every answer as bad until scores say otherwise.
    """

    scorer: Name
    sample: Annotated[Fraction, Field(gt=0)] = 0.05
    margin: Fraction = 0.02
    unacceptable_margin: Fraction = 0.06
    in_harm_budget: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> "ScoreSlo":
        if self.unacceptable_margin <= self.margin:
            raise ValueError("unacceptable_margin must be larger than margin")
        if self.objective <= self.unacceptable_margin:
            raise ValueError("unacceptable_margin must be smaller than the objective")
        return self


def _kind_of(value: Any) -> str:
    keys = value if isinstance(value, dict) else type(value).model_fields if isinstance(value, Frozen) else ()
    if "scorer" in keys:
        return "score"
    return "latency" if "threshold" in keys else "availability"


Slo = Annotated[
    Annotated[AvailabilitySlo, Tag("availability")]
    | Annotated[LatencySlo, Tag("latency")]
    | Annotated[ScoreSlo, Tag("score")],
    Discriminator(_kind_of),
]
"""An objective; its kind is told by its keys: ``scorer`` (score), ``threshold`` (latency), neither (availability)."""
