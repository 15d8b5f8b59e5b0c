"""The post-check: whether an answer that was drawn should be drawn again on another lane before a user gets it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from contracts.errors import InvalidInput
from evaluation.scorers.port import Score


@dataclass(frozen=True, slots=True)
class PostCheck:
    """An answer fails when any of the metrics scores below its floor; then ``to`` draws it again, once.

    ``retry_budget`` bounds the answers drawn again as a share of all, so that checks never become the load.
    """

    floors: Mapping[str, float]
    to: str
    retry_budget: float = 0.1

    def __post_init__(self) -> None:
        if not self.floors or any(not 0.0 < floor <= 1.0 for floor in self.floors.values()):
            raise InvalidInput("floors: give a floor between 0 and 1 for at least one metric")
        if not 0.0 <= self.retry_budget <= 1.0:
            raise InvalidInput(f"retry_budget: {self.retry_budget!r} is not between 0 and 1")


@dataclass(frozen=True, slots=True)
class Route:
    """What to do with an answer: give it (``lane`` None), or have ``lane`` draw it again; and why."""

    lane: str | None
    reason: str


def route_after(
    check: PostCheck, scores: Mapping[str, Score], *, tried: Sequence[str], checked: int, redrawn: int
) -> Route:
    """Decide on one answer; ``tried`` are the lanes that drew it, ``checked`` and ``redrawn`` count recent answers.

    A metric without a score is no data: nobody waits for it and it fails nothing.
    """
    failed = [
        f"{name} {score.value:.3g} is below {floor:g}"
        for name, floor in check.floors.items()
        if (score := scores.get(name)) is not None and score.value is not None and score.value < floor
    ]
    if not failed:
        return Route(None, "passed" if any(name in scores for name in check.floors) else "no score: no data")
    why = "; ".join(failed)
    if check.to in tried:
        return Route(None, f"{why}; {check.to} has drawn it already")
    if redrawn + 1 > check.retry_budget * max(checked, 1):
        return Route(None, f"{why}; the budget for drawing again is spent")
    return Route(check.to, why)
