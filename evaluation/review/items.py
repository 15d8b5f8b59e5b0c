"""What people are asked: which of two outputs is better, or whether a flagged one is all right."""

from dataclasses import dataclass
from enum import StrEnum

GOLD_SHARE = 0.05
PLANTED_SHARE = 0.05
REPEAT_SHARE = 0.05


class Kind(StrEnum):
    """A pair of two versions' outputs, or a single one that something flagged."""

    PAIR = "pair"
    FLAGGED = "flagged"


class Origin(StrEnum):
    """Why an item is in the queue: to be judged, or to see whether raters look (the same twice; one made bad)."""

    WANTED = "wanted"
    GOLD = "gold"
    PLANTED = "planted"


class Choice(StrEnum):
    """A judgement, by versions and not by sides. Of a flagged output, ``first`` means it is all right."""

    FIRST = "first"
    SECOND = "second"
    TIE = "tie"
    CANNOT = "cannot-judge"


REASONS = ("text wrong", "artefact", "off-prompt", "unsafe")

WORTH = {Choice.FIRST: 1.0, Choice.SECOND: -1.0, Choice.TIE: 0.0}
"""What a judgement adds to the paired difference, first minus second."""


@dataclass(frozen=True, slots=True)
class Item:
    """One question; ``expected`` is the right answer of gold and planted ones, ``needed`` how many are to judge it."""

    item_id: str
    kind: Kind
    origin: Origin
    prompt: str
    first_version: str
    second_version: str
    expected: Choice | None = None
    seed: int = 0
    reason: str = ""
    needed: int = 1


@dataclass(frozen=True, slots=True)
class Judgement:
    """One answer, with the side that the first output was shown on and the seconds it took."""

    item: Item
    rater: str
    round: int
    choice: Choice
    first_is_left: bool
    seconds: float
    at_s: float
    reasons: tuple[str, ...] = ()
    note: str = ""
