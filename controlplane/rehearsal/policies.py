"""From a spec on disk, and what a person says of traffic and faults, to a policy and a scenario."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from contracts.errors import InvalidInput
from contracts.specs.loading import load_service_spec
from contracts.specs.service import ServiceSpec
from contracts.specs.slo import ScoreSlo
from contracts.units import parse_fraction
from controlplane.policies import policy_of
from rollout.plan import TYPICAL_BURN
from rollout.policy import Policy
from rollout.simulate.scenario import Quality, Rates, Scenario

SHORTEST_TICK_S = 1.0
MOST_TICKS = 2_000
HIGHEST_RATE = 1e6
MOST_SCORES = 5_000_000
"""Scores that all runs together may draw in one tick: they are drawn one by one, and lie in memory at once."""


def load_policy(file: Path) -> tuple[ServiceSpec, Policy]:
    """Return a service spec and the policy that its rollouts run under.

    Raises:
        InvalidInput: when the file can't be read; ``SpecError`` with every mistake in it.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} can't be read: {error}", hint="give the path of a YAML file") from None
    spec = load_service_spec(text, subject=str(file))
    return spec, policy_of(spec)


def tick_of(policy: Policy) -> float:
    """Return the seconds between decisions of a simulation: a second, more where there'd be too many."""
    length_s = policy.spec.max_duration + policy.spec.bake
    return max(SHORTEST_TICK_S, math.ceil(length_s / MOST_TICKS))


def check_size(policy: Policy, *, request_rate: float, runs: int) -> None:
    """Refuse a rehearsal that would fill the memory.

    Raises:
        InvalidInput: when all runs would draw more scores in one tick than `MOST_SCORES`.
    """
    sampled = sum(slo.sample for slo in policy.slos.values() if isinstance(slo, ScoreSlo))
    drawn = request_rate * tick_of(policy) * sampled
    if drawn * runs > MOST_SCORES:
        fitting = max(math.floor(MOST_SCORES / drawn), 0)
        raise InvalidInput(
            f"runs: {runs} runs at {request_rate:g} requests per second draw {drawn * runs:.3g} scores in each tick of "
            f"{tick_of(policy):g} s, more than fit into memory",
            hint=f"ask for at most {fitting} runs, or for a lower rate, sample or max_duration",
        )


def read_levels(texts: Sequence[str], policy: Policy, option: str) -> dict[str, float]:
    """Return the level per objective of ``NAME=SHARE`` options: a bad rate, or a mean score.

    Raises:
        InvalidInput: when one isn't of that form, or names no objective of the policy.
    """
    known = (*policy.counted, *policy.scored)
    levels = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise InvalidInput(f"{option}: {text!r} has no value", hint=f"write NAME=SHARE: {known[0]}=2%")
        if name not in known:
            raise InvalidInput(f"{option}: no objective is called {name!r}", hint=f"objectives: {', '.join(known)}")
        levels[name] = parse_fraction(value)
    return levels


def make_scenario(
    policy: Policy,
    *,
    request_rate: float,
    champion: Mapping[str, float],
    fault: Mapping[str, float],
    onset_s: float,
) -> Scenario:
    """Return the situation that a person described.

    ``champion`` and ``fault`` give bad rates of counted objectives and mean scores of scored ones. A champion that
    isn't described spends two fifths of its budgets and scores as its objectives say; the challenger is its equal but
    for the fault.

    Raises:
        InvalidInput: when the policy counts nothing, or the rate or a share can't be.
    """
    if not policy.counted:
        raise InvalidInput("slos: a simulation needs an availability or latency objective")
    if not 0 < request_rate <= HIGHEST_RATE:
        raise InvalidInput(
            f"rate: {request_rate:g} is not a number of requests per second up to {HIGHEST_RATE:g}",
            hint="write --rate 20",
        )
    typical = {
        name: TYPICAL_BURN * (1.0 - policy.slos[name].objective) if name in policy.slos else 0.01
        for name in policy.counted
    } | {name: policy.slos[name].objective for name in policy.scored}
    usual = typical | dict(champion)
    broken = usual | dict(fault)
    sample = {name: slo.sample for name, slo in policy.slos.items() if isinstance(slo, ScoreSlo)}
    return Scenario(
        "rehearsal",
        request_rate,
        {name: Rates(usual[name], broken[name]) for name in policy.counted},
        quality={name: Quality(usual[name], broken[name], sample=sample[name]) for name in policy.scored},
        duration_s=policy.spec.max_duration + policy.spec.bake + 5 * tick_of(policy),
        tick_s=tick_of(policy),
        onset_s=onset_s,
    )
