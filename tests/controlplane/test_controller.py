"""The controller: one leader, every batch counted once, users who stay where they are, and parts that are away."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from contracts.clock import FakeClock
from contracts.errors import NotPermitted, Unavailable
from contracts.ids import CHAMPION, PREVIOUS
from contracts.specs.service import AliasPolicy
from contracts.wire.worker import WorkerState
from controlplane.loop.ports import NoGuard, Orders, Sight
from controlplane.stores import Stores
from registry.catalogue import Registration
from rollout.phases import ManualAction, ManualKind, Phase
from tests.controlplane.conftest import SPEC, Bench
from tests.controlplane.test_controller_crashes import counted_of, served_of


def test_without_a_rollout_the_champion_is_placed_warmed_and_routed(bench: Bench) -> None:
    bench.ticks(3)
    assert set(bench.fleet.running) == {bench.champion}
    assert bench.traffic.table is not None
    assert bench.traffic.table.services["tags"].champion == bench.champion
    assert bench.view.problem == ""


def test_a_service_without_a_champion_is_skipped_and_told_of(bench: Bench) -> None:
    other = bench.spec.model_copy(update={"service": "empty"})
    bench.stores.services.apply(other, actor="test", reason="no champion yet")
    bench.ticks(3)
    assert bench.traffic.table is not None
    assert set(bench.traffic.table.services) == {"tags"}
    assert "no version is its champion" in bench.controller.snapshot().services["empty"].problem


def test_one_leads_and_the_other_takes_over_when_it_is_gone(bench: Bench) -> None:
    second = bench.control("two")
    bench.ticks(2)
    second.step()
    assert (bench.controller.leads, second.leads) == (True, False)
    assert second.snapshot().services == {}
    for _ in range(12):  # the first is stopped: its lease runs out
        bench.clock.advance(1.0)
        second.step()
    assert (bench.controller.leads, second.leads) == (False, True)
    fence = second.snapshot().fence
    bench.controller.step()
    assert bench.controller.snapshot().fence == 0
    assert bench.traffic.table is not None
    assert bench.traffic.table.fence == fence
    second.close()


def test_a_leader_that_is_stopped_within_a_tick_writes_and_does_nothing_when_it_wakes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.run(until=lambda d: d.weight > 0.1)
    second, fetch = bench.control("two"), bench.traffic.fetch
    before = bench.stores.ledger.verify()

    def sleep_meanwhile(counted: Any) -> Any:
        reply = fetch(counted)
        monkeypatch.setattr(bench.traffic, "fetch", fetch)
        for _ in range(15):
            bench.clock.advance(1.0)
            second.step()
        return reply

    monkeypatch.setattr(bench.traffic, "fetch", sleep_meanwhile)
    bench.controller.step()
    assert "lease" in bench.controller.snapshot().problem
    assert second.leads
    assert bench.traffic.table is not None
    assert bench.traffic.table.fence == second.snapshot().fence
    entries = list(bench.ledger.entries(after=before - 1))
    assert len(entries) == len({entry.at_s for entry in entries}), "one decision a tick, by one leader"
    assert counted_of(bench) == served_of(bench)
    bench.controller.close()
    bench.controller = second
    assert bench.run().state.phase is Phase.PROMOTED


@pytest.mark.parametrize("ahead_s", [-60.0, 60.0])
def test_a_control_plane_whose_clock_is_wrong_leaves_the_lead_to_another(bench: Bench, ahead_s: float) -> None:
    bench.run(until=lambda d: d.weight > 0.1)
    right, ledger = bench.controller, bench.stores.ledger
    bench.world = replace(bench.world, clock=FakeClock(bench.clock.now_s() + ahead_s))
    stores, bench.stores = bench.stores, Stores.on(bench.stores.database, b"k" * 32, bench.world.clock)
    wrong = bench.control("wrong")
    right.close()
    before = ledger.verify()
    wrong.step()
    assert not wrong.leads
    assert "this machine's clock is 60 s" in wrong.snapshot().problem
    assert ledger.verify() == before
    bench.clock.advance(1.0)
    bench.world, bench.stores = replace(bench.world, clock=bench.clock), stores
    bench.controller = bench.control("right")
    assert bench.run().state.phase is Phase.PROMOTED


@pytest.mark.parametrize("set_by_s", [-600.0, 600.0])
def test_not_one_decision_is_made_by_a_clock_that_was_set_while_it_led(bench: Bench, set_by_s: float) -> None:
    bench.run(until=lambda d: d.weight > 0.1)
    own = FakeClock(bench.clock.now_s())
    bench.controller.close()
    world, stores = bench.world, bench.stores
    bench.world, bench.stores = replace(world, clock=own), Stores.on(stores.database, b"k" * 32, own)
    bench.controller = bench.control("set")
    own.advance(1.0)
    bench.ticks()
    led, before = bench.controller.leads, stores.ledger.verify()
    assert led
    own.set_back(-set_by_s)
    own.advance(1.0)
    bench.ticks()
    assert not bench.controller.leads
    assert "this machine's clock is 600 s" in bench.controller.snapshot().problem
    assert stores.ledger.verify() == before
    bench.controller.close()
    bench.world, bench.stores = world, stores
    bench.controller = bench.control("right")
    assert bench.run().state.phase is Phase.PROMOTED


@pytest.mark.parametrize("is_written", [False, True], ids=["write lost", "answer lost"])
def test_a_tick_whose_write_fails_counts_nothing_twice_and_nothing_never(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, is_written: bool
) -> None:
    bench.run(until=lambda d: d.weight > 0.1)
    write, calls = bench.controller._book.write, iter(range(1000))

    def fail_now_and_then(*given: Any) -> Any:
        fails = next(calls) in {2, 3, 8}
        told = write(*given) if is_written or not fails else []
        if fails:
            raise Unavailable("the database went away")
        return told

    monkeypatch.setattr(bench.controller._book, "write", fail_now_and_then)
    assert bench.run().state.phase is Phase.PROMOTED
    assert counted_of(bench) == served_of(bench)


def test_a_new_process_goes_on_where_the_last_one_was_and_moves_no_user(bench: Bench) -> None:
    bench.run(until=lambda d: 0.1 < d.weight < 1)
    assert bench.traffic.table is not None
    before = bench.traffic.table.services["tags"].split
    rate = bench.view.request_rate
    bench.controller.close()
    bench.controller = bench.control("another")
    bench.ticks()
    after = bench.traffic.table.services["tags"].split
    assert before is not None
    assert after is not None
    assert (after.salt, after.rollout_id) == (before.salt, before.rollout_id)
    assert after.weight >= before.weight
    assert bench.view.request_rate == pytest.approx(rate, rel=0.2), "the rate is not measured anew"
    assert bench.run().state.phase is Phase.PROMOTED
    assert counted_of(bench) == served_of(bench)


def test_while_no_worker_is_known_yet_the_routes_that_gateways_follow_stay(bench: Bench) -> None:
    bench.run(until=lambda d: d.weight > 0.1)
    assert bench.traffic.table is not None
    before = bench.traffic.table.services
    bench.controller.close()
    bench.fleet.states = {bench.champion: WorkerState.LOADING, bench.challenger: WorkerState.LOADING}
    bench.controller = bench.control("another")
    bench.ticks(3)
    assert bench.traffic.table.services["tags"].endpoints == before["tags"].endpoints


def test_no_traffic_goes_back_to_a_champion_that_does_not_answer(bench: Bench) -> None:
    bench.run(until=lambda d: d.weight > 0.3)
    bench.traffic.wrong[2] = 1.0
    bench.fleet.states[bench.champion] = WorkerState.LOADING
    bench.run(until=lambda d: d.state.phase is Phase.ROLLING_BACK)
    bench.ticks(5)
    assert bench.traffic.weights[-1] > 0.3
    assert "no ready replica" in bench.view.problem
    del bench.fleet.states[bench.champion]
    assert bench.run().state.phase is Phase.ROLLED_BACK
    assert bench.traffic.weights[-1] == 0.0


def test_a_rollback_within_a_promotion_needs_no_mlflow_and_the_alias_follows_later(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.run(until=lambda d: d.state.phase is Phase.BAKING)
    move, get = bench.catalogue.move_alias, bench.catalogue.get

    def away(*_: object, **__: object) -> Any:
        raise Unavailable("MLflow does not answer")

    for name in ("move_alias", "get", "fetch"):
        monkeypatch.setattr(bench.catalogue, name, away)
    bench.traffic.wrong[2] = 1.0
    assert bench.run().state.phase is Phase.ROLLED_BACK
    production = bench.stores.services.production("tags")
    assert production.champion == str(bench.champion)
    assert bench.catalogue.aliases["m", CHAMPION] == bench.challenger
    monkeypatch.setattr(bench.catalogue, "move_alias", move)
    monkeypatch.setattr(bench.catalogue, "get", get)
    bench.ticks(15)
    assert bench.catalogue.aliases["m", CHAMPION] == bench.champion
    assert bench.catalogue.aliases.get(("m", PREVIOUS)) != bench.challenger


def test_a_rolled_back_content_is_refused_until_somebody_insists(bench: Bench) -> None:
    bench.traffic.wrong[2] = 1.0
    assert bench.run().state.phase is Phase.ROLLED_BACK
    with pytest.raises(NotPermitted, match="rolled back"):
        bench.begin()
    assert bench.begin(forced=True).forced


def test_a_challenger_that_never_fits_beside_its_champion_fails_before_any_traffic(tmp_path: Path) -> None:
    with closing(Bench(tmp_path, memory_budget_bytes=1 << 30)) as bench:
        decision = bench.run(until=lambda d: d.state.phase is Phase.FAILED)
        assert "can't run side by side" in decision.reason.sentence
        assert set(bench.fleet.running) == {bench.champion}
        assert "rollout.waits-for-memory" in {event.code for event in bench.told}


def test_a_challenger_waits_for_memory_that_another_service_will_give_back(
    tmp_path: Path, warm_up_calls: list[str]
) -> None:
    with closing(Bench(tmp_path, memory_budget_bytes=int(1.5 * (1 << 30)))) as bench:
        third = bench.catalogue.register("m", Registration(tmp_path)).id
        other = bench.spec.model_copy(update={"service": "other"})
        bench.stores.services.apply(other, actor="test", reason="takes memory")
        with bench.stores.database.write() as connection:
            bench.stores.services.crown(connection, "other", str(third))
        bench.begin()
        bench.ticks(5)
        assert bench.challenger not in bench.fleet.running
        assert "waits until others have ended" in bench.view.problem
        with bench.stores.database.write() as connection:
            bench.stores.services.crown(connection, "other", str(bench.champion))
        assert bench.run().state.phase is Phase.PROMOTED


@pytest.mark.parametrize("policy", list(AliasPolicy))
def test_an_alias_that_somebody_else_moves_is_settled_as_the_spec_says(
    tmp_path: Path, warm_up_calls: list[str], policy: AliasPolicy
) -> None:
    with closing(Bench(tmp_path, SPEC.replace("slos:", f"aliases: {policy}\nslos:"))) as bench:
        bench.ticks(3)
        bench.catalogue.aliases["m", CHAMPION] = bench.challenger
        bench.ticks(20)
        expected = bench.champion if policy is AliasPolicy.REVERT else bench.challenger
        assert bench.catalogue.aliases["m", CHAMPION] == expected
        adopted = policy is AliasPolicy.ADOPT
        assert bench.stores.services.production("tags").champion == str(bench.challenger if adopted else bench.champion)
        assert bench.traffic.table is not None
        assert bench.traffic.table.services["tags"].champion == (bench.challenger if adopted else bench.champion)
        codes = [event.code for event in bench.told]
        assert codes.count("alias.moved-outside") == 1
        assert codes.count("service.crowned") == adopted


@pytest.mark.parametrize("other", ["a-service", "z-service"])
def test_the_aliases_of_a_model_follow_the_first_by_name_of_the_services_that_share_it(
    bench: Bench, other: str
) -> None:
    spec = bench.spec.model_copy(update={"service": other})
    bench.stores.services.apply(spec, actor="test", reason="shares the model")
    with bench.stores.database.write() as connection:
        bench.stores.services.crown(connection, other, str(bench.champion))
    assert bench.run().state.phase is Phase.PROMOTED
    bench.ticks(10)
    productions = {name: bench.stores.services.production(name).champion for name in ("tags", other)}
    assert productions == {"tags": "m@2", other: "m@1"}, "each service has a champion of its own"
    assert str(bench.catalogue.aliases["m", CHAMPION]) == productions[min("tags", other)]
    assert set(bench.fleet.running) >= {bench.champion, bench.challenger}


class Strict(NoGuard):
    """A guard that gives the orders it was told to."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "orders", Orders())

    def look(self, sight: Sight) -> Orders:
        return self.orders  # type: ignore[attr-defined,no-any-return]

    def order(self, **orders: Any) -> None:
        object.__setattr__(self, "orders", Orders(**orders))


