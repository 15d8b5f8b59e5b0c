"""A rollout that the leader can't go on with: its service stays as it is until a person ends it."""

from sqlalchemy import update

from contracts.rng import SeededRng
from controlplane.desks.rollouts import RolloutDesk
from controlplane.store.schema import ROLLOUTS
from rollout.phases import ManualAction, ManualKind, Phase
from tests.controlplane.conftest import Bench


def shares(bench: Bench) -> bool:
    """Tell whether the challenger gets a share of the traffic."""
    assert bench.traffic.table is not None
    return bench.traffic.table.services["tags"].split is not None


def test_after_it_was_ended_by_hand_the_champion_serves_and_the_next_may_begin(bench: Bench) -> None:
    bench.run(until=lambda decision: decision.weight > 0)
    row = bench.stores.rollouts.living()[0]
    with bench.stores.database.write() as connection:
        connection.execute(update(ROLLOUTS).values(state="{}"))
    bench.controller = bench.control("two")
    bench.clock.advance(20.0)  # the lease of the first ends
    bench.ticks(3)
    assert "can't be gone on with" in bench.controller.snapshot().services["tags"].problem
    assert shares(bench), "it stands as it was"
    desk = RolloutDesk(bench.stores, bench.catalogue, bench.clock, SeededRng(1))
    desk.act(row.id, ManualAction(ManualKind.ABORT, "eva", "a newer release wrote it"))
    bench.ticks(3)
    assert not shares(bench)
    assert bench.view.problem == ""
    assert desk.show(row.id).row.phase == Phase.ABORTED.value
    assert bench.run().state.phase is Phase.PROMOTED
