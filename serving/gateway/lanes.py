"""Lanes: which class of traffic a request belongs to."""

from contracts.errors import InvalidInput
from contracts.specs.service import Route, RouteCondition
from contracts.wire.routing import ServiceRoutes

DEFAULT_LANE = "default"


def choose_lane(routes: ServiceRoutes, prompt: str | None, *, asked: str | None = None, tier: str | None = None) -> str:
    """Return the lane of a request: the one asked for, else the first route that matches, else the first lane.

    What has no prompt (tensors, tables) matches no condition on prompts.

    Raises:
        InvalidInput: when the lane asked for isn't declared.
    """
    if asked is not None:
        if asked not in routes.lanes:
            raise InvalidInput(f"lane {asked!r} is not declared", hint=f"lanes: {', '.join(routes.lanes) or 'none'}")
        return asked
    if not routes.route:
        return next(iter(routes.lanes), DEFAULT_LANE)
    words = prompt.lower().split() if prompt is not None else None
    matching = (rule.lane for rule in routes.route if _matches(rule, words, tier))
    return next(matching, next(iter(routes.lanes), DEFAULT_LANE))


def _matches(rule: Route, words: list[str] | None, tier: str | None) -> bool:
    when: RouteCondition = rule.when
    if words is None:
        return when.tier == tier and when == RouteCondition(tier=tier)
    return (
        (when.prompt_words_below is None or len(words) < when.prompt_words_below)
        and (when.prompt_words_from is None or len(words) >= when.prompt_words_from)
        and (not when.prompt_mentions or any(mention.lower() in words for mention in when.prompt_mentions))
        and (when.tier is None or when.tier == tier)
    )
