"""The error rates that a comparison promises, by simulation with fixed seeds: however early it stops."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from controlplane.evaluation.evidence import BettingEvidence, paired_test
from evaluation.side_by_side.verdicts import Finding, judge
from rollout.evidence.counts import Side
from rollout.evidence.scores import scores_test

RUNS, PAIRS, ALPHA, TOLERANCE = 250, 300, 0.05, 0.1
# With a true error rate of α more false findings than this are seen in one of 10 000 such simulations.
MOST_FALSE = int(binom.ppf(0.9999, RUNS, ALPHA))


def first_finding(differences: NDArray[np.float64]) -> Finding:
    evidence = BettingEvidence(TOLERANCE, alpha_harm=ALPHA, alpha_safe=ALPHA)
    for n, difference in enumerate(differences, start=1):
        evidence.add(float(difference), float(difference))
        finding = judge(evidence.claims(), n)
        if finding.is_decided:
            return finding
    return judge(evidence.claims(), len(differences))


def scores_at(mean: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Differences of two binary scores with this mean: a third of the pairs differ."""
    up = (1 / 3 + mean) / 2
    return rng.choice([1.0, -1.0, 0.0], size=PAIRS, p=[up, 1 / 3 - up, 2 / 3])


MANY, LOOKS, STRICT, FINE = 1000, 400, 0.01, 0.05
"""Streams, pairs in each, error rate and tolerance of the simulations of the test itself."""


def differences_at_the_bound(kind: str, rng: np.random.Generator) -> NDArray[np.float64]:
    """One difference of each stream, of mean minus the tolerance: rare losses, much disagreement, small steps, none."""
    if kind == "rare losses":
        return -(rng.random(MANY) < FINE).astype(float)
    if kind == "disagreement":
        return rng.choice([1.0, -1.0, 0.0], size=MANY, p=[0.175, 0.225, 0.6])
    if kind == "steps":
        return np.clip(rng.normal(0.0, 0.1, MANY), -0.9, 0.9) - FINE
    return np.full(MANY, -FINE)


def wealth(kind: str, side: Side, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the largest evidence that each stream ever had."""
    test = paired_test((1 - FINE) / 2, side)
    log_s = np.tile(test.log_prior, (MANY, 1))
    largest = np.zeros(MANY)
    for _ in range(LOOKS):
        shortfall = test.bound - (1 + differences_at_the_bound(kind, rng)) / 2
        log_s += np.log1p(shortfall[:, None] * test.bets)
        largest = np.maximum(largest, np.logaddexp.reduce(log_s, axis=1))
    return largest


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("kind", ["rare losses", "disagreement", "steps", "no noise"])
def test_at_its_bound_the_test_is_wrong_at_most_as_often_as_promised(kind: str, side: Side) -> None:
    """Looked at after every pair, over streams that hardly vary and streams that vary much."""
    wrong = int((wealth(kind, side, np.random.default_rng(11)) >= -np.log(STRICT)).sum())
    assert wrong <= binom.ppf(0.9999, MANY, STRICT)


def test_pairs_that_hardly_vary_are_decided_a_quarter_sooner_than_by_even_shares() -> None:
    """What the largest bet's share of the prior is for: a variant that draws the same pictures, and a clear harm."""

    def pairs_until(log_prior: NDArray[np.float64], difference: float, side: Side) -> int:
        test = scores_test((1 - FINE) / 2, side)
        gain = np.log1p(test.bets * (test.bound - (1 + difference) / 2))
        evidence = np.logaddexp.reduce(np.arange(1, 1000)[:, None] * gain + log_prior, axis=1)
        return int(np.flatnonzero(evidence >= -np.log(STRICT))[0]) + 1

    for difference, side in ((0.0, Side.SAFE), (-0.5, Side.HARM)):
        even = pairs_until(scores_test((1 - FINE) / 2, side).log_prior, difference, side)
        assert pairs_until(paired_test((1 - FINE) / 2, side).log_prior, difference, side) <= 0.75 * even


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mean", "false"),
    [
        (-TOLERANCE, {Finding.WORSE}),
        (-TOLERANCE, {Finding.EQUIVALENT, Finding.NOT_WORSE, Finding.BETTER}),
        (TOLERANCE, {Finding.BETTER}),
    ],
)
def test_at_the_boundary_each_claim_is_false_at_most_as_often_as_promised(mean: float, false: set[Finding]) -> None:
    rng = np.random.default_rng(5)
    findings = [first_finding(scores_at(mean, rng)) for _ in range(RUNS)]
    assert sum(finding in false for finding in findings) <= MOST_FALSE


@pytest.mark.slow
def test_large_differences_are_found_nearly_always() -> None:
    rng = np.random.default_rng(6)
    worse = [first_finding(scores_at(-0.3, rng)) for _ in range(60)]
    assert worse.count(Finding.WORSE) >= 57


def test_bounds_of_a_missing_score_speak_against_every_claim() -> None:
    """Nothing is proven by pairs of which nothing is known, however many there are."""
    evidence = BettingEvidence(TOLERANCE, alpha_harm=ALPHA, alpha_safe=ALPHA)
    for _ in range(500):
        evidence.add(-1.0, 1.0)
    claims = evidence.claims()
    assert [claims.worse, claims.better, claims.not_worse, claims.not_better] == [False] * 4


def test_the_interval_holds_the_mean_at_all_times() -> None:
    rng = np.random.default_rng(7)
    missed = 0
    for _ in range(40):
        evidence = BettingEvidence(TOLERANCE, alpha_harm=ALPHA, alpha_safe=ALPHA)
        out = False
        for difference in scores_at(-0.1, rng)[:120]:
            evidence.add(float(difference), float(difference))
            low, high = evidence.interval()
            out = out or not low <= -0.1 <= high
        missed += out
    assert missed <= binom.ppf(0.9999, 40, 0.05)
