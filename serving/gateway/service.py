"""A service as the gateway runs it: its routes, and what outlives a change of them."""

from contracts.clock import Clock
from contracts.ids import CHAMPION, VersionId
from contracts.wire.routing import ServiceRoutes
from serving.gateway.attempts import LaneSlot
from serving.gateway.cache import AnswerCache
from serving.gateway.counting import Thresholds
from serving.gateway.fallback import RetryBudget
from serving.gateway.lanes import DEFAULT_LANE, LaneRules
from serving.gateway.lines import Line
from serving.gateway.policy import Rules
from serving.gateway.split import Arms

NO_LANE_LIMIT = 1_000_000
"""Requests at once of a service without lanes: the replica's own concurrency is what holds."""


class Service:
    """One service of the routing table in force, with the lines, budget and cache that were there before.

    What every request looks at lies here as a plain attribute: a document's are looked up at three times the cost.
    """

    def __init__(self, routes: ServiceRoutes, clock: Clock, before: "Service | None" = None) -> None:
        self.name = routes.service
        self.routes = routes
        self.lines: dict[VersionId, Line] = _lines(routes, before.lines if before is not None else {})
        self.champion = self.line(routes.champion)
        self.challenger = self.line(routes.split.challenger) if routes.split is not None else None
        self.slots = {DEFAULT_LANE: LaneSlot(DEFAULT_LANE, NO_LANE_LIMIT)}
        for name, lane in routes.lanes.items():
            self.slots[name] = LaneSlot(name, lane.max_concurrency, lane.steps, lane.guidance)
        share = routes.fallback.retry_budget if routes.fallback is not None else 0.0
        kept = before is not None and before.budget.share == share
        self.budget: RetryBudget = before.budget if before is not None and kept else RetryBudget(share)
        self.cache: AnswerCache | None = None
        if routes.cache is not None:
            same = before is not None and before.routes.cache == routes.cache
            self.cache = before.cache if before is not None and same else AnswerCache(routes.cache, clock)
        self.lane_rules = LaneRules(routes)
        self.rules = Rules(routes.intake)
        self.screens, self.policies = bool(routes.intake.rules), routes.intake.policies
        self.is_express = not (routes.intake.policies or routes.post_checks)
        self.max_prompt_chars, self.max_pixels = routes.limits.max_prompt_chars, routes.limits.max_pixels
        self.sticky, self.post_checks = routes.sticky, routes.post_checks
        self.split = Arms.of(routes.split) if routes.split is not None else None
        self.weight = self.split.weight if self.split is not None else None
        self.mirror_share = self.split.mirror_share if self.split is not None else 0.0
        self.score_sample = routes.score_sample
        self.timeout_s = routes.limits.timeout
        self.latency_thresholds_s: Thresholds = tuple(routes.latency_thresholds_s.items())
        self.patience_s = max(routes.latency_thresholds_s.values(), default=routes.limits.timeout)

    def line(self, version: VersionId) -> Line:
        """Return a version's line, an empty one when the routing table knows no replica of it."""
        return self.lines.get(version) or Line(version)

    def version_named(self, name: str) -> VersionId | None:
        """Return the version called ``tags@13``, ``13`` or ``champion``, if the routing table has replicas of it."""
        if name == CHAMPION:
            return self.routes.champion
        return next((v for v in self.lines if name in {str(v), str(v.number)}), None)


def _lines(routes: ServiceRoutes, before: dict[VersionId, Line]) -> dict[VersionId, Line]:
    lines: dict[VersionId, Line] = {}
    for text, endpoints in routes.endpoints.items():
        version = VersionId.parse(text)
        line = lines[version] = before.get(version) or Line(version)
        line.follow(endpoints, routes.limits.max_queue)
    for version, line in before.items():
        if version not in lines:
            line.retire()
    return lines
