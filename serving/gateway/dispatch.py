"""Dispatch: one request through split, cache, attempt, fallback, mirror and counting."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from contracts.clock import Clock
from contracts.ids import CHAMPION, VersionId
from contracts.redaction import redact
from contracts.specs.service import Fallback
from contracts.wire.routing import RoutingTable
from contracts.wire.telemetry import SampledOutput
from contracts.wire.worker import FailureReason
from serving.gateway.attempts import Attempt, Events, make_attempt
from serving.gateway.counting import Counter
from serving.gateway.fallback import deserves_fallback
from serving.gateway.intake import Intake
from serving.gateway.lines import Line
from serving.gateway.mirror import Mirror
from serving.gateway.post_checks import PostCheckDesk
from serving.gateway.service import Service
from serving.gateway.signals import Recall
from serving.gateway.split import goes_to_challenger, is_mirrored, is_sampled
from serving.gateway.spool import SampleQueue
from serving.gateway.work import PictureWork, Work


@dataclass(slots=True)
class Answer:
    """What the user gets: the attempt that answered, the one it stood in for, and whether it came from the cache.

    ``rejected`` is what a post-check found wrong with a picture that is given for want of a better one.
    """

    work: Work
    attempt: Attempt
    fell_back_from: Attempt | None = None
    cached: bool = False
    rejected: str = ""

    def is_plain(self) -> bool:
        """Tell whether it was made for this request, by the first attempt, and nothing was found wrong with it."""
        return self.fell_back_from is None and not self.cached and not self.rejected

    def counts_as(self) -> FailureReason | None:
        """Return why it counts as bad: there is no picture, or it was rejected and is given all the same."""
        return FailureReason.REJECTED if self.rejected else self.attempt.failure


Trying = Callable[[], Awaitable[Attempt]]
"""Makes an attempt, or what is left of one."""


class Dispatcher:
    """Serves accepted requests by the routing table it follows; ``on_gone`` is told of those whose client went away."""

    def __init__(
        self,
        counter: Counter,
        samples: SampleQueue,
        recall: Recall,
        clock: Clock,
        on_gone: Callable[[Intake], None],
    ) -> None:
        self._on_gone = on_gone
        self._counter, self._samples, self._recall, self._clock = counter, samples, recall, clock
        self.services: dict[str, Service] = {}
        self.mirror = Mirror()
        self._checks = PostCheckDesk(lambda service: counter.count_refusal(service, "post-check.failed"))

    def follow(self, table: RoutingTable) -> None:
        """Serve by a new table from the next request on."""
        before = self.services
        self.services = {n: Service(routes, self._clock, before.get(n)) for n, routes in table.services.items()}
        for name in before.keys() - self.services.keys():
            for line in before[name].lines.values():
                line.retire()
        self._counter.forget_keys_except({r.split.rollout_id for r in table.services.values() if r.split is not None})

    def close(self) -> None:
        """Close idle connections."""
        for service in self.services.values():
            for line in service.lines.values():
                line.retire()

    async def serve(
        self, intake: Intake, on_event: Events | None = None, *, first: Trying | None = None
    ) -> list[Answer]:
        """Assign a request to a version, attempt it, fall back if the service says so, and count all of it.

        ``first`` brings the first attempt of one that was begun elsewhere.

        Raises:
            CancelledError: when the client has gone.
        """
        line = self.assign(intake)
        try:
            if len(intake.works) == 1:
                answers = [await self._answer(intake, 0, line, on_event, first)]
            else:
                parts = [self._answer(intake, index, line, None) for index in range(len(intake.works))]
                answers = list(await asyncio.gather(*parts))
        except asyncio.CancelledError:
            self._note_gone(intake)
            raise
        self._note(intake, answers)
        return answers

    def assign(self, intake: Intake) -> Line:
        """Return the line of a request's version, the same if asked again; a forced one is no part of the split."""
        service = intake.service
        if intake.forced is not None:
            return service.line(intake.forced)
        split = service.split
        if split is None or service.challenger is None:
            return service.champion
        to_challenger = goes_to_challenger(split, intake.sticky_key)
        self._counter.count_exposure(service.name, split, intake.sticky_key, challenger=to_challenger)
        return service.challenger if to_challenger else service.champion

    def conclude(self, intake: Intake, attempt: Attempt, line: Line) -> list[Answer]:
        """Count a request that one good attempt outside of ``serve`` answered, and all that follows from it."""
        work = intake.works[0]
        self._count(intake, attempt, intake.lane, intake.weight())
        self._sample_live(intake, 0, attempt, intake.lane, work)
        answers = [Answer(work, attempt)]
        if intake.service.mirror_share and line is not intake.service.challenger:
            self._copy(intake, 0, work)
        self._note(intake, answers)
        return answers

    def count_gone(self, intake: Intake, line: Line, waited_s: float) -> None:
        """Count a request whose client went away during an attempt outside of ``serve``."""
        self._count_cancelled(intake, line.name, intake.lane, intake.weight(), waited_s)
        self._note_gone(intake)

    async def _answer(
        self, intake: Intake, index: int, line: Line, on_event: Events | None, first: Trying | None = None
    ) -> Answer:
        service, work = intake.service, intake.works[index]
        cached = False
        if first is not None:
            attempt = await self._attempt(intake, index, line, lane=intake.lane, work=work, trying=first)
        elif service.cache is not None and intake.repeatable and on_event is None:
            key = (line.name, work.path, work.question)
            attempt, cached = await service.cache.answer(
                key, lambda: self._attempt(intake, index, line, lane=intake.lane, work=work)
            )
        else:
            attempt = await self._attempt(intake, index, line, lane=intake.lane, work=work, on_event=on_event)
        answer = Answer(work, attempt, cached=cached)
        if attempt.failure is not None:
            second = await self._fall_back(intake, index, answer, on_event)
            return _better(answer, second) if attempt.failure is FailureReason.REJECTED else second
        if service.mirror_share and line is not service.challenger and not cached:
            self._copy(intake, index, work)
        return answer

    async def _attempt(
        self,
        intake: Intake,
        index: int,
        line: Line,
        *,
        lane: str,
        work: Work,
        on_event: Events | None = None,
        trying: Trying | None = None,
        fallback: bool = False,
    ) -> Attempt:
        service = intake.service
        weight = None if fallback else intake.weight()
        start_s = time.perf_counter()
        try:
            if trying is not None:
                attempt = await trying()
            else:
                attempt = await make_attempt(
                    line, work, service.slots[lane], timeout_s=service.timeout_s, on_event=on_event
                )
        except asyncio.CancelledError:
            self._count_cancelled(intake, line.name, lane, weight, time.perf_counter() - start_s)
            raise
        if service.post_checks and attempt.failure is None and isinstance(work, PictureWork):
            fault = await self._checks.judge(service.name, service.post_checks, work.prompt, attempt.body)
            if fault:
                attempt = replace(attempt, failure=FailureReason.REJECTED, message=fault)
        self._count(intake, attempt, lane, weight)
        self._sample_live(intake, index, attempt, lane, work)
        return attempt

    def _sample_live(self, intake: Intake, index: int, attempt: Attempt, lane: str, work: Work) -> None:
        if intake.service.score_sample or intake.review is not None:
            self._sample(intake, index, attempt, lane, work)

    def _count(
        self, intake: Intake, attempt: Attempt, lane: str, weight: float | None, *, mirrored: bool = False
    ) -> None:
        service = intake.service
        self._counter.count_attempt(
            (service.name, attempt.version, attempt.replica, lane, mirrored, intake.forced is not None, weight),
            service.latency_thresholds_s,
            latency_s=attempt.latency_s,
            queue_s=attempt.queue_s,
            failure=attempt.failure,
            cold=attempt.cold,
        )

    def _count_cancelled(self, intake: Intake, version: str, lane: str, weight: float | None, waited_s: float) -> None:
        """Count the attempt of a client that left: against the version only when the client had been patient."""
        service = intake.service
        place = (service.name, version, "none", lane, False, intake.forced is not None, weight)
        if waited_s > service.patience_s:
            reason, thresholds_s = FailureReason.ABANDONED, service.latency_thresholds_s
            self._counter.count_attempt(place, thresholds_s, latency_s=waited_s, failure=reason)
        else:
            self._counter.count_cancelled_attempt(place)

    async def _fall_back(self, intake: Intake, index: int, answer: Answer, on_event: Events | None) -> Answer:
        """Try once more where the fallback says; what has failed is never asked the same again.

        Unless the replica was lost: then another replica of the same version is as good.
        """
        service, failed = intake.service, answer.attempt
        fallback = service.routes.fallback
        if fallback is None or not deserves_fallback(fallback, failed.failure):
            return answer
        lane, work = _second_chance(intake, answer.work, fallback)
        line = service.champion
        asked_before = (line.name, work) == (failed.version, answer.work)
        if asked_before and not (failed.lost and len(line.replicas) > 1):
            return answer
        if not service.budget.take():
            return answer
        second = await self._attempt(intake, index, line, lane=lane, work=work, on_event=on_event, fallback=True)
        return Answer(work, second, fell_back_from=failed)

    def _copy(self, intake: Intake, index: int, work: Work) -> None:
        """Copy a served request to the challenger if it is idle; the user never waits for it."""
        service = intake.service
        if service.split is None or service.challenger is None or not is_mirrored(service.split, intake.request_id):
            return

        def note(attempt: Attempt) -> None:
            self._count(intake, attempt, intake.lane, None, mirrored=True)
            self._sample(intake, index, attempt, intake.lane, work, mirrored=True)

        self.mirror.copy(service.challenger, work, service.slots[intake.lane], service.timeout_s, note)

    def _sample(
        self, intake: Intake, index: int, attempt: Attempt, lane: str, work: Work, *, mirrored: bool = False
    ) -> None:
        """Keep a picture for the scorers by chance, or for a person because a policy wants one to look at it."""
        # Who forces a version chooses what it is asked; the scorers' sample is of what came by chance.
        by_chance = intake.forced is None and is_sampled(intake.service.score_sample, intake.request_id, index)
        if not (by_chance or intake.review is not None) or not isinstance(work, PictureWork):
            return
        if attempt.failure not in {None, FailureReason.REJECTED}:
            return
        routes = intake.service.routes
        self._samples.append(
            SampledOutput(
                service=routes.service,
                version=VersionId.parse(attempt.version),
                request_id=intake.part_id(index),
                lane=lane,
                prompt=redact(work.prompt).text if routes.intake.redact else work.prompt,
                seed=work.seed,
                at_s=self._clock.now_s(),
                mirrored=mirrored,
                image_png=attempt.body,
                review=intake.review,
            )
        )

    def _note_gone(self, intake: Intake) -> None:
        self._counter.count_cancelled_request(intake.service.name, intake.lane)
        self._on_gone(intake)

    def _note(self, intake: Intake, answers: list[Answer]) -> None:
        """Count the logical request, and remember whose answer it got."""
        service, first = intake.service, answers[0]
        service.budget.note_request()
        if len(answers) == 1:
            failure, fell_back, cached = first.counts_as(), first.fell_back_from is not None, first.cached
        else:
            failure = next(filter(None, (answer.counts_as() for answer in answers)), None)
            fell_back = any(answer.fell_back_from is not None for answer in answers)
            cached = all(answer.cached for answer in answers)
        self._counter.count_request(service.name, intake.lane, failure=failure, fell_back=fell_back, cached=cached)
        version, user, prompt = first.attempt.version, intake.user, intake.prompt
        self._recall.remember(intake.request_id, (service.name, version, intake.lane, user, prompt))
        if user is not None and prompt is not None and intake.forced is None:
            # Who asks again does so because of the answer before, whichever version answers now.
            before = self._recall.note_answer(service.name, user, prompt, version)
            if before is not None:
                self._counter.count_signal(service.name, before, asked_again=True)
            self._counter.count_signal(service.name, version, asked_again=False)


def _better(first: Answer, second: Answer) -> Answer:
    """Return the second answer if it is one; else the rejected picture, which is better than none."""
    if second.attempt.failure is None:
        return second
    return replace(first, attempt=replace(first.attempt, failure=None), rejected=first.attempt.message)


def _second_chance(intake: Intake, work: Work, fallback: Fallback) -> tuple[str, Work]:
    """Return lane and work of a fallback to the champion: another lane's settings, if one is named."""
    if fallback.to == CHAMPION:
        return intake.lane, work
    if not isinstance(work, PictureWork):
        return fallback.to, work
    lane = intake.service.routes.lanes[fallback.to]
    return fallback.to, work._replace(steps=lane.steps, guidance=lane.guidance, width=None, height=None)
