"""The split: sticky, monotone, fair, and independent between rollouts."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from contracts.ids import VersionId
from contracts.rng import SeededRng
from contracts.wire.routing import Split
from serving.gateway.split import Arms, goes_to_challenger, is_mirrored, is_sampled, unit_interval

USERS = [f"user-{index}" for index in range(20_000)]
REQUESTS = ["r-" + token for token in map(SeededRng(1).token, [8] * len(USERS))]


def split(weight: float, salt: str = "first-salt") -> Arms:
    return Arms.of(Split(rollout_id="r", salt=salt, challenger=VersionId("m", 2), weight=weight, mirror_share=0.5))


@given(st.text(max_size=40), st.floats(0, 1), st.floats(0, 1))
def test_raising_the_weight_moves_nobody_back(key: str, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert not goes_to_challenger(split(low), key) or goes_to_challenger(split(high), key)


@given(st.text(max_size=40))
def test_the_ends_are_exact(key: str) -> None:
    assert not goes_to_challenger(split(0.0), key)
    assert goes_to_challenger(split(1.0), key)


def test_keys_are_spread_evenly() -> None:
    u = [unit_interval("first-salt", user) for user in USERS]
    assert stats.kstest(u, "uniform").pvalue > 1e-4


def test_two_rollouts_mirroring_and_sampling_choose_independently() -> None:
    first = np.array([unit_interval("first-salt", user) < 0.1 for user in USERS])
    second = np.array([unit_interval("second-salt", user) < 0.1 for user in USERS])
    mirrored = np.array([is_mirrored(split(0.1), request_id) for request_id in REQUESTS])
    sampled = np.array([is_sampled(0.3, request_id, 0) for request_id in REQUESTS])
    for one, other, share in ((first, second, 0.1), (first, mirrored, 0.5), (sampled, mirrored, 0.5)):
        both = int((one & other).sum())
        assert stats.binomtest(both, int(one.sum()), share).pvalue > 1e-4
