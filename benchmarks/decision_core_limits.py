"""Requests to detection over the information limit, false alarms at 20 000 looks, and speed."""

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

import numpy as np

from contracts.specs.rollout import RolloutSpec
from contracts.specs.slo import AvailabilitySlo, LatencySlo, Slo
from rollout.batch import Case, decide_many
from rollout.evidence import counts, mixture
from rollout.evidence.counts import Side, Tally
from rollout.evidence.two_arm import ArmsTick
from rollout.machine import start
from rollout.observation import Exposure, Observation
from rollout.plan import information_limit
from rollout.policy import compile_policy

BOUND = 0.005
ALPHA = 0.01
HORIZON_S = 4 * 3600.0
REQUESTS_PER_S = 10.0


@dataclass(frozen=True, slots=True)
class Detection:
    """Requests to detection over ln(1/α)/KL at one burn: without onset prior, with it, and after a good hour."""

    burn: float
    limit_requests: float
    without_onset: float
    with_onset: float
    late: float


def detection(burn: float, runs: int) -> Detection:
    """Measure one burn; means over runs."""
    rate = min(burn * BOUND, 1.0)
    limit = information_limit(rate, BOUND, ALPHA)
    mean = [
        float(requests_to_detection(rate, runs, onset=onset, good_hour=late).mean() / limit)
        for onset, late in ((False, False), (True, False), (True, True))
    ]
    return Detection(burn, limit, *mean)


def requests_to_detection(rate: float, runs: int, *, onset: bool, good_hour: bool) -> mixture.Array:
    """Return each run's requests until ln E ≥ ln(1/α), looking at least 150 times on the way to the limit."""
    rng = np.random.default_rng([int(rate * 1e6), onset, good_hour])
    test = counts.counts_test(BOUND, Side.HARM)
    limit = information_limit(rate, BOUND, ALPHA)
    step = max(1, int(limit / 150))
    share = mixture.ONSET_AT_START if onset else 1.0
    log_s = np.broadcast_to(test.log_prior + np.log(share), (runs, mixture.GRID))
    unspent = np.full(runs, 1.0 - share)
    per_second = (1.0 - mixture.ONSET_AT_START) / HORIZON_S if onset else 0.0

    def tick(requests: int, bad_rate: float) -> None:
        nonlocal log_s, unspent
        bad = rng.binomial(requests, bad_rate, runs).astype(float)
        factor = counts.log_factor(test.per_bad, test.per_good, bad, np.full(runs, float(requests)))
        mass = np.full(runs, per_second * requests / REQUESTS_PER_S)
        log_s, unspent = mixture.advance(log_s, unspent, test.log_prior, mass, factor)

    for _ in range(360 if good_hour else 0):
        tick(100, 0.4 * BOUND)
    used = np.full(runs, np.nan)
    for look in range(1, 100_000):
        tick(step, rate)
        found = mixture.log_evidence(log_s, unspent) >= -np.log(ALPHA)
        used[np.isnan(used) & found] = look * step
        if not np.isnan(used).any():
            break
    return used


def false_alarms(runs: int, looks: int = 20_000, requests: int = 10) -> int:
    """Return in how many of ``runs`` streams exactly at the bound the evidence ever reached 1/α."""
    rng = np.random.default_rng(20)
    test = counts.counts_test(BOUND, Side.HARM)
    log_s = np.broadcast_to(test.log_prior + np.log(mixture.ONSET_AT_START), (runs, mixture.GRID))
    unspent = np.full(runs, 1.0 - mixture.ONSET_AT_START)
    mass = np.full(runs, (1.0 - mixture.ONSET_AT_START) / looks)
    crossed = np.zeros(runs, dtype=bool)
    for _ in range(looks):
        bad = rng.binomial(requests, BOUND, runs).astype(float)
        factor = counts.log_factor(test.per_bad, test.per_good, bad, np.full(runs, float(requests)))
        log_s, unspent = mixture.advance(log_s, unspent, test.log_prior, mass, factor)
        crossed |= mixture.log_evidence(log_s, unspent) >= -np.log(ALPHA)
    return int(crossed.sum())


def speed(rollouts: int = 10_000) -> dict[str, float]:
    """Return seconds of one core to decide ``rollouts`` of four gates, and to import the package."""
    slos: dict[str, Slo] = {
        "availability": AvailabilitySlo(objective=0.995),
        "latency": LatencySlo.model_validate({"objective": 0.95, "threshold": "1s"}),
    }
    policy = compile_policy(RolloutSpec(), slos)
    rng = np.random.default_rng(0)
    states = [start(policy, at_s=0.0, rollout_id=str(k), champion="m@1", challenger="m@2") for k in range(rollouts)]
    cpu_s = []
    for at_s in (0.0, 10.0, 20.0, 30.0, 40.0):
        bad = rng.binomial(20, 0.002, rollouts).tolist()
        cases = [Case(policy, state, _tick(at_s, b)) for state, b in zip(states, bad, strict=True)]
        before = time.process_time()
        decisions = decide_many(cases)
        cpu_s.append(time.process_time() - before)
        states = [decision.state for decision in decisions]
    code = "import time; t = time.perf_counter(); import rollout.machine; print(time.perf_counter() - t)"
    found = [float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout) for _ in "123"]
    return {
        "rollouts": rollouts,
        "gates": len(policy.gates),
        "decide_many_cpu_s": min(cpu_s[1:]),
        "decide_many_cpu_s_median": float(np.median(cpu_s[1:])),
        "import_s": min(found),
    }


def _tick(at_s: float, bad: int) -> Observation:
    return Observation(
        at_s=at_s,
        counts={
            "availability": ArmsTick(Tally(bad, 20), Tally(0, 180)),
            "latency": ArmsTick(Tally(bad, 20), Tally(3, 180)),
        },
        exposures=(Exposure(0.1, 20, 180),),
        newest_telemetry_s=at_s,
        request_rate=20.0,
        ready=True,
        weight_applied=0.1,
    )


if __name__ == "__main__":
    print(json.dumps([asdict(detection(burn, 100)) for burn in (1.5, 20.0)] + [speed()], indent=1))
