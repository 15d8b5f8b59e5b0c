"""A policy beside the rules of its peers, on the same traffic with the same fault, hundreds of times."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import binomtest

from contracts.specs.slo import ScoreSlo
from controlplane.rehearsal.policies import tick_of
from rollout.peers.argo import Argo
from rollout.peers.flagger import Flagger
from rollout.peers.growthbook import GrowthBook
from rollout.peers.kayenta import Kayenta
from rollout.peers.rule import Rule
from rollout.peers.sre import Workbook
from rollout.peers.trial import try_rule
from rollout.plan import Plan, plan
from rollout.policy import Policy
from rollout.simulate.engine import End, Results, simulate
from rollout.simulate.scenario import Scenario

CONFIDENCE = 0.95
PEERS_NEED_S = 4 * 3600.0
"""Longer than any of the peers' documented courses lasts; a policy's own maximum duration may be shorter."""


@dataclass(frozen=True, slots=True)
class Share:
    """How many runs of how many ended so, with an exact (Clopper and Pearson 1934) 95 % interval of the share."""

    count: int
    n: int
    low: float
    high: float

    @classmethod
    def of(cls, count: int, n: int) -> "Share":
        """Return the share with its interval."""
        interval = binomtest(count, n).proportion_ci(CONFIDENCE, method="exact")
        return cls(count, n, float(interval.low), float(interval.high))


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of one rule's runs; times, requests and bad answers are medians, NaN where there were none.

    ``rolled_back`` on evidence; a run that its maximum duration ended is ``undecided``. ``time_s`` until the run was
    rolled back or promoted, whichever most runs were; ``requests`` and ``bad`` are the challenger's until then.
    """

    rule: str
    promoted: Share
    rolled_back: Share
    undecided: Share
    time_s: float
    requests: float
    bad: float

    def to_document(self) -> dict[str, Any]:
        """Return the trial as JSON; what can't be told is null."""
        row = asdict(self)
        return row | {name: None if row[name] != row[name] else row[name] for name in ("time_s", "requests", "bad")}


def forecast(policy: Policy, request_rate: float, champion: Mapping[str, float], *, runs: int, seed: int) -> Plan:
    """Return what the policy promises at a request rate; see ``rollout.plan``."""
    rng = np.random.default_rng(seed)
    return plan(policy, request_rate, rng=rng, champion=champion, tick_s=tick_of(policy), runs=runs)


def try_policy(policy: Policy, scenario: Scenario, *, runs: int, seed: int, peers: bool) -> Iterator[Trial]:
    """Yield what the policy makes of the scenario, then what its peers' rules make of the same."""
    results = simulate(policy, scenario, runs, np.random.default_rng(seed))
    yield _sum_up("this policy", results, policy.spec.max_duration)
    longer = replace(scenario, duration_s=max(scenario.duration_s, PEERS_NEED_S))
    for rule in peer_rules(policy) if peers else ():
        yield _sum_up(rule.name, try_rule(rule, longer, runs, np.random.default_rng(seed)))


def peer_rules(policy: Policy) -> tuple[Rule, ...]:
    """Return the peers' rules with the policy's own objectives as their limits; none of them sees scores."""
    slos = [slo for slo in policy.slos.values() if not isinstance(slo, ScoreSlo)]
    objectives = tuple(slo.objective for slo in slos)
    return (
        Argo(success=objectives),
        Flagger(success=objectives),
        Workbook(objectives=objectives),
        Kayenta(indicators=len(objectives)),
        GrowthBook(indicators=len(objectives)),
    )


def _sum_up(rule: str, results: Results, limit_s: float = math.inf) -> Trial:
    n = results.end.size
    promoted, rolled_back = int((results.end == End.PROMOTED).sum()), results.ended_within(End.ROLLED_BACK, limit_s)
    lost = int(rolled_back.sum())
    usual = End.PROMOTED if promoted > lost else End.ROLLED_BACK
    limit_s = math.inf if usual is End.PROMOTED else limit_s
    return Trial(
        rule=rule,
        promoted=Share.of(promoted, n),
        rolled_back=Share.of(lost, n),
        undecided=Share.of(n - promoted - lost, n),
        time_s=results.median("proven_s" if usual is End.PROMOTED else "ended_s", usual, limit_s),
        requests=results.median("requests", usual, limit_s),
        bad=results.median("bad", usual, limit_s),
    )
