"""Monitors: what is watched on live outputs beside the gates, and what an alarm does."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from contracts.ids import Name
from contracts.model import Frozen
from contracts.units import Fraction


class MonitorAction(StrEnum):
    """What an alarm does to a rollout whose challenger it is about; about a champion it only tells."""

    HOLD = "hold"
    ROLL_BACK = "roll-back"
    TELL = "tell"


class MonitorSpec(Frozen):
    """One monitor on a score in [0, 1]: ``metric`` is a scorer, ``user-rating``, or ``not-asked-again``.

    It alarms when the mean is below ``at_least``; without that, when it has left what it was in the four weeks before.
    ``false_alarms`` is the probability of any false alarm among 100 000 values. A scorer is given ``sample`` of the
    outputs that gates sampled, at most ``per_hour``, off the request path. ``hook`` is called with the evidence.
    """

    metric: Name
    action: MonitorAction = MonitorAction.TELL
    at_least: Annotated[Fraction, Field(gt=0, lt=1)] | None = None
    false_alarms: Annotated[Fraction, Field(gt=0, lt=1)] = 0.01
    sample: Annotated[Fraction, Field(gt=0)] = 1.0
    per_hour: Annotated[int, Field(ge=1)] = 3600
    hook: Annotated[str, Field(pattern=r"^https?://\S+$", max_length=2000)] | None = None