def test_a_killed_challenger_has_no_traffic_from_that_tick_on(bench: Bench) -> None:
    bench.guard = guard = Strict()
    bench.controller = bench.control()
    bench.run(until=lambda d: d.weight > 0.3)
    abort = ManualAction(ManualKind.ABORT, "guard/kill", "it shows what it must not")
    guard.order(killed=frozenset({bench.challenger}), manual=(abort,))
    bench.ticks()
    assert bench.traffic.table is not None
    split = bench.traffic.table.services["tags"].split
    assert split is None or split.weight == 0.0
    assert bench.run().state.phase is Phase.ABORTED
    with pytest.raises(NotPermitted):
        bench.begin()


def test_a_killed_champion_is_served_by_nobody_until_the_ordered_heir_is_ready(bench: Bench) -> None:
    bench.guard = guard = Strict()
    bench.controller = bench.control()
    bench.ticks(3)
    guard.order(killed=frozenset({bench.champion}))
    bench.ticks()
    assert bench.traffic.table is not None
    assert bench.traffic.table.services["tags"].closed
    bench.fleet.states[bench.challenger] = WorkerState.LOADING
    guard.order(killed=frozenset({bench.champion}), crown=bench.challenger)
    bench.ticks(3)
    assert bench.traffic.table.services["tags"].closed
    del bench.fleet.states[bench.challenger]
    bench.ticks(3)
    assert bench.traffic.table.services["tags"].champion == bench.challenger
    assert bench.traffic.table.services["tags"].endpoints[str(bench.challenger)]
    assert bench.stores.services.production("tags").champion == str(bench.challenger)
    assert set(bench.fleet.running) == {bench.challenger}


