"""Room for a rollout: plans that never take more memory than there is, nor leave either version too few workers."""

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.ids import VersionId
from contracts.specs.service import Workers
from contracts.wire.capacity import WorkerLimits
from controlplane.loop.room import Holding, Need, Question, Smaller, is_still_proven, plan_room
from rollout.observation import Fit

GIB = 1 << 30
CHAMPION, CHALLENGER = VersionId("m", 1), VersionId("m", 2)


def question(
    *,
    budget: float,
    replicas: int = 2,
    each: float = 1.3,
    worker_rate: float | None = 4.0,
    traffic: float | None = 1.0,
    others: tuple[Holding, ...] = (),
    at_least: int | None = None,
    share: bool = False,
    smaller: tuple[Smaller, ...] = (),
    cores: int | None = None,
) -> Question:
    """A question about two versions of the same size; memory in GiB, rates in requests per second."""
    return Question(
        champion=Need(CHAMPION, int(each * GIB), worker_rate),
        challenger=Need(CHALLENGER, int(each * GIB), worker_rate, smaller=smaller),
        workers=Workers(replicas=replicas, at_least=at_least, share=share),
        budget_bytes=int(budget * GIB),
        rate=traffic,
        others=others,
        cores=cores,
    )


def test_both_run_with_all_workers_where_all_fit() -> None:
    room = plan_room(question(budget=6.0))
    assert (room.fit, room.champion, room.challenger, room.carries) == (Fit.WHOLE, 2, 2, None)


def test_a_challenger_starts_smaller_before_the_champion_gives_anything_up() -> None:
    room = plan_room(question(budget=4.0))
    assert (room.fit, room.champion, room.challenger) == (Fit.REDUCED, 2, 1)
    assert room.sentence == "both versions need 5.2 GiB of 4 GiB: the challenger starts with 1 of 2"
    assert room.carries == pytest.approx(0.7 * 4.0)


def test_a_champion_gives_up_what_its_traffic_does_not_need_and_the_plan_says_so() -> None:
    room = plan_room(question(budget=2.7))
    assert (room.fit, room.champion, room.challenger) == (Fit.REDUCED, 1, 1)
    assert "both versions need 5.2 GiB of 2.7 GiB" in room.sentence
    assert "1 of 2 champion replicas is drained first and back after the rollout" in room.sentence
    assert "good for 2.8 requests/s; the busiest of late were 1" in room.sentence


def test_no_worker_is_taken_away_that_the_traffic_needs() -> None:
    room = plan_room(question(budget=4.0, traffic=3.0))
    assert (room.fit, room.champion, room.challenger) == (Fit.WAITING, 2, 2)
    assert "fewer workers can't carry 3 requests/s: it waits for less traffic" in room.sentence


def test_what_nobody_measured_is_not_taken_away_but_on_the_spec_s_word() -> None:
    unknown = plan_room(question(budget=4.0, worker_rate=None))
    assert unknown.fit is Fit.NEVER
    assert "profile both versions, or say so in workers.at_least" in unknown.sentence
    told = plan_room(question(budget=2.7, worker_rate=None, at_least=1))
    assert (told.fit, told.champion, told.challenger) == (Fit.REDUCED, 1, 1)
    assert "1 left, enough by the spec" in told.sentence


def test_more_workers_than_cores_carry_no_more() -> None:
    assert plan_room(question(budget=4.0, traffic=2.0, cores=1)).fit is Fit.REDUCED
    assert plan_room(question(budget=8.0, replicas=3, traffic=5.0, cores=1, each=1.5)).fit is not Fit.REDUCED


