"""Parts of the demo by themselves: its users, and the worker that leaks."""

import subprocess
import sys
from collections import Counter

import pytest

from contracts.rng import SeededRng
from controlplane.demo.traffic import BURST_FACTOR, BURST_PERIOD_S, LiveTraffic

LEAK = """
from contracts.wire.worker import FaultDrill, GenerateRequest
from serving.worker.runtimes.drill import DrillingRuntime
from serving.worker.runtimes.port import DrawFailure

class Painter:
    def load(self): pass
    def warm_up(self): pass
    def draw(self, requests, after_step): return [lambda: b"picture" for _ in requests]

worker = DrillingRuntime(Painter(), FaultDrill(memory_headroom_bytes=64 << 20, leaked_bytes=4 << 20))
worker.warm_up()
for number in range(40):
    try:
        worker.draw([GenerateRequest(prompt="a", seed=0)], lambda *told: None)
        print("drawn")
    except DrawFailure as failure:
        print(failure.reason.value)
"""


def test_a_leak_ends_in_real_refusals_of_memory_and_the_worker_lives_on() -> None:
    told = subprocess.run([sys.executable, "-c", LEAK], capture_output=True, text=True, check=True).stdout.split()
    assert len(told) == 40
    first = told.index("oom")
    assert 8 <= first <= 16, "64 MiB hold sixteen pieces of 4 MiB at most"
    assert set(told[:first]) == {"drawn"}
    assert set(told[first:]) == {"oom"}


def test_most_users_come_at_random_and_some_in_bursts() -> None:
    traffic = LiveTraffic("http://127.0.0.1:1", "tags", seed=3)
    steady, bursty = traffic.plans(20.0)
    assert steady.arrivals.rate + bursty.arrivals.rate == pytest.approx(20.0)
    requests = bursty.requests(SeededRng(1))
    within = Counter(
        at_s % BURST_PERIOD_S < BURST_PERIOD_S / BURST_FACTOR for at_s, _ in (next(requests) for _ in range(300))
    )
    assert within == {True: 300}
    users = {body["user"] for _, body in (next(requests) for _ in range(300))}
    assert len(users) > 100, "no user is so many that the split by user gets lopsided"
