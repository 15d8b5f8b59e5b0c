"""Every e-process: supermartingale by exact enumeration, closed forms, extremes, round trips, type-I error."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, special, stats

from contracts.errors import InvalidInput
from rollout.evidence import bounds, dispersion, mixture, sample_ratio, two_arm
from rollout.evidence.bounds import MeanBounds
from rollout.evidence.counts import Side, Tally, counts_test, log_factor
from rollout.evidence.dispersion import Dispersion
from rollout.evidence.mixture import Array, EProcess
from rollout.evidence.scores import scores_test
from rollout.evidence.two_arm import ArmsArrays, ArmsTick, arms_test

SIDES = [Side.HARM, Side.SAFE]
TINY = 1e-9


@pytest.mark.parametrize("bound", [1e-6, 0.005, 0.3, 0.9])
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("inside", [1.0, 0.7, 0.1])
def test_counts_are_a_supermartingale_under_every_member_of_the_null(bound: float, side: Side, inside: float) -> None:
    test = counts_test(bound, side)
    rate = bound * inside if side is Side.HARM else 1 - (1 - bound) * inside
    state = test.update(test.start(), Tally(1, 3), onset=0.1)
    before = math.exp(state.log_evidence)
    for n in (1, 2, 5):
        mean = sum(
            stats.binom.pmf(x, n, rate) * math.exp(test.update(state, Tally(x, n), onset=0.05).log_evidence)
            for x in range(n + 1)
        )
        assert mean <= before * (1 + TINY)
        if inside == 1.0:
            assert mean == pytest.approx(before)


@pytest.mark.parametrize("ratio", [1.0, 1.5, 3.0])
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("base", [0.01, 0.2])
@pytest.mark.parametrize("sizes", [(1, 9), (4, 4), (6, 2), (0, 3), (3, 0)])
@pytest.mark.parametrize("history", [Tally(0, 100), Tally(40, 100)])
def test_two_arms_are_a_supermartingale_whatever_the_split(
    ratio: float, side: Side, base: float, sizes: tuple[int, int], history: Tally
) -> None:
    test = arms_test(ratio, side)
    state = test.update(test.start(), ArmsTick(history, history), onset=0.1)
    before = math.exp(state.process.log_evidence)
    c, b = sizes
    for inside in (1.0, 0.6) if side is Side.HARM else (1.0, 1.4):
        challenger = min(ratio * base * inside, 1.0)
        mean = sum(
            stats.binom.pmf(x, c, challenger)
            * stats.binom.pmf(y, b, base)
            * math.exp(test.update(state, ArmsTick(Tally(x, c), Tally(y, b)), onset=0.05).process.log_evidence)
            for x, y in itertools.product(range(c + 1), range(b + 1))
        )
        assert mean <= before * (1 + TINY)


@pytest.mark.parametrize("weight", [0.02, 0.5])
@pytest.mark.parametrize("base", [0.05, 0.6])
def test_small_ticks_use_the_coin_and_are_exact(weight: float, base: float) -> None:
    test = arms_test(1.5, Side.HARM)
    state = test.start()
    challenger = min(1.5 * base, 1.0)
    n, mean = 3, 0.0
    for c in range(n + 1):
        for x, y in itertools.product(range(c + 1), range(n - c + 1)):
            chance = stats.binom.pmf(c, n, weight) * stats.binom.pmf(x, c, challenger) * stats.binom.pmf(y, n - c, base)
            tick = ArmsTick(Tally(x, c), Tally(y, n - c))
            mean += chance * math.exp(test.update(state, tick, weight=weight).process.log_evidence)
    assert mean == pytest.approx(1.0)


@pytest.mark.parametrize("bound", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("side", SIDES)
def test_bets_are_a_supermartingale_for_any_scores_of_the_bounding_mean(bound: float, side: Side) -> None:
    test = scores_test(bound, side)
    state = test.update(test.start(), [0.2, 0.9], onset=0.1)
    before = math.exp(state.log_evidence)
    for low, high in ((0.0, 1.0), (bound / 2, min(1.0, bound * 1.05)), (bound, bound)):
        chance = (bound - low) / (high - low) if high > low else 1.0
        mean = chance * math.exp(test.update(state, [high]).log_evidence)
        mean += (1 - chance) * math.exp(test.update(state, [low]).log_evidence)
        assert mean == pytest.approx(before)


@given(
    ticks=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=8),
    bound=st.floats(1e-5, 0.95),
    side=st.sampled_from(SIDES),
    onset=st.floats(0, 0.3),
)
def test_evidence_is_never_negative_nor_lost_in_json(
    ticks: list[tuple[int, int]], bound: float, side: Side, onset: float
) -> None:
    test = counts_test(bound, side)
    state = test.start()
    assert state.log_evidence == pytest.approx(0.0)
    for bad, more in ticks:
        state = test.update(state, Tally(bad, bad + more), onset=onset)
        assert math.isfinite(state.log_evidence)
        assert 0.0 <= state.unspent <= 1.0
        assert EProcess.from_json(state.to_json()) == state


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("bound", [1e-6, 0.01, 0.99])
def test_extremes_stay_finite(side: Side, bound: float) -> None:
    test = counts_test(bound, side)
    for tick in (Tally(0, 0), Tally(0, 10**9), Tally(10**9, 10**9), Tally(1000, 10**9)):
        state = test.update(test.start(), tick, onset=0.01)
        assert math.isfinite(state.log_evidence)
        assert test.update(state, Tally(0, 0)).log_evidence == pytest.approx(state.log_evidence)
    arms = arms_test(1.5, side)
    for tick in (Tally(0, 10**9), Tally(10**9, 10**9), Tally(1, 10**9)):
        both = arms.update(arms.start(), ArmsTick(tick, tick))
        assert math.isfinite(arms.update(both, ArmsTick(tick, Tally(0, 10**9))).process.log_evidence)


def test_a_tick_at_once_or_request_by_request_is_the_same_without_onset() -> None:
    test = counts_test(0.01, Side.SAFE)
    whole = test.update(test.start(), Tally(2, 7))
    single = test.start()
    for bad in (1, 0, 0, 1, 0, 0, 0):
        single = test.update(single, Tally(bad, 1))
    assert whole.log_evidence == pytest.approx(single.log_evidence)


def test_the_mixture_is_the_one_written_down() -> None:
    test = counts_test(0.01, Side.HARM)
    rates = 0.01 * np.exp(test.per_bad)
    prior = np.exp(test.log_prior)
    likelihood = stats.binom.pmf(3, 50, rates) / stats.binom.pmf(3, 50, 0.01)
    expected = ((0.5 + 0.1) * prior * likelihood).sum() + 0.4
    assert math.exp(test.update(test.start(), Tally(3, 50), onset=0.1).log_evidence) == pytest.approx(expected)


def test_the_common_factor_is_the_ratio_to_the_nearest_null() -> None:
    ratios, null = np.array([3.0]), np.array(1.5)
    bad, total, base = np.array([5.0, 2.0]), np.array([10.0, 20.0]), np.array(0.1)

    def distance(q: float) -> float:
        def divergence(p: float, r: float) -> float:
            return float(special.rel_entr(p, r) + special.rel_entr(1 - p, 1 - r))

        return 10 * divergence(0.3, 1.5 * q) + 20 * divergence(0.1, q)

    nearest = optimize.minimize_scalar(distance, bounds=(1e-6, 0.66), method="bounded", options={"xatol": 1e-12}).x
    expected = stats.binom.logpmf(5, 10, 0.3) + stats.binom.logpmf(2, 20, 0.1)
    expected -= stats.binom.logpmf(5, 10, 1.5 * nearest) + stats.binom.logpmf(2, 20, nearest)
    found = two_arm.common_log_factor(ratios, null, bad, total, base)
    assert found[0] == pytest.approx(expected, abs=1e-6)


def test_for_rare_events_both_two_arm_factors_agree() -> None:
    ratios, null = np.array([5.0]), np.array(1.0)
    bad, total = np.array([3.0, 1.0]), np.array([2e6, 6e6])
    rare = two_arm.rare_log_factor(ratios, null, bad, total)
    common = two_arm.common_log_factor(ratios, null, bad, total, np.array(1e-7))
    assert rare[0] == pytest.approx(common[0], rel=1e-3)


@pytest.mark.parametrize(
    ("bad", "total"), [(0, 1), (0, 10**6), (3, 5), (5, 1000), (1000, 10**9), (1, 10**9), (500, 1000)]
)
def test_the_upper_rate_is_the_root_of_the_mixture(bad: int, total: int) -> None:
    upper = float(bounds.upper_rate(np.array(bad), np.array(total), np.array(0.05)))
    likelihood = special.xlogy(bad, upper) + special.xlog1py(total - bad, -upper)
    mixed = special.betaln(bad + 0.5, total - bad + 0.5) - special.betaln(0.5, 0.5)
    assert mixed - likelihood == pytest.approx(-math.log(0.05), abs=1e-5)
    assert upper > bad / total
    lower = float(bounds.lower_rate(np.array(bad), np.array(total), np.array(0.05)))
    assert lower <= bad / total


def test_bounds_without_data_say_nothing() -> None:
    assert float(bounds.upper_rate(np.array(0), np.array(0), np.array(0.05))) == 1.0
    assert float(bounds.lower_rate(np.array(0), np.array(0), np.array(0.05))) == 0.0
    assert bounds.quantile_bounds([], 0.5, 0.05) == (-math.inf, math.inf)
    assert MeanBounds().interval() == (0.0, 1.0)
    with pytest.raises(InvalidInput, match="quantile"):
        bounds.quantile_bounds([1.0], 1.0, 0.05)


def test_mean_and_quantile_bounds_hold_the_truth_and_shrink() -> None:
    rng = np.random.default_rng(4)
    values = rng.beta(18, 2, 2000)
    state = MeanBounds()
    for part in np.split(values, 20):
        state = state.update(part.tolist())
        low, high = state.interval()
        assert low <= 0.9 <= high
    assert high - low < 0.05
    assert MeanBounds.from_json(state.to_json()) == state
    lowest, highest = bounds.quantile_bounds(values.tolist(), 0.5, 0.05)
    assert lowest <= stats.beta.median(18, 2) <= highest
    assert highest - lowest < 0.02


def test_dispersion_is_one_for_independent_requests_and_more_for_bursts() -> None:
    rng = np.random.default_rng(8)

    def phi(rates: Array) -> float:
        bad, total = rng.binomial(200, rates).astype(float), np.full(rates.size, 200.0)
        term, usable = dispersion.pair_term(bad[1:], total[1:], bad[:-1], total[:-1])
        return float(dispersion.estimate(np.array(term[usable].sum()), np.array(usable.sum())))

    assert phi(np.full(3000, 0.01)) == pytest.approx(1.0, abs=0.1)
    assert phi(np.where(rng.random(3000) < 0.1, 0.1, 0.005)) > 1.8
    step = phi(np.repeat([0.002, 0.3], [300, 10]))
    assert step < dispersion.THRESHOLD


def test_the_sample_ratio_sees_a_wrong_split_and_not_a_right_one() -> None:
    def evidence(challenger: int, champion: int) -> float:
        weight = np.array([0.1])
        factor = sample_ratio.log_factor(weight, np.array([float(challenger)]), np.array([float(champion)]))
        state = mixture.start(sample_ratio.LOG_PRIOR, late_onset=True)
        return mixture.update(state, sample_ratio.LOG_PRIOR, factor).log_evidence

    needed = -math.log(sample_ratio.LEVEL)
    assert evidence(1000, 9000) < 0
    assert evidence(1300, 8700) > needed
    assert evidence(700, 9300) > needed
    assert sample_ratio.log_factor(np.array([0.0, 1.0]), np.array([0.0, 9.0]), np.array([5.0, 0.0])).max() == 0.0


def test_states_of_their_own_round_trip() -> None:
    arms = arms_test(1.5, Side.HARM)
    state = arms.update(arms.start(), ArmsTick(Tally(3, 10), Tally(1, 90)), weight=0.1, onset=0.01)
    assert two_arm.ArmsState.from_json(state.to_json()) == state
    bursts = Dispersion().update(Tally(3, 10)).update(Tally(0, 0)).update(Tally(9, 10))
    assert bursts.estimate > 1.0
    assert Dispersion.from_json(bursts.to_json()) == bursts
    split = sample_ratio.update(sample_ratio.start(), 0.5, 60, 40, onset=0.01)
    assert EProcess.from_json(split.to_json()) == split
    for read in (two_arm.ArmsState.from_json, Dispersion.from_json):
        with pytest.raises(InvalidInput, match="not the state"):
            read("{}")
    with pytest.raises(InvalidInput, match="weight"):
        sample_ratio.update(split, 1.5, 1, 1)
    with pytest.raises(InvalidInput, match="negative"):
        sample_ratio.update(split, 0.5, -1, 1)


@pytest.mark.parametrize("broken", [Tally(-1, 3), Tally(1, -3), Tally(4, 3)])
def test_counts_that_can_not_be_are_refused(broken: Tally) -> None:
    test, arms = counts_test(0.01, Side.HARM), arms_test(1.5, Side.HARM)
    with pytest.raises(InvalidInput, match="tick"):
        test.update(test.start(), broken)
    with pytest.raises(InvalidInput, match="champion"):
        arms.update(arms.start(), ArmsTick(Tally(0, 1), broken))


@pytest.mark.parametrize("bound", [0.0, 1.0, -1.0, math.nan])
def test_bounds_that_can_not_be_tested_are_refused(bound: float) -> None:
    for make in (counts_test, scores_test):
        with pytest.raises(InvalidInput, match="bound"):
            make(bound, Side.HARM)
    with pytest.raises(InvalidInput, match="null_ratio"):
        arms_test(-1.0, Side.HARM)
    test = scores_test(0.5, Side.HARM)
    with pytest.raises(InvalidInput, match="scores"):
        test.update(test.start(), [1.5])
    with pytest.raises(InvalidInput, match="evidence"):
        EProcess.from_json("[1]")
    with pytest.raises(InvalidInput, match="bounds"):
        MeanBounds.from_json("{}")


RUNS, LOOKS, ALPHA = 2000, 2000, 0.05
Draw = Callable[[np.random.Generator, int], Array]


def _ever_crossed(log_prior: Array, factors: Draw, *, late_onset: bool) -> float:
    """Return the share of runs under the null whose evidence ever reached 1/α, looking at every tick."""
    rng = np.random.default_rng(17)
    share = mixture.ONSET_AT_START if late_onset else 1.0
    log_s = np.broadcast_to(log_prior + math.log(share), (RUNS, log_prior.size))
    unspent = np.full(RUNS, 1.0 - share)
    mass = np.full(RUNS, (1.0 - share) / LOOKS)
    crossed = np.zeros(RUNS, dtype=bool)
    for look in range(LOOKS):
        log_s, unspent = mixture.advance(log_s, unspent, log_prior, mass, factors(rng, look))
        crossed |= mixture.log_evidence(log_s, unspent) >= -math.log(ALPHA)
    return float(crossed.mean())


@pytest.mark.slow
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("bound", [0.005, 0.3])
def test_type_one_error_of_counts(side: Side, bound: float) -> None:
    test = counts_test(bound, side)

    def factors(rng: np.random.Generator, look: int) -> Array:
        n = rng.poisson(10 * (1 + look % 3), RUNS).astype(float)
        return log_factor(test.per_bad, test.per_good, rng.binomial(n.astype(int), bound).astype(float), n)

    assert _ever_crossed(test.log_prior, factors, late_onset=side is Side.HARM) <= ALPHA


@pytest.mark.slow
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("base", "rate"), [(0.01, 30), (0.2, 30), (0.1, 3)])
def test_type_one_error_of_two_arms_under_moving_weights_and_outages(side: Side, base: float, rate: int) -> None:
    test = arms_test(1.5, side)
    seen_bad, seen_total = np.zeros((RUNS, 2)), np.zeros((RUNS, 2))

    def factors(rng: np.random.Generator, look: int) -> Array:
        weight = (0.02, 0.1, 0.5)[look % 3]
        outage = 3.0 if look % 50 < 5 else 1.0
        arrived = rng.poisson(rate, RUNS)
        mine = rng.binomial(arrived, weight)
        total = np.stack([mine, arrived - mine], axis=-1)
        bad = rng.binomial(total, np.array([1.5, 1.0]) * base * outage)
        arrays = ArmsArrays(bad.astype(float), total.astype(float), np.full(RUNS, weight))
        null = np.full(RUNS, 1.5)
        factor = two_arm.log_factor(test.ratios, null, arrays, seen_bad=seen_bad.copy(), seen_total=seen_total.copy())
        seen_bad[...] += bad
        seen_total[...] += total
        return factor

    assert _ever_crossed(test.log_prior, factors, late_onset=side is Side.HARM) <= ALPHA


@pytest.mark.slow
@pytest.mark.parametrize("side", SIDES)
def test_type_one_error_of_scores(side: Side) -> None:
    from rollout.evidence.scores import log_factor as bet_factor

    test = scores_test(0.9, side)
    bound = np.full(RUNS, 0.9)

    def factors(rng: np.random.Generator, look: int) -> Array:
        scores = rng.beta(9, 1, (RUNS, 3)) if look % 2 else (rng.random((RUNS, 3)) < 0.9).astype(float)
        return bet_factor(test.bets, bound, scores)

    assert _ever_crossed(test.log_prior, factors, late_onset=side is Side.HARM) <= ALPHA


@pytest.mark.slow
def test_type_one_error_of_the_sample_ratio() -> None:
    def factors(rng: np.random.Generator, look: int) -> Array:
        weight = np.full((RUNS, 1), (0.01, 0.1, 0.5)[look % 3])
        arrived = rng.poisson(50, (RUNS, 1))
        mine = rng.binomial(arrived, weight)
        return sample_ratio.log_factor(weight, mine.astype(float), (arrived - mine).astype(float))

    assert _ever_crossed(sample_ratio.LOG_PRIOR, factors, late_onset=True) <= ALPHA


@pytest.mark.slow
def test_coverage_of_the_rate_bounds_at_every_tick() -> None:
    rng = np.random.default_rng(6)
    bad, missed = np.zeros(RUNS), np.zeros(RUNS, dtype=bool)
    for look in range(1, 1000):
        bad += rng.binomial(20, 0.01, RUNS)
        total, level = np.full(RUNS, 20.0 * look), np.array(0.05)
        missed |= (bounds.upper_rate(bad, total, level) < 0.01) | (bounds.lower_rate(bad, total, level) > 0.01)
    assert missed.mean() <= 0.05
