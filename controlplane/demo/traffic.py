"""The demo's users: prompts for price tags, sent from a thread of their own."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from contracts.rng import Rng, SeededRng
from evaluation.price_tags.grammar import sample_prompts
from serving.traffic.arrivals import Arrivals
from serving.traffic.sending import TrafficPlan, send_traffic
from serving.traffic.totals import TrafficTotals

PROMPTS = 2000
MOST_IN_FLIGHT = 256


def draw_prompts(seed: int) -> list[str]:
    """Return prompts that users may send; the same for the same seed."""
    return sample_prompts(PROMPTS, np.random.default_rng(seed))


@contextmanager
def live_traffic(url: str, service: str, rate: float, *, users: int, seed: int) -> Iterator[TrafficTotals]:
    """Send requests while the block runs; yields what users have seen so far."""
    prompts = draw_prompts(seed)

    def choose(rng: Rng) -> str:
        return prompts[rng.integer(len(prompts))]

    plan = TrafficPlan(url, service, Arrivals(rate=rate), choose, users, most_in_flight=MOST_IN_FLIGHT)
    totals, loop, stop = TrafficTotals(), asyncio.new_event_loop(), asyncio.Event()

    def serve() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(send_traffic(plan, totals, SeededRng(seed), stop))

    thread = threading.Thread(target=serve, name="traffic", daemon=True)
    thread.start()
    try:
        yield totals
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
