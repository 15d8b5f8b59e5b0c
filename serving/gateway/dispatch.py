"""Dispatch: one request through split, attempt, fallback, mirror and counting."""

import asyncio
from dataclasses import dataclass

from contracts.clock import Clock
from contracts.ids import CHAMPION, VersionId
from contracts.specs.service import Fallback
from contracts.wire.routing import Endpoint, RoutingTable, ServiceRoutes, Split
from contracts.wire.telemetry import SampledOutput
from contracts.wire.worker import GenerateRequest
from serving.gateway.counting import AttemptKey, Counter
from serving.gateway.fallback import RetryBudget, deserves_fallback
from serving.gateway.intake import Intake
from serving.gateway.replicas import Attempt, LaneSlot, Replicas
from serving.gateway.split import goes_to_challenger, is_mirrored, is_sampled

NO_LANE_LIMIT = 1_000_000
"""Requests at once of a service without lanes: the replica's own concurrency is what holds."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the user gets: the attempt that answered, and the one it stood in for, if any."""

    intake: Intake
    attempt: Attempt
    fell_back_from: Attempt | None = None


class Dispatcher:
    """Serves accepted requests by the routing table it follows."""

    def __init__(self, replicas: Replicas, counter: Counter, clock: Clock) -> None:
        self._replicas, self._counter, self._clock = replicas, counter, clock
        self._budgets: dict[str, RetryBudget] = {}
        self._mirroring: set[asyncio.Task[Attempt]] = set()

    def follow(self, table: RoutingTable) -> None:
        """Serve by a new table from the next request on."""
        known = [e for routes in table.services.values() for group in routes.endpoints.values() for e in group]
        self._replicas.keep_only(known)
        self._counter.forget_keys_except({r.split.rollout_id for r in table.services.values() if r.split is not None})
        self._budgets = {
            name: self._budgets.get(name, RetryBudget(routes.fallback.retry_budget))
            for name, routes in table.services.items()
            if routes.fallback is not None
        }

    async def serve(self, intake: Intake) -> Answer:
        """Assign a request to a version, attempt it, fall back if the service says so, and count all of it."""
        routes, split = intake.routes, intake.routes.split
        to_challenger = split is not None and goes_to_challenger(split, intake.sticky_key)
        version = split.challenger if split is not None and to_challenger else routes.champion
        if split is not None:
            self._counter.count_exposure(routes.service, split, intake.sticky_key, challenger=to_challenger)
        attempt = await self._attempt(intake, version, intake.lane, intake.generate)
        answer = Answer(intake, attempt)
        if attempt.failure is not None:
            answer = await self._fall_back(answer)
        elif split is not None and not to_challenger and is_mirrored(split, intake.request_id):
            self._mirror(intake, split)
        self._note(answer)
        return answer

    async def _attempt(
        self, intake: Intake, version: VersionId, lane: str, generate: GenerateRequest, *, mirrored: bool = False
    ) -> Attempt:
        routes = intake.routes
        settings = routes.lanes.get(lane)
        slot = LaneSlot(lane, settings.max_concurrency if settings is not None else NO_LANE_LIMIT)
        attempt = await self._replicas.attempt(
            version, _endpoints(routes, version), generate, slot, timeout_s=routes.limits.timeout
        )
        key = AttemptKey(routes.service, version, attempt.replica, lane, mirrored)
        self._counter.count_attempt(key, attempt.latency_s, attempt.failure, routes.latency_thresholds_s)
        if attempt.picture is not None and is_sampled(routes.score_sample, intake.request_id):
            self._counter.keep_sample(
                SampledOutput(
                    service=routes.service,
                    version=version,
                    request_id=intake.request_id,
                    lane=lane,
                    prompt=generate.prompt,
                    seed=generate.seed,
                    at_s=self._clock.now_s(),
                    mirrored=mirrored,
                    image_png=attempt.picture,
                )
            )
        return attempt

    async def _fall_back(self, answer: Answer) -> Answer:
        """Try once more where the fallback says; what has failed is never asked the same again."""
        intake, failed = answer.intake, answer.attempt
        fallback = intake.routes.fallback
        if fallback is None or not deserves_fallback(fallback, failed.failure):
            return answer
        version, lane, generate = _second_chance(intake, fallback)
        asked_before = (version, generate) == (failed.version, intake.generate)
        budget = self._budgets.get(intake.routes.service)
        if asked_before or budget is None or not budget.take():
            return answer
        return Answer(intake, await self._attempt(intake, version, lane, generate), fell_back_from=failed)

    def _mirror(self, intake: Intake, split: Split) -> None:
        """Copy a served request to the challenger if it is idle; the user never waits for it."""
        if self._replicas.is_idle(_endpoints(intake.routes, split.challenger)):
            copy = self._attempt(intake, split.challenger, intake.lane, intake.generate, mirrored=True)
            task = asyncio.create_task(copy)
            self._mirroring.add(task)
            task.add_done_callback(self._mirroring.discard)

    def _note(self, answer: Answer) -> None:
        service = answer.intake.routes.service
        if service in self._budgets:
            self._budgets[service].note_request()
        self._counter.count_request(
            service,
            answer.intake.lane,
            bad=answer.attempt.picture is None,
            fell_back=answer.fell_back_from is not None,
        )


def _second_chance(intake: Intake, fallback: Fallback) -> tuple[VersionId, str, GenerateRequest]:
    """Return version, lane and request of a fallback: the champion's, in another lane's settings if one is named."""
    champion = intake.routes.champion
    if fallback.to == CHAMPION:
        return champion, intake.lane, intake.generate
    lane = intake.routes.lanes[fallback.to]
    settings = {"steps": lane.steps, "guidance": lane.guidance, "width": None, "height": None}
    return champion, fallback.to, intake.generate.model_copy(update=settings)


def _endpoints(routes: ServiceRoutes, version: VersionId) -> tuple[Endpoint, ...]:
    return routes.endpoints.get(str(version), ())
