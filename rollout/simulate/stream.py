"""Requests and scores of a scenario, one tick for all runs at a time."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rollout.evidence.mixture import Array
from rollout.evidence.stack import CHALLENGER, CHAMPION
from rollout.simulate.scenario import Quality, Scenario, burst_factors

Counts = npt.NDArray[np.int64]
ArmScores = tuple[list[Array], list[Array]]


@dataclass(frozen=True, slots=True, eq=False)
class Happened:
    """One tick of all runs.

    ``bad``, ``total`` (runs, indicators, 1 + slices, 2) with all traffic first and the challenger first;
    ``assigned`` (runs, 2); ``scores`` per scored indicator and arm, one array per run.
    """

    bad: Array
    total: Array
    assigned: Array
    scores: tuple[ArmScores, ...]


def happen(
    scenario: Scenario, indicators: tuple[str, ...], weight: Array, at_s: float, rng: np.random.Generator
) -> Happened:
    """Draw what happens in the tick that ends at ``at_s``, at each run's ``weight`` (runs,)."""
    runs = weight.size
    middle_s = at_s - scenario.tick_s / 2
    arrived = rng.poisson(scenario.request_rate * scenario.swing(middle_s) * scenario.tick_s, runs)
    mine = rng.binomial(arrived, weight)
    assigned = np.stack([mine, arrived - mine], axis=-1)
    shares = tuple(scenario.parts.values()) or (1.0,)
    served = rng.multinomial(assigned, shares) if len(shares) > 1 else assigned[..., None]
    factor = burst_factors(scenario.bursts, runs, rng) if scenario.bursts is not None else np.ones((runs, 2))
    bad, total = [], []
    for indicator in indicators:
        rates = np.empty((runs, 2, len(shares)))
        for column, part in enumerate(tuple(scenario.parts) or ("",)):
            faulty = not scenario.faulty_part or part == scenario.faulty_part
            rates[..., column] = np.array(scenario.bad_rates(indicator, middle_s, faulty=faulty)) * factor
        failed = rng.binomial(served, np.minimum(rates, 1.0))
        bad.append(_with_parts(failed, parts=bool(scenario.parts)))
        total.append(_with_parts(served, parts=bool(scenario.parts)))
    broken = middle_s >= scenario.onset_s
    scores = [_scores(quality, assigned, rng, broken=broken) for quality in scenario.quality.values()]
    return Happened(np.stack(bad, axis=1), np.stack(total, axis=1), assigned.astype(float), tuple(scores))


def _with_parts(counts: Counts, *, parts: bool) -> Array:
    """Return (runs, 1 + slices, 2) from counts by arm and slice (runs, 2, slices)."""
    overall = counts.sum(axis=-1, keepdims=True)
    cells = np.concatenate([overall, counts], axis=-1) if parts else overall
    return np.asarray(np.moveaxis(cells, -1, 1), dtype=float)


def _scores(quality: Quality, assigned: Counts, rng: np.random.Generator, *, broken: bool) -> ArmScores:
    means = (quality.challenger if broken else quality.champion), quality.champion
    arms = []
    for arm in (CHALLENGER, CHAMPION):
        mean = means[arm]
        concentration = max(mean * (1 - mean) / quality.deviation**2 - 1.0, 0.1)
        sizes = rng.binomial(assigned[:, arm], quality.sample)
        drawn = rng.beta(mean * concentration, (1 - mean) * concentration, int(sizes.sum()))
        arms.append(np.split(drawn, np.cumsum(sizes)[:-1]))
    return arms[0], arms[1]
