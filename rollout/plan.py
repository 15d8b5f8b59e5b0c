"""What a policy can promise at a service's traffic: times and requests, before anything is rolled out."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from contracts.errors import InvalidInput
from contracts.specs.slo import ScoreSlo, Slo
from contracts.units import format_duration, format_fraction
from rollout.policy import Gate, GateFamily, Policy
from rollout.simulate.engine import End, Results, simulate
from rollout.simulate.scenario import Quality, Rates, Scenario

BURNS = (1.5, 2.0, 5.0, 20.0, 200.0)
SURE = 0.9
TYPICAL_BURN = 0.4


@dataclass(frozen=True, slots=True)
class Catch:
    """How a fault of one size is met: ``caught`` share of runs rolled back on evidence, and medians over those.

    ``fault`` names it (``availability at burn 5``, ``text at 85 %``) and ``level`` is its bad rate or mean score; times
    are NaN when nothing was caught.
    """

    fault: str
    level: float
    caught: float
    time_s: float
    requests: float
    bad: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What to expect of a policy.

    ``promote_s`` and ``promote_90_s``: median and 90 % time until a good challenger is proven (infinite when fewer
    than half, or 90 %, are within the maximum duration); ``proof_bad`` the expected bad requests a relative safe side
    needs (NaN without one); ``warnings`` say what the policy can't see and what would.
    """

    promote_s: float
    promote_90_s: float
    catches: tuple[Catch, ...]
    proof_bad: float
    warnings: tuple[str, ...]


def plan(
    policy: Policy,
    request_rate: float,
    *,
    rng: np.random.Generator,
    champion: Mapping[str, float] | None = None,
    tick_s: float = 10.0,
    runs: int = 100,
) -> Plan:
    """Simulate a good challenger and faults on each objective, at ``request_rate`` per second.

    The faults are burns of 1.5 to 200, and of scored objectives the mean that must not be promoted and half of it.
    ``champion`` gives the champion's true bad rates and mean scores (0.4 of the budget, and the objective, where not
    known).

    Raises:
        InvalidInput: when the policy counts nothing, or the rate isn't positive.
    """
    if not policy.counted:
        raise InvalidInput("slos: planning needs an availability or latency objective")
    if not request_rate > 0:
        raise InvalidInput(f"request_rate: {request_rate!r} is not positive")
    known = champion or {}
    base = {name: known.get(name, _typical(policy, name)) for name in policy.counted}
    means = {name: known.get(name, policy.slos[name].objective) for name in policy.scored}

    def run(rates: dict[str, Rates], scored: Mapping[str, float] = means) -> Results:
        length_s = policy.spec.max_duration + policy.spec.bake + 5 * tick_s
        quality = {
            name: Quality(means[name], scored[name], sample=_sample(policy.slos[name])) for name in policy.scored
        }
        return simulate(policy, Scenario("plan", request_rate, rates, quality, length_s, tick_s), runs, rng)

    healthy = {name: Rates(rate, rate) for name, rate in base.items()}
    good, limit_s = run(healthy), policy.spec.max_duration
    catches = []
    for gate in (gate for gate in policy.gates if gate.family is GateFamily.BURN):
        for burn in (burn for burn in BURNS if burn * _budget(policy, gate) <= 1.0):
            bad_rate = min(burn * _budget(policy, gate), 1.0)
            rates = {name: Rates(rate, bad_rate if name == gate.sli else rate) for name, rate in base.items()}
            catches.append(_catch(f"{gate.sli} at burn {burn:g}", bad_rate, run(rates), limit_s))
    faulty = []
    for gate in (gate for gate in policy.gates if gate.family is GateFamily.SCORE):
        lowest = gate.tolerable if gate.unacceptable is None else gate.unacceptable
        for mean in (lowest, lowest / 2):
            results = run(healthy, {**means, gate.sli: mean})
            faulty.append(_catch(f"{gate.sli} at {format_fraction(mean)}", mean, results, limit_s))
    proven = np.where(np.isnan(good.proven_s), np.inf, good.proven_s)
    median, slow = float(np.median(proven)), float(np.quantile(proven, 0.9, method="higher"))
    warnings = _warnings(policy, request_rate, catches, slow) + _unseen(policy, faulty)
    return Plan(median, slow, (*catches, *faulty), _relative_cost(policy), warnings)


