"""The rollout policy as a person writes it: error rates, harm budget, ramp, and what to do when unsure."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, model_validator

from contracts.model import Frozen
from contracts.units import Duration, Fraction


class Strategy(StrEnum):
    """How the challenger's share of traffic grows."""

    ADAPTIVE = "adaptive"
    STEPS = "steps"


class OnTimeout(StrEnum):
    """What happens when the maximum duration ends without proof either way."""

    PAUSE = "pause"
    ROLLBACK = "rollback"
    PROMOTE = "promote"


class Step(Frozen):
    """One step of an explicit ramp: a weight, the time and requests it is held, and whether a person must go on."""

    weight: Fraction
    hold: Duration = 0.0
    min_requests: Annotated[int, Field(ge=0)] = 0
    pause: bool = False


class Warmup(Frozen):
    """Synthetic prompts before any traffic, so that loading and first-request compilation never count."""

    prompts: Annotated[int, Field(ge=0, le=10_000)] = 8


class Mirror(Frozen):
    """Copied traffic at no live share, until ``min_pairs`` outputs of the same prompt and seed were compared."""

    share: Annotated[Fraction, Field(gt=0)] = 0.2
    min_pairs: Annotated[int, Field(ge=1)] = 64


class RelativeGate(Frozen):
    """The challenger's bad rate against the champion's, on live traffic split at random.

    ``tolerable`` is the ratio never rolled back for; ``unacceptable``, when given, the ratio that must be excluded
    before promotion (``roost rollout plan`` tells what that costs). ``blocking`` false means hold and tell.
    """

    tolerable: Annotated[float, Field(ge=1)] = 1.5
    unacceptable: Annotated[float, Field(gt=1)] | None = None
    blocking: bool = True
    alpha_weight: Annotated[float, Field(gt=0)] = 1.0

    @model_validator(mode="after")
    def _ordered(self) -> "RelativeGate":
        if self.unacceptable is not None and self.unacceptable <= self.tolerable:
            raise ValueError("unacceptable must be larger than tolerable")
        return self


class RolloutSpec(Frozen):
    """A rollout policy.

    ``alpha`` bounds P(roll back | tolerable), ``beta`` bounds P(promote | unacceptable), both over the whole rollout
    however often it is looked at; ``harm_budget`` bounds the excess bad responses during one ``reaction_lag`` at
    confidence 1 - ``gamma``. ``min_weight`` is the share below which the ramp does not go: at high request rates a
    large one overrides the harm budget.
    """

    strategy: Strategy = Strategy.ADAPTIVE
    steps: tuple[Step, ...] = ()
    alpha: Annotated[Fraction, Field(gt=0, lt=1)] = 0.01
    beta: Annotated[Fraction, Field(gt=0, lt=1)] = 0.01
    gamma: Annotated[Fraction, Field(gt=0, lt=1)] = 0.05
    harm_budget: Annotated[float, Field(gt=0)] = 10.0
    reaction_lag: Annotated[Duration, Field(gt=0)] = 2.0
    min_weight: Annotated[Fraction, Field(gt=0, lt=1)] = 0.001
    max_weight: Annotated[Fraction, Field(gt=0, lt=1)] = 0.5
    growth: Annotated[float, Field(gt=1)] = 4.0
    relative: RelativeGate | None = RelativeGate()
    warmup: Warmup = Warmup()
    mirror: Mirror | None = None
    bake: Duration = 600.0
    max_duration: Annotated[Duration, Field(gt=0)] = 4 * 3600.0
    max_staleness: Annotated[Duration, Field(gt=0)] = 30.0
    on_timeout: OnTimeout = OnTimeout.PAUSE

    @model_validator(mode="before")
    @classmethod
    def _steps_name_their_strategy(cls, value: object) -> object:
        if isinstance(value, dict) and value.get("steps") and "strategy" not in value:
            return {**value, "strategy": Strategy.STEPS}
        return value

    @model_validator(mode="after")
    def _consistent(self) -> "RolloutSpec":
        if (self.strategy is Strategy.STEPS) != bool(self.steps):
            raise ValueError("steps are given if and only if the strategy is 'steps'")
        weights = [step.weight for step in self.steps]
        if weights != sorted(weights):
            raise ValueError("the weights of steps must not fall")
        if self.min_weight > self.max_weight:
            raise ValueError("min_weight must not be larger than max_weight")
        return self
