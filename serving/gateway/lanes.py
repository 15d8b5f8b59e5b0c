"""Lanes: which class of traffic a request belongs to."""

import math
from typing import NamedTuple

from contracts.errors import InvalidInput
from contracts.specs.service import Route
from contracts.wire.routing import ServiceRoutes

DEFAULT_LANE = "default"


class LaneRule(NamedTuple):
    """One route, in a form that is quick to match."""

    lane: str
    tier: str | None
    mentions: frozenset[str]
    least_words: int
    words_below: float
    looks_at_prompt: bool

    def matches(self, words: list[str] | None, tier: str | None) -> bool:
        """Tell whether a request belongs here; what has no prompt matches no condition on prompts."""
        if self.tier is not None and self.tier != tier:
            return False
        if words is None or not self.looks_at_prompt:
            return not self.looks_at_prompt
        if self.mentions and self.mentions.isdisjoint(words):
            return False
        return self.least_words <= len(words) < self.words_below


class LaneRules:
    """The lanes of a service, and the routes that lead to them."""

    def __init__(self, routes: ServiceRoutes) -> None:
        self._lanes = tuple(routes.lanes)
        self._first = next(iter(routes.lanes), DEFAULT_LANE)
        self._rules = [_compile(route) for route in routes.route]

    def choose(self, prompt: str | None, *, asked: str | None = None, tier: str | None = None) -> str:
        """Return the lane of a request: the one asked for, else the first route that matches, else the first lane.

        Raises:
            InvalidInput: when the lane asked for isn't declared.
        """
        if asked is not None:
            if asked not in self._lanes:
                raise InvalidInput(f"lane {asked!r} is not declared", hint=f"lanes: {', '.join(self._lanes) or 'none'}")
            return asked
        if self._rules:
            words = prompt.lower().split() if prompt is not None else None
            for rule in self._rules:
                if rule.matches(words, tier):
                    return rule.lane
        return self._first


def _compile(route: Route) -> LaneRule:
    when = route.when
    below = when.prompt_words_below
    return LaneRule(
        lane=route.lane,
        tier=when.tier,
        mentions=frozenset(mention.lower() for mention in when.prompt_mentions),
        least_words=when.prompt_words_from or 0,
        words_below=math.inf if below is None else below,
        looks_at_prompt=bool(when.prompt_mentions) or below is not None or when.prompt_words_from is not None,
    )
