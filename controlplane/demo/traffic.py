"""The demo's users: prompts for price tags, sent from a thread of their own; most at random, some in bursts."""

import asyncio
import threading

import numpy as np

from contracts.rng import Rng, SeededRng
from evaluation.price_tags.grammar import sample_prompts
from serving.traffic.arrivals import Arrivals, Pattern
from serving.traffic.sending import TrafficPlan, send_traffic
from serving.traffic.totals import TrafficTotals

PROMPTS = 2000
MOST_IN_FLIGHT = 256
USERS = 400
BURSTY_SHARE = 0.3
"""The part of the traffic that comes in bursts: every six seconds, for two, at three times its rate."""
BURST_PERIOD_S = 6.0
BURST_FACTOR = 3.0


def draw_prompts(seed: int) -> list[str]:
    """Return prompts that users may send; the same for the same seed."""
    return sample_prompts(PROMPTS, np.random.default_rng(seed))


class LiveTraffic:
    """Users who ask until they are stopped; ``totals`` is what they have seen so far."""

    def __init__(self, url: str, service: str, *, seed: int) -> None:
        self.totals = TrafficTotals()
        self.rate = 0.0
        self._url, self._service, self._seed = url, service, seed
        self._prompts = draw_prompts(seed)
        self._crowd: _Crowd | None = None

    def ask(self, rate: float) -> None:
        """Let users send so many requests a second from now on."""
        self.stop()
        self.rate, self._seed = rate, self._seed + 1
        self._crowd = _Crowd(self.plans(rate), self.totals, self._seed)

    def plans(self, rate: float) -> tuple[TrafficPlan, ...]:
        """Return what is sent at a rate: those who come at random, and those who come in bursts."""
        steady = Arrivals(rate=rate * (1 - BURSTY_SHARE))
        bursts = Arrivals(
            rate=rate * BURSTY_SHARE, pattern=Pattern.BURSTY, period=BURST_PERIOD_S, burst_factor=BURST_FACTOR
        )
        return tuple(
            TrafficPlan(self._url, self._service, arrivals, self._choose, USERS, most_in_flight=MOST_IN_FLIGHT)
            for arrivals in (steady, bursts)
        )

    def stop(self) -> None:
        """Let them finish what they have asked for, and send nothing more."""
        if self._crowd is not None:
            self._crowd.stop()
            self._crowd = None

    def _choose(self, rng: Rng) -> str:
        return self._prompts[rng.integer(len(self._prompts))]


class _Crowd:
    """Requests on their way in a thread, by one plan or several at once."""

    def __init__(self, plans: tuple[TrafficPlan, ...], totals: TrafficTotals, seed: int) -> None:
        self._plans, self._totals, self._seed = plans, totals, seed
        self._loop, self._stop = asyncio.new_event_loop(), asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._send())

    async def _send(self) -> None:
        senders = (
            send_traffic(plan, self._totals, SeededRng(self._seed + number), self._stop)
            for number, plan in enumerate(self._plans)
        )
        await asyncio.gather(*senders)
