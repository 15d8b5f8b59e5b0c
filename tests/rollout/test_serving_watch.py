"""The watch over a serving version: rare alarms when all is well, prompt ones when it is not, also after a restart."""

import numpy as np
import pytest

from contracts.errors import InvalidInput
from contracts.specs.slo import AvailabilitySlo, ScoreSlo, Slo
from rollout.evidence.counts import Tally
from rollout.serving_watch import Alarm, Glance, ServingWatch, begin_watch, watch

DAY_S = 86400.0
OBJECTIVES: dict[str, Slo] = {"availability": AvailabilitySlo(objective=0.99, window=DAY_S / 4)}


def run(
    rates: np.ndarray, per_tick: int, rng: np.random.Generator, *, burns: bool = True
) -> tuple[ServingWatch, list[tuple[int, Alarm]]]:
    """Watch one stream of minutes with the given bad rates."""
    state, alarms = begin_watch(0.0), []
    for index, rate in enumerate(rates):
        tally = {"availability": Tally(int(rng.binomial(per_tick, rate)), per_tick)}
        glance = Glance((index + 1) * 60.0, tally, tally if burns else {})
        state, found = watch(OBJECTIVES, state, glance, false_alarms=0.01)
        alarms += [(index, alarm) for alarm in found]
    return state, alarms


def codes(alarms: list[tuple[int, Alarm]]) -> list[str]:
    return [alarm.code for _, alarm in alarms]


@pytest.mark.slow
def test_false_proofs_within_a_window_are_as_rare_as_promised() -> None:
    """At the very bound, 100 windows: a binomial with p = 1 % exceeds 5 with probability below 0.1 %."""
    rng = np.random.default_rng(5)
    proofs = sum("watch.harm-proven" in codes(run(np.full(359, 0.01), 40, rng, burns=False)[1]) for _ in range(100))
    assert proofs <= 5


def test_harm_that_begins_late_is_proven_once_and_pages() -> None:
    rates = np.r_[np.full(600, 0.002), np.full(120, 0.25)]
    _, alarms = run(rates, 20, np.random.default_rng(1))
    proven = [index for index, alarm in alarms if alarm.code == "watch.harm-proven"]
    assert len(proven) == 1
    assert 600 <= proven[0] <= 615
    paged = [index for index, alarm in alarms if alarm.code == "burn.page"]
    assert paged
    assert paged[0] >= 600


def test_a_burn_that_ends_is_told_and_may_come_again() -> None:
    rates = np.r_[np.full(30, 0.3), np.full(400, 0.0), np.full(60, 0.3)]
    _, alarms = run(rates, 50, np.random.default_rng(2))
    told = [alarm.code for _, alarm in alarms if alarm.code in {"burn.page", "burn.over"}]
    assert told.count("burn.over") >= 1
    assert "burn.page" in told[told.index("burn.over") :]


def test_few_bad_answers_wake_nobody() -> None:
    state = begin_watch(0.0)
    tally = {"availability": Tally(2, 2)}
    _, alarms = watch(OBJECTIVES, state, Glance(60.0, {}, tally), false_alarms=0.01)
    assert alarms == ()


def test_a_silent_version_is_not_proven_anything() -> None:
    state = begin_watch(0.0)
    for minute in range(200):
        state, alarms = watch(OBJECTIVES, state, Glance(minute * 60.0), false_alarms=0.01)
        assert alarms == ()


def test_scores_that_fall_are_proven() -> None:
    objectives: dict[str, Slo] = {"text": ScoreSlo(scorer="ocr", objective=0.95, margin=0.05)}
    state, found = begin_watch(0.0), list[Alarm]()
    for second in range(400):
        scores = {"text": (1.0 if second < 200 or second % 2 else 0.0,)}
        state, alarms = watch(objectives, state, Glance(second + 1.0, scores=scores), false_alarms=0.01)
        found += alarms
    assert [alarm.code for alarm in found] == ["watch.harm-proven"]


def test_a_watch_goes_on_from_its_json_as_if_nothing_happened() -> None:
    rng = np.random.default_rng(3)
    state, _ = run(rng.uniform(0.0, 0.02, size=500), 20, rng)
    again = ServingWatch.from_json(state.to_json())
    assert again == state
    glance = Glance(40000.0, {"availability": Tally(9, 20)}, {"availability": Tally(9, 20)})
    assert watch(OBJECTIVES, again, glance, false_alarms=0.01) == watch(OBJECTIVES, state, glance, false_alarms=0.01)


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 9}', '{"schema": 1, "since_s": 0}'])
def test_what_is_no_watch_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="watch"):
        ServingWatch.from_json(text)
