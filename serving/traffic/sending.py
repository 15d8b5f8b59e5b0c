"""Sending: an open loop, in which every request goes when it is meant to, whatever became of those before it."""

import asyncio
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from contracts.rng import Rng
from serving.traffic.arrivals import Arrivals
from serving.traffic.totals import UNANSWERED, TrafficTotals

LONGEST_WAIT_S = 60.0
MOST_IN_FLIGHT = 4096


@dataclass(frozen=True)
class TrafficPlan:
    """What to send: requests to one service, with prompts drawn anew, from so many users.

    ``extra`` is added to every request's body (``size``, ``steps``), ``headers`` to its headers.
    """

    url: str
    service: str
    arrivals: Arrivals
    prompt: Callable[[Rng], str]
    users: int = 50
    most_in_flight: int = MOST_IN_FLIGHT
    extra: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    def requests(self, rng: Rng) -> Iterator[tuple[float, dict[str, Any]]]:
        """Yield when each request goes, in seconds from the start, and its body; the same for the same seed."""
        for at_s in self.arrivals.times_s(rng):
            prompt, user = self.prompt(rng), f"user-{rng.integer(self.users)}"
            yield at_s, {"model": self.service, "prompt": prompt, "user": user, **self.extra}


async def send_traffic(
    plan: TrafficPlan,
    totals: TrafficTotals,
    rng: Rng,
    stop: asyncio.Event,
    *,
    duration_s: float | None = None,
    count: int | None = None,
) -> None:
    """Send until ``stop`` is set, or for so long, or so many; then wait for the answers under way.

    ``totals`` grows as they come.
    """
    loop = asyncio.get_running_loop()
    timeout = aiohttp.ClientTimeout(total=LONGEST_WAIT_S)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector, trust_env=False) as session:
        in_flight: set[asyncio.Task[None]] = set()
        begun_s = loop.time()
        for number, (at_s, body) in enumerate(plan.requests(rng)):
            if (duration_s is not None and at_s >= duration_s) or number == count:
                break
            if await _is_stopped(stop, begun_s + at_s - loop.time()):
                break
            totals.late_s = max(totals.late_s, loop.time() - begun_s - at_s)
            if len(in_flight) >= plan.most_in_flight:
                totals.not_sent += 1
                continue
            task = asyncio.create_task(_send_one(session, plan, totals, body, begun_s + at_s))
            in_flight.add(task)
            task.add_done_callback(in_flight.discard)
        await asyncio.gather(*in_flight)


async def _is_stopped(stop: asyncio.Event, wait_s: float) -> bool:
    """Wait for a request's turn; tell whether sending was stopped meanwhile."""
    if wait_s > 0:
        try:
            await asyncio.wait_for(stop.wait(), wait_s)
        except TimeoutError:
            return False
    return stop.is_set()


async def _send_one(
    session: aiohttp.ClientSession, plan: TrafficPlan, totals: TrafficTotals, body: dict[str, Any], due_s: float
) -> None:
    loop = asyncio.get_running_loop()
    url = f"{plan.url.rstrip('/')}/v1/images/generations"
    try:
        async with session.post(url, json=body, headers=plan.headers) as answer:
            content = await answer.read()
            version = answer.headers.get("x-roost-version", "none")
            lane = answer.headers.get("x-roost-lane", "")
            totals.count(answer.status, loop.time() - due_s, version, lane)
            if answer.status != 200:
                totals.causes[_cause(answer.status, content)] += 1
    except (aiohttp.ClientError, ssl.SSLError, TimeoutError) as error:
        totals.count(UNANSWERED, loop.time() - due_s, "none", "")
        totals.causes[type(error).__name__] += 1


def _cause(status: int, content: bytes) -> str:
    """Return the code that an answer in OpenAI's shape gives for its failure, else its status."""
    import orjson

    try:
        error = orjson.loads(content)["error"]
        return str(error.get("code") or error.get("type") or status)
    except (ValueError, KeyError, TypeError, AttributeError):
        return str(status)
