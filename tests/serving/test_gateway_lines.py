"""Lines: caps per lane and replica, deadlines, shedding, dead replicas put aside, copies that make place."""

import asyncio
from collections import Counter
from contextlib import ExitStack

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contracts.ids import VersionId
from contracts.wire.routing import Endpoint
from contracts.wire.worker import FailureReason
from serving.gateway.attempts import Attempt, LaneSlot, make_attempt
from serving.gateway.lines import Line
from serving.gateway.mirror import Mirror
from serving.gateway.work import PictureWork
from tests.serving.conftest import running

VERSION = VersionId("m", 1)
WORK = PictureWork("a", 1)


class Busy:
    """A worker that notes how many requests it had at once."""

    def __init__(self, delay_s: float = 0.03) -> None:
        self.now = self.most = self.asked = 0
        self._delay_s = delay_s

    async def generate(self, request: Request) -> Response:
        self.asked += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(self._delay_s)
        finally:
            self.now -= 1
        return Response(b"picture", media_type="image/png")

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/generate", self.generate, methods=["POST"])])


def line_of(urls: list[str], concurrency: int, max_queue: int = 64) -> Line:
    line = Line(VERSION)
    endpoints = [Endpoint(replica=f"r{i}", url=url, max_concurrency=concurrency) for i, url in enumerate(urls)]
    line.follow(tuple(endpoints), max_queue)
    return line


async def ask_at_once(
    urls: list[str], count: int, *, lane: int, replica: int, max_queue: int = 64, timeout_s: float = 10
) -> list[Attempt]:
    line = line_of(urls, replica, max_queue)
    slot = LaneSlot("draft", lane)
    asked = [make_attempt(line, WORK, slot, timeout_s=timeout_s) for _ in range(count)]
    attempts = await asyncio.gather(*asked)
    assert [(r.outstanding, r.by_lane.get("draft", 0)) for r in line.replicas] == [(0, 0)] * len(urls)
    line.retire()
    return attempts


def most_at_once(lane: int, replica: int) -> int:
    busy = Busy()
    with running(busy.app()) as url:
        attempts = asyncio.run(ask_at_once([url], 12, lane=lane, replica=replica))
    assert [attempt.failure for attempt in attempts] == [None] * 12
    return busy.most


def test_a_lane_keeps_to_its_own_concurrency() -> None:
    assert most_at_once(lane=2, replica=8) == 2


def test_a_replica_keeps_to_its_concurrency_whatever_the_lane_allows() -> None:
    assert most_at_once(lane=8, replica=3) == 3


def test_what_can_not_be_queued_is_overload_and_told_when_to_come_again() -> None:
    with running(Busy().app()) as url:
        attempts = asyncio.run(ask_at_once([url], 70, lane=1, replica=1, max_queue=64))
    refused = [attempt for attempt in attempts if attempt.failure is FailureReason.OVERLOAD]
    assert len(refused) == 70 - 65
    assert all(attempt.retry_after_s is not None and attempt.replica == "queue" for attempt in refused)


def test_who_can_not_be_served_in_time_is_told_at_once() -> None:
    async def scenario(url: str) -> list[Attempt]:
        line = line_of([url], 1)
        slot = LaneSlot("draft", 1)
        await make_attempt(line, WORK, slot, timeout_s=5)
        attempts = await asyncio.gather(*[make_attempt(line, WORK, slot, timeout_s=0.5) for _ in range(10)])
        line.retire()
        return attempts

    busy = Busy(delay_s=0.2)
    with running(busy.app()) as url:
        attempts = asyncio.run(scenario(url))
    failures = Counter(attempt.failure for attempt in attempts)
    assert failures[None] in {1, 2}
    shed = [attempt for attempt in attempts if attempt.retry_after_s is not None]
    assert len(shed) >= 7
    assert busy.asked <= 4, "who was shed never reached the worker"


def test_a_turn_that_never_comes_is_a_timeout() -> None:
    with running(Busy(delay_s=0.6).app()) as url:
        attempts = asyncio.run(ask_at_once([url], 2, lane=1, replica=1, timeout_s=0.2))
    assert [attempt.failure for attempt in attempts] == [FailureReason.TIMEOUT] * 2
    assert {attempt.replica for attempt in attempts} == {"r0", "queue"}


def test_replicas_share_the_load_and_a_dead_one_is_put_aside() -> None:
    with ExitStack() as stack:
        alive = [Busy(), Busy()]
        urls = [stack.enter_context(running(busy.app())) for busy in alive]
        attempts = asyncio.run(ask_at_once([*urls, "http://127.0.0.1:9"], 60, lane=9, replica=2))
    by_replica = Counter(attempt.replica for attempt in attempts if attempt.failure is None)
    assert abs(by_replica["r0"] - by_replica["r1"]) <= 10
    lost = [attempt for attempt in attempts if attempt.failure is not None]
    assert 1 <= len(lost) <= 4, "only what was under way when it was found dead"
    assert all(attempt.lost for attempt in lost)


def test_a_cancelled_wait_leaves_no_trace() -> None:
    async def scenario(url: str) -> tuple[Line, Attempt]:
        line = line_of([url], 1)
        slot = LaneSlot("draft", 1)
        first = asyncio.create_task(make_attempt(line, WORK, slot, timeout_s=5))
        await asyncio.sleep(0.05)
        waiting = [asyncio.create_task(make_attempt(line, WORK, slot, timeout_s=5)) for _ in range(3)]
        await asyncio.sleep(0.05)
        for task in waiting[:2]:
            task.cancel()
        await asyncio.gather(first, *waiting, return_exceptions=True)
        line.retire()
        return line, await waiting[2]

    with running(Busy(delay_s=0.3).app()) as url:
        line, third = asyncio.run(scenario(url))
    assert third.failure is None
    assert (len(line.waiting), line.replicas[0].outstanding) == (0, 0)


def test_a_copy_makes_place_for_who_waits() -> None:
    async def scenario(url: str) -> tuple[Attempt, list[Attempt], int]:
        line, mirror, noted = line_of([url], 1), Mirror(), list[Attempt]()
        slot = LaneSlot("draft", 1)
        mirror.copy(line, WORK, slot, 5, noted.append)
        await asyncio.sleep(0.1)
        live = await make_attempt(line, WORK, slot, timeout_s=5)
        line.retire()
        return live, noted, mirror.dropped

    busy = Busy(delay_s=3.0)
    with running(busy.app()) as url:
        live, noted, dropped = asyncio.run(scenario(url))
    assert live.failure is None
    assert live.queue_s < 1.5, "the copy was ended, not waited for"
    assert (noted, dropped) == ([], 1)
