"""``roost rollout``: plans and simulations of a spec, and recorded rollouts decided again."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from contracts.errors import InvalidInput, NotFound
from contracts.specs.loading import load_service_spec
from controlplane.cli.rollout import app
from controlplane.loop.evidence import sliced_lanes
from controlplane.rehearsal.recorded import rerun
from controlplane.rehearsal.trial import Share
from rollout.phases import Phase
from rollout.policy import Policy, compile_policy
from tests.controlplane.conftest import SPEC, Bench

DEMO = Path(__file__).parents[2] / "controlplane" / "demo" / "service.yaml"


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, [*arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_plan_names_every_objective_and_what_a_fault_costs() -> None:
    told = json.loads(run("plan", str(DEMO), "--rate", "20", "--runs", "20", "--json"))
    caught = {catch["fault"]: catch["caught"] for catch in told["catches"]}
    assert caught["availability at burn 20"] == 1.0
    assert caught["text at 85 %"] > 0.9
    assert told["promote_s"] <= told["promote_90_s"] <= 300


def test_a_plan_for_hardly_any_traffic_says_what_it_cannot_see() -> None:
    assert "fewer than 90 % of good challengers are proven" in run("plan", str(DEMO), "--rate", "0.01", "--runs", "20")


def test_a_fault_is_rolled_back_and_its_absence_promoted_beside_peers_that_see_no_pictures() -> None:
    bad = json.loads(
        run("simulate", str(DEMO), "--rate", "20", "--fault", "text=50%", "--peers", "--runs", "40", "--json")
    )["trials"]
    assert bad[0]["rolled_back"]["count"] == 40
    assert len(bad) == 6
    assert all(trial["rolled_back"]["count"] <= 4 for trial in bad[1:]), "peers read no scores: chance alone"
    good = json.loads(run("simulate", str(DEMO), "--rate", "20", "--json"))["trials"][0]
    assert good["rolled_back"]["low"] <= 0.01, "a false rollback is no more likely than alpha says"
    assert good["promoted"]["count"] > 180


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--rate", "0"], "rate"),
        (["--rate", "1e300"], "rate: 1e.300 is not a number of requests per second up to"),
        (["--rate", "1e5", "--runs", "10000"], "runs: 10000 runs at 100000 requests per second"),
        (["--rate", "20", "--fault", "colour=3%"], "fault: no objective is called 'colour'"),
        (["--rate", "20", "--fault", "text"], "fault: 'text' has no value"),
        (["--rate", "20", "--onset", "soon"], "soon"),
    ],
)
def test_what_cannot_be_simulated_is_told(arguments: list[str], named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        run("simulate", str(DEMO), *arguments)


def test_an_interval_holds_the_share_and_is_exact_at_the_ends() -> None:
    assert Share.of(0, 200).low == 0.0
    # Clopper and Pearson with no event in n: the upper end solves (1 - p)^n = 0.025.
    assert Share.of(0, 200).high == pytest.approx(1 - 0.025 ** (1 / 200))
    assert Share.of(7, 7).high == 1.0


def policy_of(text: str) -> Policy:
    spec = load_service_spec(text)
    return compile_policy(spec.rollout, spec.objectives(), slices=sliced_lanes(spec))


def test_a_recorded_rollout_decides_the_same_under_its_own_policy(bench: Bench) -> None:
    bench.traffic.wrong[2] = 0.3
    bench.run()
    found = rerun(bench.ledger, bench.rollout_id, policy_of(SPEC))
    assert found.same_policy
    assert found.differences == 0
    assert [(m.at_s, m.phase, m.weight) for m in found.replayed] == [
        (m.at_s, m.phase, m.weight) for m in found.recorded
    ]
    assert found.recorded[-1].phase == Phase.ROLLED_BACK


def test_a_policy_that_tolerates_the_fault_would_not_have_rolled_back(bench: Bench) -> None:
    bench.traffic.wrong[2] = 0.3
    bench.run()
    lenient = policy_of(SPEC.replace("margin: 5%, unacceptable_margin: 12%", "margin: 60%, unacceptable_margin: 80%"))
    found = rerun(bench.ledger, bench.rollout_id, lenient)
    assert not found.same_policy
    assert "rolling-back" not in {moment.phase for moment in found.replayed}
    assert found.recorded[-1].phase == Phase.ROLLED_BACK


def test_an_unknown_rollout_is_told_with_those_that_there_are(bench: Bench) -> None:
    bench.run(until=lambda decision: True)
    with pytest.raises(NotFound) as caught:
        rerun(bench.ledger, "nobody-1", policy_of(SPEC))
    assert bench.rollout_id in caught.value.hint
