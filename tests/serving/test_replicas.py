"""Replicas: no more requests at once than the lane and the replica allow."""

import asyncio

import aiohttp
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contracts.ids import VersionId
from contracts.wire.routing import Endpoint
from contracts.wire.worker import FailureReason, GenerateRequest
from serving.gateway.replicas import LaneSlot, Replicas
from tests.serving.conftest import running

VERSION = VersionId("m", 1)


class Busy:
    """A worker that notes how many requests it had at once."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def generate(self, request: Request) -> Response:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.03)
        self.now -= 1
        return Response(b"picture", media_type="image/png")


async def ask_at_once(url: str, count: int, lane: int, replica: int) -> list[FailureReason | None]:
    endpoint = Endpoint(replica="a", url=url, max_concurrency=replica)
    async with aiohttp.ClientSession() as session:
        replicas = Replicas(session)
        replicas.keep_only([endpoint])
        request, slot = GenerateRequest(prompt="a", seed=1), LaneSlot("draft", lane)
        attempts = [replicas.attempt(VERSION, (endpoint,), request, slot, timeout_s=10) for _ in range(count)]
        return [attempt.failure for attempt in await asyncio.gather(*attempts)]


def most_at_once(lane: int, replica: int) -> int:
    busy = Busy()
    with running(Starlette(routes=[Route("/generate", busy.generate, methods=["POST"])])) as url:
        assert asyncio.run(ask_at_once(url, 12, lane, replica)) == [None] * 12
    return busy.most


def test_a_lane_keeps_to_its_own_concurrency() -> None:
    assert most_at_once(lane=2, replica=8) == 2


def test_a_replica_keeps_to_its_concurrency_whatever_the_lane_allows() -> None:
    assert most_at_once(lane=8, replica=3) == 3


def test_what_can_not_be_queued_is_overload() -> None:
    busy = Busy()
    with running(Starlette(routes=[Route("/generate", busy.generate, methods=["POST"])])) as url:
        failures = asyncio.run(ask_at_once(url, 70, 1, 1))
    assert failures.count(FailureReason.OVERLOAD) == 70 - 65
