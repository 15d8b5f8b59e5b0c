"""Traffic: a load generator that behaves like users who don't wait for each other (open loop, Poisson arrivals)."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp

from contracts.rng import Rng

LONGEST_WAIT_S = 60.0
MOST_IN_FLIGHT = 256


@dataclass(frozen=True)
class TrafficPlan:
    """What to send: ``rate`` requests per second to one service, prompts drawn anew, from ``users`` users."""

    url: str
    service: str
    rate: float
    prompt: Callable[[Rng], str]
    users: int = 50


@dataclass
class TrafficTotals:
    """What users saw so far: answers by status and by version, and requests not sent because too many waited."""

    statuses: Counter[int] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    not_sent: int = 0

    @property
    def bad(self) -> int:
        """Requests that brought the user no picture."""
        return sum(count for status, count in self.statuses.items() if status != 200)


async def send_traffic(plan: TrafficPlan, totals: TrafficTotals, rng: Rng, stop: asyncio.Event) -> None:
    """Send requests until ``stop`` is set, then wait for the answers under way; ``totals`` grows as they come."""
    timeout = aiohttp.ClientTimeout(total=LONGEST_WAIT_S)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
        in_flight: set[asyncio.Task[None]] = set()
        while not stop.is_set():
            await asyncio.sleep(-math.log(1 - rng.uniform()) / plan.rate)
            if len(in_flight) >= MOST_IN_FLIGHT:
                totals.not_sent += 1
                continue
            task = asyncio.create_task(_send_one(session, plan, totals, rng))
            in_flight.add(task)
            task.add_done_callback(in_flight.discard)
        await asyncio.gather(*in_flight)


async def _send_one(session: aiohttp.ClientSession, plan: TrafficPlan, totals: TrafficTotals, rng: Rng) -> None:
    body = {"model": plan.service, "prompt": plan.prompt(rng), "user": f"user-{rng.integer(plan.users)}"}
    try:
        async with session.post(f"{plan.url}/v1/images/generations", json=body) as answer:
            await answer.read()
            totals.statuses[answer.status] += 1
            totals.versions[answer.headers.get("x-roost-version", "none")] += 1
    except (aiohttp.ClientError, TimeoutError):
        totals.statuses[0] += 1
