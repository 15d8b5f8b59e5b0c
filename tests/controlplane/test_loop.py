"""The loop in virtual time: promotions, rollbacks, and parts of the world that are away."""

import json
from pathlib import Path

from contracts.errors import NotPermitted
from contracts.ids import CHAMPION, PREVIOUS, VersionId
from contracts.wire.worker import WorkerState
from controlplane.loop.record import decision_document
from rollout.machine import decide, start
from rollout.observation import Observation
from rollout.phases import Phase
from tests.controlplane.conftest import SPEC, Bench


def test_a_good_version_is_promoted_and_the_alias_follows_the_traffic(bench: Bench, warm_up_calls: list[str]) -> None:
    alias_when_full: list[VersionId] = []
    decision = bench.run(until=lambda d: d.weight == 1.0)
    alias_when_full.append(bench.catalogue.aliases["m", CHAMPION])
    decision = bench.run()
    assert decision.state.phase is Phase.PROMOTED
    assert alias_when_full == [bench.champion]
    assert bench.catalogue.aliases["m", CHAMPION] == bench.challenger
    assert bench.catalogue.aliases["m", PREVIOUS] == bench.champion
    assert bench.traffic.table is not None
    assert bench.traffic.table.services["tags"].champion == bench.challenger
    assert set(bench.fleet.running) == {bench.challenger}
    assert len(warm_up_calls) == 2
    assert [event.code for event in bench.told] == ["rollout.started", "gate.safe-proven", "rollout.promoted"]
    assert {actor for _, _, actor, _ in bench.catalogue.moves[1:]} == {f"rollout/{bench.rollout_id}"}


def test_wrong_pictures_at_healthy_http_are_rolled_back_and_the_ledger_says_why(bench: Bench) -> None:
    bench.traffic.wrong[2] = 0.36
    decision = bench.run()
    assert decision.state.phase is Phase.ROLLED_BACK
    assert bench.catalogue.aliases["m", CHAMPION] == bench.champion
    assert set(bench.fleet.running) == {bench.champion}
    decided = [e for e in bench.ledger.entries() if e.decision["reason"] == "gate.harm-proven"]
    verdicts = {v["gate"]: v for v in decided[0].decision["verdicts"]}
    assert verdicts["text"]["outcome"] == "harm"
    assert verdicts["text"]["evidence"] >= verdicts["text"]["needed"]
    assert verdicts["availability"]["outcome"] != "harm"
    assert bench.ledger.verify() > 3


def test_the_ledger_replays_to_the_same_decisions(bench: Bench) -> None:
    bench.traffic.wrong[2] = 0.2
    bench.run()
    entries = list(bench.ledger.entries(bench.rollout_id))
    state = start(
        bench.policy,
        at_s=entries[0].at_s,
        rollout_id=bench.rollout_id,
        champion=str(bench.champion),
        challenger=str(bench.challenger),
    )
    for entry in entries:
        decision = decide(bench.policy, state, Observation.from_json(json.dumps(entry.observation)))
        state = decision.state
        assert decision_document(decision) == entry.decision


def test_errors_are_rolled_back_by_the_availability_gate(bench: Bench) -> None:
    bench.traffic.bad[2] = 0.5
    decision = bench.run()
    assert decision.state.phase is Phase.ROLLED_BACK
    assert max(bench.traffic.weights) <= 0.5


def test_a_fault_that_begins_while_baking_reverts_and_restores_the_alias(bench: Bench) -> None:
    bench.run(until=lambda d: d.state.phase is Phase.BAKING)
    assert bench.catalogue.aliases["m", CHAMPION] == bench.challenger
    bench.traffic.wrong[2] = 1.0
    decision = bench.run()
    assert decision.state.phase is Phase.ROLLED_BACK
    assert bench.catalogue.aliases["m", CHAMPION] == bench.champion
    assert bench.champion in bench.fleet.running


