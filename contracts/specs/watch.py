"""What happens after a promotion, and when nothing may be rolled out."""

import re
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from contracts.ids import Name
from contracts.model import Frozen
from contracts.units import Duration, Fraction

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_S, WEEK_S = 86400, 7 * 86400
WEEKLY = re.compile(rf"({'|'.join(DAYS)}) ([01]\d|2[0-3]):([0-5]\d) - ({'|'.join(DAYS)}) ([01]\d|2[0-3]):([0-5]\d)")
MONDAY_S = 4 * DAY_S
"""The first Monday after the epoch, 1970-01-05."""


class OnHarm(StrEnum):
    """What follows when harm is proven after a promotion: the version before comes back, or people are told."""

    REVERT = "revert"
    TELL = "tell"


class WatchSpec(Frozen):
    """How a version is watched once it owns production.

    The version before it stays loaded for ``keep_warm`` after the takeover; harm that is proven within that brings it
    back, unless ``on_harm`` only tells. ``false_alarms`` is the probability, for each objective, of any false proof
    within the objective's window. The proven harm of an objective in ``kill_on`` stops the version at once, even when
    nothing takes its place.
    """

    keep_warm: Annotated[Duration, Field(ge=0)] = 0.0
    on_harm: OnHarm = OnHarm.REVERT
    false_alarms: Annotated[Fraction, Field(gt=0, lt=1)] = 0.01
    kill_on: tuple[Name, ...] = ()


def read_weekly(text: str) -> tuple[int, int]:
    """Return begin and end of ``fri 16:00 - mon 08:00`` in seconds since Monday 00:00 UTC.

    Raises:
        ValueError: when it is written otherwise.
    """
    match = WEEKLY.fullmatch(text)
    if match is None:
        raise ValueError("a weekly time is written 'fri 16:00 - mon 08:00', in UTC")
    first, hour, minute, last, until_hour, until_minute = match.groups()
    begin_s = DAYS.index(first) * DAY_S + int(hour) * 3600 + int(minute) * 60
    return begin_s, DAYS.index(last) * DAY_S + int(until_hour) * 3600 + int(until_minute) * 60


def is_within(text: str, at_s: float) -> bool:
    """Tell whether a weekly time holds at a moment."""
    begin_s, end_s = read_weekly(text)
    second = (at_s - MONDAY_S) % WEEK_S
    return begin_s <= second < end_s if begin_s < end_s else second >= begin_s or second < end_s


def _check_weekly(text: str) -> str:
    read_weekly(text)
    return text


class FreezeSpec(Frozen):
    """When no rollout begins, and one that goes on is paused.

    ``weekly`` times are in UTC. ``budget_below`` is the share of an error budget that has to be left: with less of any
    objective's, reliability comes before news.
    """

    weekly: tuple[Annotated[str, AfterValidator(_check_weekly)], ...] = ()
    budget_below: Annotated[Fraction, Field(gt=0, lt=1)] | None = None