def information_limit(bad_rate: float, bound: float, alpha: float) -> float:
    """Return the fewest requests in expectation by which any test at level ``alpha`` can reject p ≤ ``bound``.

    It is ln(1/α)/KL(p ‖ bound) (Wald 1945), and never less than one request.
    """
    return max(float(np.log(1 / alpha)) / divergence(bad_rate, bound), 1.0)


def divergence(rate: float, bound: float) -> float:
    """Return the Kullback-Leibler divergence of Bernoulli(``rate``) from Bernoulli(``bound``) in nats."""
    bad = rate * np.log(rate / bound) if rate > 0 else 0.0
    good = (1 - rate) * np.log((1 - rate) / (1 - bound)) if rate < 1 else 0.0
    return float(bad + good)


def _budget(policy: Policy, gate: Gate) -> float:
    return round(1.0 - policy.slos[gate.sli].objective, 12)


def _typical(policy: Policy, name: str) -> float:
    return TYPICAL_BURN * (1.0 - policy.slos[name].objective) if name in policy.slos else 0.01


def _sample(slo: Slo) -> float:
    return slo.sample if isinstance(slo, ScoreSlo) else 1.0


def _catch(fault: str, level: float, results: Results, limit_s: float) -> Catch:
    medians = (results.median(name, End.ROLLED_BACK, limit_s) for name in ("ended_s", "requests", "bad"))
    time_s, requests, bad = medians
    caught = float(results.ended_within(End.ROLLED_BACK, limit_s).mean())
    return Catch(fault, level, caught, time_s, requests, bad)


def _relative_cost(policy: Policy) -> float:
    """Return the expected bad requests, of both arms at equal shares, that the relative safe side needs."""
    sides = [g.unacceptable for g in policy.gates if g.family is GateFamily.RELATIVE and g.unacceptable is not None]
    if not sides:
        return float("nan")
    share = max(sides) / (1 + max(sides))
    return float(np.log(1 / policy.spec.beta) / divergence(0.5, share))


def _unseen(policy: Policy, faulty: list[Catch]) -> tuple[str, ...]:
    """Return a warning for each mean score that must not be promoted and is seen too seldom."""
    longest = format_duration(policy.spec.max_duration)
    return tuple(
        f"{one.fault} is caught in {format_fraction(one.caught)} of runs within {longest}; score a larger sample, "
        f"mirror traffic, or allow more time"
        for one in faulty
        if one.caught < SURE
    )


def _warnings(policy: Policy, request_rate: float, catches: list[Catch], slow_s: float) -> tuple[str, ...]:
    longest = format_duration(policy.spec.max_duration)
    warnings = []
    if not np.isfinite(slow_s):
        warnings.append(
            f"at {request_rate:g} requests/s fewer than 90 % of good challengers are proven within {longest}; raise "
            f"max_duration, max_weight or unacceptable_burn, or mirror traffic"
        )
    unacceptable = {g.sli: g.unacceptable or 1.0 for g in policy.gates if g.family is GateFamily.BURN}
    for one in catches:
        sli = one.fault.split(" at burn ", maxsplit=1)[0]
        if one.caught >= SURE or one.level < unacceptable[sli] - 1e-12:
            continue
        gate = next(gate for gate in policy.gates if gate.name == sli)
        needed = 2 * information_limit(one.level, gate.tolerable, gate.alpha)
        share = needed / (request_rate * policy.spec.max_duration)
        cure = (
            f"a share of {format_fraction(min(share, 1.0))} of traffic would see it"
            if share <= 1.0
            else f"all traffic is too little: allow {format_duration(needed / request_rate)}, or widen the margin"
        )
        warnings.append(f"{one.fault} is caught in {format_fraction(one.caught)} of runs within {longest}; {cure}")
    return tuple(warnings)