def test_what_the_guard_learnt_is_written_with_the_tick_or_not_at_all(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    class Recorded(NoGuard):
        def save(self, connection: Connection, *, fence: int) -> None:
            calls.append("save")
            if calls.count("save") == 3:
                raise Unavailable("the disk is full")

        def reload(self) -> None:
            calls.append("reload")

    bench.guard = Recorded()
    bench.controller = bench.control()
    bench.ticks(5)
    assert calls == ["reload", "save", "save", "save", "reload", "save", "save"]


def test_a_rollout_that_can_not_be_gone_on_with_keeps_its_routes_and_no_other_back(bench: Bench) -> None:
    bench.run(until=lambda d: d.weight > 0.1)
    assert bench.traffic.table is not None
    before = bench.traffic.table.services["tags"]
    row = bench.stores.rollouts.get(bench.rollout_id)
    with bench.stores.database.write() as connection:
        connection.exec_driver_sql("UPDATE rollouts SET state = '{}', revision = revision + 1")
    other = bench.spec.model_copy(update={"service": "other"})
    bench.stores.services.apply(other, actor="test", reason="beside")
    with bench.stores.database.write() as connection:
        bench.stores.services.crown(connection, "other", str(bench.champion))
    bench.ticks(3)
    assert bench.traffic.table.services["tags"] == before
    assert "other" in bench.traffic.table.services
    assert "can't be gone on with" in bench.view.problem
    with bench.stores.database.write() as connection:
        connection.exec_driver_sql("UPDATE rollouts SET state = ?, revision = revision + 1", (row.state,))
    assert bench.run().state.phase is Phase.PROMOTED


def test_a_later_leader_s_table_ends_this_one_s_leading(bench: Bench) -> None:
    bench.ticks(3)
    assert bench.traffic.table is not None
    bench.traffic.table = bench.traffic.table.model_copy(update={"fence": 7, "revision": 90})
    bench.begin()
    bench.ticks(15)
    assert bench.controller.snapshot().fence >= 7
    assert bench.traffic.table.fence == bench.controller.snapshot().fence
    assert bench.run().state.phase is Phase.PROMOTED