def test_a_challenger_shares_what_memory_is_left_in_smaller_batches_when_the_spec_allows() -> None:
    half = Smaller(WorkerLimits(max_batch_size=2, memory_limit_bytes=GIB // 2), GIB // 2, rate=2.0)
    tiny = Smaller(WorkerLimits(max_batch_size=1, memory_limit_bytes=GIB // 4), GIB // 4, rate=1.0)
    asked = question(budget=2.0, replicas=1, share=True, smaller=(half, tiny))
    room = plan_room(asked)
    assert (room.fit, room.champion, room.challenger, room.limits) == (Fit.SHARED, 1, 1, half.limits)
    assert "the challenger draws 2 at once in 512 MiB each" in room.sentence
    tight = plan_room(question(budget=1.6, replicas=1, share=True, smaller=(half, tiny)))
    assert tight.fit is Fit.WAITING, "the smallest one can't carry the traffic that a promotion brings"
    assert plan_room(question(budget=2.0, replicas=1, smaller=(half, tiny))).fit is Fit.NEVER


def test_what_is_waited_for_is_named() -> None:
    rollout = Holding("k@7 of rollout kites-7", 2 * GIB, passes=True)
    service = Holding("k@6, champion of kites", GIB)
    passing = plan_room(question(budget=4.0, others=(rollout, service)))
    assert (passing.fit, passing.starts) == (Fit.WAITING, False)
    assert passing.sentence.endswith("it waits for k@7 of rollout kites-7 (2 GiB)")
    assert "of 4 GiB, of which 1 GiB are left" in passing.sentence
    lasting = plan_room(question(budget=4.0, others=(Holding("k@6, champion of kites", 3 * GIB),)))
    assert lasting.sentence.endswith("it waits until others have ended: k@6, champion of kites (3 GiB)")


def test_what_never_fits_is_told_at_once() -> None:
    room = plan_room(question(budget=2.0, replicas=1))
    assert room.fit is Fit.NEVER
    assert "can't run side by side" in room.sentence


def test_a_plan_holds_until_the_traffic_outgrows_what_it_left() -> None:
    room = plan_room(question(budget=2.7))
    assert is_still_proven(room, question(budget=2.7, traffic=2.5))
    assert not is_still_proven(room, question(budget=2.7, traffic=3.5))


rates = st.none() | st.floats(0.01, 50)


@st.composite
def questions(draw: st.DrawFn) -> Question:
    """Any fleet, any two versions, any traffic."""
    replicas = draw(st.integers(1, 6))
    batches = draw(st.lists(st.tuples(st.integers(1, 3 * GIB), st.floats(0.01, 50)), max_size=3))
    smaller = tuple(
        Smaller(WorkerLimits(max_batch_size=size, memory_limit_bytes=memory), memory, rate)
        for size, (memory, rate) in enumerate(batches, 1)
    )
    holdings = draw(st.lists(st.tuples(st.integers(0, 4 * GIB), st.booleans()), max_size=4))
    return Question(
        champion=Need(CHAMPION, draw(st.integers(1, 4 * GIB)), draw(rates)),
        challenger=Need(CHALLENGER, draw(st.integers(1, 4 * GIB)), draw(rates), smaller=smaller),
        workers=Workers(
            replicas=replicas,
            at_least=draw(st.none() | st.integers(1, replicas)),
            share=draw(st.booleans()),
        ),
        budget_bytes=draw(st.integers(1, 40 * GIB)),
        rate=draw(rates),
        others=tuple(Holding(str(n), held, passes) for n, (held, passes) in enumerate(holdings)),
        cores=draw(st.none() | st.integers(1, 8)),
    )


@given(questions())
def test_no_plan_takes_more_memory_than_there_is(asked: Question) -> None:
    room = plan_room(asked)
    if not room.starts:
        assert (room.champion, room.limits) == (asked.workers.replicas, None), "nothing is taken from the champion"
        return
    each = asked.challenger.memory_bytes if room.limits is None else room.limits.memory_limit_bytes
    assert each is not None
    taken = room.champion * asked.champion.memory_bytes + room.challenger * each
    assert taken + sum(one.memory_bytes for one in asked.others) <= (asked.budget_bytes or inf)


@given(questions())
def test_no_plan_leaves_either_version_fewer_workers_than_carry_all_traffic(asked: Question) -> None:
    room, whole = plan_room(asked), asked.workers.replicas
    if not room.starts:
        return
    for replicas, rate in ((room.champion, asked.champion.rate), (room.challenger, asked.challenger.rate)):
        if room.limits is not None and replicas is room.challenger:
            continue
        if replicas < whole and rate is not None and asked.rate is not None:
            assert asked.carries(asked.champion, rate, replicas) >= asked.rate
        elif replicas < whole:
            assert asked.workers.at_least is not None
            assert replicas >= asked.workers.at_least
    if room.carries is not None:
        assert asked.rate is None or room.carries >= asked.rate


@given(questions())
def test_a_rollout_is_refused_for_good_only_when_it_would_not_fit_alone_and_without_traffic(asked: Question) -> None:
    best = plan_room(replace(asked, others=(), rate=asked.rate and 0.0))
    fit = plan_room(asked).fit
    assert (fit is Fit.NEVER) == (not best.starts)
