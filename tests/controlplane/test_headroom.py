"""Headroom: a rollout that doesn't fit with all workers runs with fewer, in smaller batches, later, or not at all."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from contracts.ids import VersionId
from contracts.wire.capacity import CapacityModel, ServingPlan, WorkerLimits
from contracts.wire.worker import WorkerState
from controlplane.loop.room import Room
from registry.catalogue import Registration
from rollout.actions import ReasonCode
from rollout.observation import Fit
from rollout.phases import Phase
from tests.controlplane.conftest import SPEC, Bench

MIB = 1 << 20
TWO = SPEC.replace("slos:", "workers: {replicas: 2}\nslos:")


def profile(bench: Bench, version: VersionId, *, memory: int, rate: float, batch: int = 1) -> None:
    """Give a version a profile: a worker takes ``memory`` MiB with one picture, and draws ``rate`` of them a second."""
    capacity = CapacityModel(
        device="cpu",
        memory_fixed_bytes=memory * MIB / 2,
        memory_per_pixel_bytes=memory * MIB / 2 / 512**2,
        memory_error=0.0,
        latency_fixed_s=0.0,
        latency_per_pixel_s=1 / rate / 512**2,
        latency_per_step_s=0.0,
        latency_per_step_pixel_s=0.0,
        latency_error=0.0,
    )
    plan = ServingPlan(limits=WorkerLimits(max_batch_size=batch, max_concurrency=batch), capacity=capacity)
    records = bench.catalogue._records
    records[version] = replace(records[version], serving={"cpu": plan})


def two_profiled(folder: Path, *, budget: int, rate: float = 100.0) -> Bench:
    """Two versions of 500 MiB a worker, each in two workers, on a fleet of ``budget`` MiB; 40 requests a second."""
    bench = Bench(folder, TWO, memory_budget_bytes=budget * MIB)
    for version in (bench.champion, bench.challenger):
        profile(bench, version, memory=500, rate=rate)
    return bench


def sizes(bench: Bench) -> dict[VersionId, int]:
    """How many workers each version was placed in."""
    return {version: placed.replicas for version, placed in bench.fleet.running.items()}


def room_of(bench: Bench) -> Room:
    """The plan as it was written down."""
    return Room.model_validate_json(bench.stores.rollouts.get(bench.rollout_id).room)


@pytest.mark.parametrize("wrong", [0.0, 1.0], ids=["promoted", "rolled back"])
def test_a_reduced_champion_carries_all_traffic_and_all_workers_come_back(
    tmp_path: Path, warm_up_calls: list[str], wrong: float
) -> None:
    with closing(two_profiled(tmp_path, budget=1100)) as bench:
        bench.traffic.wrong[2] = wrong
        bench.ticks(30)
        assert sizes(bench) == {bench.champion: 2}
        bench.fleet.states[bench.challenger] = WorkerState.LOADING
        decision = bench.run(until=lambda d: d.reason.code is ReasonCode.HEADROOM_REDUCED)
        assert "1 of 2 champion replicas is drained first and back after the rollout" in decision.reason.sentence
        assert sizes(bench) == {bench.champion: 1, bench.challenger: 1}
        del bench.fleet.states[bench.challenger]
        bench.run(until=lambda d: d.weight > 0)
        assert sizes(bench) == {bench.champion: 1, bench.challenger: 1}, "a rollback needs no worker that isn't there"
        over = bench.run().state.phase
        bench.ticks(2)
        assert over is (Phase.ROLLED_BACK if wrong else Phase.PROMOTED)
        assert sizes(bench) == {bench.champion if wrong else bench.challenger: 2}
        assert [event.code for event in bench.told].count("headroom.reduced") == 1


def test_an_aborted_rollout_gives_the_champion_its_workers_back(tmp_path: Path, warm_up_calls: list[str]) -> None:
    from rollout.phases import ManualAction, ManualKind

    with closing(two_profiled(tmp_path, budget=1100)) as bench:
        bench.ticks(30)
        bench.run(until=lambda d: d.weight > 0)
        with bench.stores.database.write() as connection:
            abort = ManualAction(ManualKind.ABORT, "test", "enough seen")
            bench.stores.wishes.ask(connection, bench.rollout_id, abort)
        assert bench.run().state.phase is Phase.ABORTED
        bench.ticks(2)
        assert sizes(bench) == {bench.champion: 2}


def test_no_worker_of_a_champion_that_needs_them_all_is_taken(tmp_path: Path, warm_up_calls: list[str]) -> None:
    with closing(two_profiled(tmp_path, budget=1100, rate=50.0)) as bench:  # one worker carries 35 of the 40
        bench.ticks(30)
        decision = bench.run(until=lambda d: d.reason.code is ReasonCode.HEADROOM_WAITING)
        bench.ticks(5)
        assert "it waits for less traffic" in decision.reason.sentence
        assert sizes(bench) == {bench.champion: 2}
        bench.traffic.rate = 10
        bench.run(until=lambda d: d.weight > 0, at_most=2000)
        assert sizes(bench) == {bench.champion: 1, bench.challenger: 1}


def test_traffic_that_grows_before_the_start_gives_the_champion_its_workers_back(
    tmp_path: Path, warm_up_calls: list[str]
) -> None:
    with closing(two_profiled(tmp_path, budget=1100)) as bench:
        bench.ticks(30)
        bench.fleet.states[bench.challenger] = WorkerState.LOADING
        bench.run(until=lambda d: d.reason.code is ReasonCode.HEADROOM_REDUCED)
        bench.traffic.rate = 100  # one worker carries 70
        bench.run(until=lambda d: d.reason.code is ReasonCode.HEADROOM_WAITING)
        bench.ticks()
        assert sizes(bench) == {bench.champion: 2}


def test_traffic_that_outgrows_a_reduced_champion_is_told_once_while_the_rollout_goes_on(
    tmp_path: Path, warm_up_calls: list[str]
) -> None:
    with closing(two_profiled(tmp_path, budget=1100)) as bench:
        bench.ticks(30)
        bench.traffic.unscored = True  # no proof yet
        bench.run(until=lambda d: d.weight > 0)
        assert bench.view.problem == ""
        bench.traffic.rate = 100  # one worker carries 70
        bench.ticks(60)
        assert "traffic has grown to" in bench.view.problem
        assert "the 1 of 2 workers that m@1 has beside its challenger carry 70" in bench.view.problem
        codes = [event.code for event in bench.told]
        assert codes.count("rollout.outgrown") == 1
        bench.traffic.rate, bench.traffic.unscored = 40, False
        assert bench.run().state.phase is Phase.PROMOTED
        bench.ticks(2)
        assert bench.view.problem == ""


def test_the_share_of_a_small_challenger_is_what_its_workers_can_serve(
    tmp_path: Path, warm_up_calls: list[str]
) -> None:
    with closing(two_profiled(tmp_path, budget=1600)) as bench:  # both of the champion's stay, one challenger
        bench.ticks(30)
        bench.traffic.unscored = True  # no proof yet
        bench.run(until=lambda d: d.weight > 0)
        assert sizes(bench) == {bench.champion: 2, bench.challenger: 1}
        bench.traffic.rate = 280  # a quarter of what comes is what one worker carries
        bench.ticks(90)
        assert bench.view.request_rate == pytest.approx(280, rel=0.02)
        assert max(bench.traffic.weights[-10:]) <= 0.26
        bench.traffic.unscored = False
        decision = bench.run(until=lambda d: d.reason.code is ReasonCode.CAPACITY)
        assert "m@2 is proven, but its workers can't serve all of the present traffic" in decision.reason.sentence
        assert decision.weight <= 0.26
        bench.traffic.rate = 40
        assert bench.run().state.phase is Phase.PROMOTED


def test_a_plan_outlives_the_controller_that_made_it(tmp_path: Path, warm_up_calls: list[str]) -> None:
    with closing(two_profiled(tmp_path, budget=1100)) as bench:
        bench.ticks(30)
        bench.run(until=lambda d: d.weight > 0.1)
        before = room_of(bench)
        bench.controller.close()
        bench.fleet.running.clear()  # as a fleet of a new process: what ran is not known yet
        bench.traffic.rate = 60
        bench.controller = bench.control("another")
        bench.ticks(3)
        assert sizes(bench) == {bench.champion: 1, bench.challenger: 1}
        assert room_of(bench) == before


def test_two_rollouts_at_once_do_not_get_the_same_memory(tmp_path: Path, warm_up_calls: list[str]) -> None:
    with closing(Bench(tmp_path, SPEC, memory_budget_bytes=1600 * MIB)) as bench:
        third, fourth = (bench.catalogue.register("m", Registration(tmp_path)).id for _ in range(2))
        for version in (bench.champion, bench.challenger, third, fourth):
            profile(bench, version, memory=500, rate=100.0)
        other = bench.spec.model_copy(update={"service": "other"})
        bench.stores.services.apply(other, actor="test", reason="a second one")
        with bench.stores.database.write() as connection:
            bench.stores.services.crown(connection, "other", str(third))
        bench.ticks(3)
        bench.begin()
        bench.clock.advance(0.5)
        tags, bench.spec = bench.spec, other
        bench.begin(fourth)
        bench.spec = tags
        bench.ticks(3)
        assert set(bench.fleet.running) == {bench.champion, third, bench.challenger}
        told = bench.controller.snapshot().services["other"].problem
        assert f"it waits for {bench.challenger} of rollout" in told
        bench.run(until=lambda d: d.state.phase is Phase.BAKING)
        bench.ticks(3)
        assert fourth not in bench.fleet.running, "the old champion stays warm while the new one bakes"
        assert bench.run(until=lambda d: d.state.phase is Phase.PROMOTED)
        bench.ticks(10)
        assert fourth in bench.fleet.running


def test_a_challenger_in_smaller_batches_gets_its_full_size_when_it_owns_production(
    tmp_path: Path, warm_up_calls: list[str]
) -> None:
    sharing = SPEC.replace("slos:", "workers: {share: true}\nslos:")
    with closing(Bench(tmp_path, sharing, memory_budget_bytes=2100 * MIB)) as bench:
        for version in (bench.champion, bench.challenger):  # 250 MiB, and 250 for each picture of a batch
            profile(bench, version, memory=500, rate=100.0, batch=4)
        bench.ticks(30)
        bench.run(until=lambda d: d.weight > 0)
        plan = room_of(bench)
        assert (plan.fit, plan.limits and plan.limits.max_batch_size) == (Fit.SHARED, 2)
        assert bench.fleet.running[bench.champion].spec.limits.max_batch_size == 4
        lowered = bench.fleet.running[bench.challenger].spec.limits
        assert (lowered.max_batch_size, lowered.memory_limit_bytes) == (2, 750 * MIB)
        assert bench.run().state.phase is Phase.PROMOTED
        bench.ticks(2)
        assert bench.fleet.running[bench.challenger].spec.limits.max_batch_size == 4