def test_a_silent_gateway_never_promotes_and_the_rollout_goes_on_when_it_is_back(bench: Bench) -> None:
    bench.run(until=lambda d: d.weight > 0.2)
    bench.traffic.away = True
    weights, decision = set(), None
    for _ in range(60):
        bench.ticks()
        decision = bench.view.decision
        assert decision is not None
        weights.add(decision.weight)
    assert decision is not None
    assert decision.state.phase in {Phase.PROGRESSING, Phase.PAUSED}
    assert len(weights) <= 10
    assert all(verdict.outcome == "no-data" for verdict in decision.verdicts)
    bench.traffic.away = False
    assert bench.run().state.phase is Phase.PROMOTED


def test_scores_that_never_come_are_no_data_and_not_a_pass(bench: Bench) -> None:
    bench.traffic.unscored = True
    decision = bench.run()
    assert decision.state.phase is Phase.ROLLED_BACK
    assert "alarm.no-data" in {event.code for event in bench.told}


def test_rollback_needs_no_catalogue(bench: Bench) -> None:
    bench.run(until=lambda d: d.weight > 0.1)

    def broken(*_: object, **__: object) -> None:
        raise AssertionError("the catalogue was asked")

    bench.catalogue.get = bench.catalogue.fetch = bench.catalogue.move_alias = broken  # type: ignore[assignment]
    bench.traffic.bad[2] = 1.0
    assert bench.run().state.phase is Phase.ROLLED_BACK


def test_a_version_that_can_not_load_fails_and_never_gets_traffic(bench: Bench) -> None:
    bench.fleet.states[bench.challenger] = WorkerState.FAILED
    decision = bench.run(until=lambda d: d.state.phase is Phase.FAILED)
    assert decision.weight == 0.0
    assert set(bench.traffic.weights) == {0.0}


def test_an_alias_that_can_not_be_moved_leaves_traffic_on_the_proven_version(bench: Bench) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise NotPermitted("the alias is frozen")

    bench.catalogue.move_alias = refuse  # type: ignore[method-assign]
    decision = bench.run(until=lambda d: d.state.phase is Phase.FAILED)
    assert decision.weight == 1.0
    assert "the alias is frozen" in decision.reason.sentence


def test_users_stay_when_the_challenger_is_promoted(bench: Bench) -> None:
    bench.run(until=lambda d: d.weight > 0.1)
    assert bench.traffic.table is not None
    before = bench.traffic.table.services["tags"].split
    bench.run(until=lambda d: d.weight > 0.4)
    after = bench.traffic.table.services["tags"].split
    assert before is not None
    assert after is not None
    assert (before.salt, before.rollout_id) == (after.salt, after.rollout_id)


def test_mirroring_comes_before_any_live_traffic(mirroring_bench: Bench) -> None:
    decision = mirroring_bench.run(until=lambda d: d.weight > 0)
    assert decision.reason.code == "ramp.raised"
    phases = [entry.decision["phase"] for entry in mirroring_bench.ledger.entries()]
    assert phases.count("mirroring") >= 3
    assert set(mirroring_bench.traffic.weights) == {0.0}
    assert mirroring_bench.run().state.phase is Phase.PROMOTED


def test_a_fault_seen_in_mirrored_pairs_is_rolled_back_before_users_meet_it(mirroring_bench: Bench) -> None:
    mirroring_bench.traffic.wrong[2] = 0.6
    assert mirroring_bench.run().state.phase is Phase.ROLLED_BACK
    assert set(mirroring_bench.traffic.weights) == {0.0}


def test_errors_of_the_challenger_alone_are_written_down_with_the_relative_gate_on(
    tmp_path: Path, warm_up_calls: list[str]
) -> None:
    bench = Bench(tmp_path, SPEC.replace("relative: null, ", ""))
    bench.traffic.bad[2] = 0.2
    assert bench.run().state.phase is Phase.ROLLED_BACK
    seen = [v for e in bench.ledger.entries() for v in e.decision["verdicts"] if v["gate"] == "availability-relative"]
    assert seen[-1]["n"] > 0
    assert bench.ledger.verify() > 3
