"""Replicas: one attempt at one version, on its least busy replica, within the time that is left."""

import asyncio
import time
from dataclasses import dataclass

import aiohttp
from pydantic import ValidationError

from contracts.ids import VersionId
from contracts.wire.routing import Endpoint
from contracts.wire.worker import FailureReason, GenerateRequest, WorkerFailure

LONGEST_QUEUE = 64


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of asking one replica: a PNG, or the reason why there is none."""

    version: VersionId
    replica: str
    latency_s: float
    picture: bytes | None = None
    failure: FailureReason | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class LaneSlot:
    """The lane of a request, and how many of that lane's requests one replica may have at once."""

    lane: str
    max_concurrency: int


class Replica:
    """One worker as the gateway sees it: how many requests it has, and how many it may have at once."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.outstanding = 0
        self._slots = asyncio.Semaphore(endpoint.max_concurrency)
        self._lane_slots: dict[LaneSlot, asyncio.Semaphore] = {}

    async def ask(self, session: aiohttp.ClientSession, request: GenerateRequest, slot: LaneSlot) -> tuple[bytes, int]:
        """Wait for a free slot of the lane and of the replica, ask, and return the body with the HTTP status."""
        async with (
            self._lane_slots.setdefault(slot, asyncio.Semaphore(slot.max_concurrency)),
            self._slots,
            session.post(
                f"{self.endpoint.url}/generate",
                data=request.model_dump_json(exclude_none=True),
                headers={"content-type": "application/json"},
            ) as answer,
        ):
            return await answer.read(), answer.status


class Replicas:
    """Every replica of every version in the routing table; slots survive a change of the table."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._by_url: dict[str, Replica] = {}

    def keep_only(self, endpoints: list[Endpoint]) -> None:
        """Take over the endpoints of a new routing table; those it doesn't name finish what they have."""
        self._by_url = {
            endpoint.url: self._by_url[endpoint.url]
            if endpoint.url in self._by_url and self._by_url[endpoint.url].endpoint == endpoint
            else Replica(endpoint)
            for endpoint in endpoints
        }

    def is_idle(self, endpoints: tuple[Endpoint, ...]) -> bool:
        """Tell whether a replica could start at once; mirrored copies never queue."""
        return any(self._replica(e).outstanding < e.max_concurrency for e in endpoints)

    async def attempt(
        self,
        version: VersionId,
        endpoints: tuple[Endpoint, ...],
        request: GenerateRequest,
        slot: LaneSlot,
        *,
        timeout_s: float,
    ) -> Attempt:
        """Ask the least busy replica of a version once; a failure is a result, not an exception."""
        if not endpoints:
            return Attempt(version, "none", 0.0, failure=FailureReason.ERROR, message=f"{version} has no replica")
        replica = min((self._replica(endpoint) for endpoint in endpoints), key=lambda r: r.outstanding)
        name = replica.endpoint.replica
        if replica.outstanding >= replica.endpoint.max_concurrency + LONGEST_QUEUE:
            message = f"{replica.outstanding} requests are waiting"
            return Attempt(version, name, 0.0, failure=FailureReason.OVERLOAD, message=message)
        start_s = time.perf_counter()
        replica.outstanding += 1
        try:
            async with asyncio.timeout(timeout_s):
                body, status = await replica.ask(self._session, request, slot)
        except TimeoutError:
            failure, message = FailureReason.TIMEOUT, f"no answer within {timeout_s:.3g} s"
            return Attempt(version, name, time.perf_counter() - start_s, failure=failure, message=message)
        except aiohttp.ClientError as error:
            message = f"{type(error).__name__}: {error}"
            latency_s = time.perf_counter() - start_s
            return Attempt(version, name, latency_s, failure=FailureReason.ERROR, message=message)
        finally:
            replica.outstanding -= 1
        latency_s = time.perf_counter() - start_s
        if status == 200:
            return Attempt(version, name, latency_s, picture=body)
        failure, message = _read_failure(body, status)
        return Attempt(version, name, latency_s, failure=failure, message=message)

    def _replica(self, endpoint: Endpoint) -> Replica:
        return self._by_url.setdefault(endpoint.url, Replica(endpoint))


def _read_failure(body: bytes, status: int) -> tuple[FailureReason, str]:
    try:
        told = WorkerFailure.model_validate_json(body)
    except ValidationError:
        return FailureReason.ERROR, f"the worker answered with status {status}"
    return told.reason, told.message
