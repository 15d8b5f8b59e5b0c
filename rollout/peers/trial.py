"""A peer's rule in a scenario, in virtual time, on the same streams that the simulator draws for a policy."""

import numpy as np

from rollout.evidence.stack import CHALLENGER
from rollout.peers.rule import History, Rule
from rollout.simulate.engine import End, Results
from rollout.simulate.scenario import Scenario
from rollout.simulate.stream import happen


def try_rule(rule: Rule, scenario: Scenario, runs: int, rng: np.random.Generator) -> Results:
    """Run a rule ``runs`` times in the scenario; telemetry is never late or lost for it.

    The indicators are the scenario's, in its order. ``proven_s`` is when the rule promoted.
    """
    indicators = tuple(scenario.rates)
    course = rule.begin(runs)
    ticks = int(scenario.duration_s / scenario.tick_s)
    every = max(round(rule.interval_s / scenario.tick_s), 1)
    bad, total = (np.zeros((ticks, runs, len(indicators), 2)) for _ in range(2))
    bad_seen, requests_seen = np.zeros(runs), np.zeros(runs)
    ended_s = np.full(runs, scenario.duration_s)
    for tick in range(ticks):
        running = course.end == End.RUNNING
        happened = happen(scenario, indicators, course.weight, (tick + 1) * scenario.tick_s, rng)
        bad[tick], total[tick] = happened.bad[:, :, 0, :], happened.total[:, :, 0, :]
        bad_seen += bad[tick, :, 0, CHALLENGER] * running
        requests_seen += total[tick, :, 0, CHALLENGER] * running
        if (tick + 1) % every:
            continue
        course = rule.look(course, History(bad[: tick + 1], total[: tick + 1], scenario.tick_s))
        ended_s = np.where(running & (course.end != End.RUNNING), (tick + 1) * scenario.tick_s, ended_s)
        if (course.end != End.RUNNING).all():
            break
    proven_s = np.where(course.end == End.PROMOTED, ended_s, np.nan)
    return Results(course.end, ended_s, proven_s, bad_seen, requests_seen, {})
