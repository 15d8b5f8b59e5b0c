"""The error rates that a comparison promises, by simulation with fixed seeds: however early it stops."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from controlplane.evaluation.evidence import BettingEvidence
from evaluation.side_by_side.verdicts import Finding, judge

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
