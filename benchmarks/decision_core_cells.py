"""The benchmark's contenders and scenarios, and one cell of its table."""

from dataclasses import dataclass, replace

import numpy as np

from contracts.specs.rollout import RolloutSpec
from contracts.specs.slo import AvailabilitySlo, LatencySlo, ScoreSlo, Slo
from rollout.peers import argo, flagger, growthbook, kayenta, sre
from rollout.peers.rule import Rule
from rollout.peers.trial import try_rule
from rollout.policy import Policy, compile_policy
from rollout.simulate.engine import End, simulate
from rollout.simulate.scenario import Bursts, Outage, Quality, Rates, Scenario

ROOST = "Roost"
GOOD = 0.002
BUDGET = 0.005
BURSTS = Bursts(share=0.05, factor=15.0)
"""Every twentieth tick fails fifteen times as often as the mean: errors that are not independent."""

SLOW = Rates(0.0044, 0.0311)
"""Share slower than 1.25 s for lognormal latencies of median 0.5 s and sigma 0.35, and of 1.3 times that median."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One contender in one scenario at one request rate."""

    contender: str
    scenario: str
    request_rate: float
    runs: int


@dataclass(frozen=True, slots=True)
class Row:
    """What a cell measured; shares of runs, medians over the runs they concern (NaN when there are none).

    ``rolled_back_low`` and ``rolled_back_high``: the exact 95 % interval of the share (Clopper-Pearson).
    """

    contender: str
    scenario: str
    request_rate: float
    runs: int
    faulty: bool
    rolled_back: float
    rolled_back_low: float
    rolled_back_high: float
    promoted: float
    paused: float
    requests_until_rollback: float
    bad_until_rollback: float
    time_to_rollback_s: float
    time_to_promote_s: float


def scenarios(request_rate: float) -> dict[str, Scenario]:
    """Return the benchmark's situations at a request rate."""

    def one(name: str, challenger: float, **more: object) -> Scenario:
        base = Scenario(name, request_rate, {"availability": Rates(GOOD, challenger)}, duration_s=4.5 * 3600)
        return replace(base, **more)  # type: ignore[arg-type]

    burns = {f"burn {burn:g}": one(f"burn {burn:g}", min(burn * BUDGET, 1.0)) for burn in (1.5, 2, 4, 10, 40, 200)}
    return {
        "healthy": one("healthy", GOOD),
        **burns,
        "late onset": one("late onset", 0.2, onset_s=240.0),
        "latency x1.3": one("latency x1.3", GOOD, rates={"availability": Rates(GOOD, GOOD), "latency": SLOW}),
        "quality fall": one("quality fall", GOOD, quality={"typography": Quality(0.97, 0.85)}),
        "outage of both": one("outage of both", GOOD, outage=Outage(60.0, 1800.0, 0.2)),
        "bursts of one arm": one("bursts of one arm", GOOD, bursts=BURSTS),
        "bursts of both": one("bursts of both", GOOD, bursts=replace(BURSTS, shared=True)),
    }


FAULTLESS = frozenset({"healthy", "outage of both", "bursts of one arm", "bursts of both"})


def rules(indicators: int) -> dict[str, Rule]:
    """Return the peers with their documents' settings and their code's defaults."""
    success = (0.99,) * indicators
    objectives = (0.995, 0.99)[:indicators]
    found: list[Rule] = [
        flagger.Flagger(success=success),
        replace(flagger.code_defaults(), success=success),
        argo.Argo(success=success),
        replace(argo.code_defaults(), success=success),
        replace(kayenta.Kayenta(), indicators=indicators),
        replace(kayenta.code_default(), indicators=indicators),
        sre.Workbook(objectives=objectives),
        replace(sre.with_tickets(), objectives=objectives),
        growthbook.GrowthBook(indicators=indicators),
        replace(growthbook.documented_default(), indicators=indicators),
    ]
    return {rule.name: rule for rule in found}


def roost_policy(scenario: Scenario) -> Policy:
    """Return Roost's defaults for what the scenario counts: lag and tick of 10 s, least weight 0.2 %."""
    slos: dict[str, Slo] = {"availability": AvailabilitySlo(objective=0.995)}
    if "latency" in scenario.rates:
        slos["latency"] = LatencySlo.model_validate({"objective": 0.99, "threshold": "1250ms"})
    if scenario.quality:
        slos["typography"] = ScoreSlo(scorer="text-accuracy", objective=0.97)
    return compile_policy(RolloutSpec.model_validate({"reaction_lag": "10s", "min_weight": 0.002}), slos)


def measure(cell: Cell) -> Row:
    """Run one cell; its seed is its name, so that a table repeats."""
    scenario = scenarios(cell.request_rate)[cell.scenario]
    rng = np.random.default_rng([ord(letter) for letter in f"{cell.contender}{cell.scenario}{cell.request_rate}"])
    if cell.contender == ROOST:
        results = simulate(roost_policy(scenario), scenario, cell.runs, rng)
    else:
        results = try_rule(rules(len(scenario.rates))[cell.contender], scenario, cell.runs, rng)
    backs = int((results.end == End.ROLLED_BACK).sum())
    low, high = clopper_pearson(backs, cell.runs)
    proven = results.proven_s[results.end == End.PROMOTED]
    return Row(
        contender=cell.contender,
        scenario=cell.scenario,
        request_rate=cell.request_rate,
        runs=cell.runs,
        faulty=cell.scenario not in FAULTLESS,
        rolled_back=backs / cell.runs,
        rolled_back_low=low,
        rolled_back_high=high,
        promoted=results.share(End.PROMOTED),
        paused=results.share(End.PAUSED),
        requests_until_rollback=results.median("requests", End.ROLLED_BACK),
        bad_until_rollback=results.median("bad", End.ROLLED_BACK),
        time_to_rollback_s=results.median("ended_s", End.ROLLED_BACK),
        time_to_promote_s=float(np.median(proven)) if proven.size else float("nan"),
    )


def clopper_pearson(hits: int, runs: int, level: float = 0.05) -> tuple[float, float]:
    """Return the exact interval of a share."""
    from scipy.stats import beta

    low = float(beta.ppf(level / 2, hits, runs - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - level / 2, hits + 1, runs - hits)) if hits < runs else 1.0
    return low, high
