"""The guard on the real controller: harm after a promotion, kills and freezes, and what a restart keeps of them."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from contracts.clock import FakeClock
from contracts.errors import Conflict, InvalidInput, NotFound
from contracts.ids import CHAMPION, VersionRef
from contracts.specs.loading import load_service_spec
from controlplane.desks.safety import SafetyDesk
from controlplane.guard.budgets import Budgets
from controlplane.guard.freezing import Freezing
from controlplane.guard.guard import make_guard
from controlplane.stores import Stores
from registry.catalogue import Registration
from rollout.actions import ReasonCode
from rollout.phases import ManualAction, ManualKind, Phase
from tests.controlplane.conftest import SPEC, Bench

WATCHED = SPEC + "watch: {keep_warm: 1m}\n"


class Spent:
    """Budgets of which one is nearly gone."""

    def left(self, spec: object) -> dict[str, float]:
        return {"availability": 0.03}


class GuardedBench(Bench):
    """A bench whose controller has the guard."""

    def __init__(self, folder: Path, spec: str = WATCHED, budgets: Budgets | None = None) -> None:
        super().__init__(folder, spec)
        self.guard = make_guard(self.stores, self.clock, Freezing(self.stores, self.clock, budgets))
        self.controller.close()
        self.controller = self.control()
        self.safety = SafetyDesk(self.stores, self.catalogue)

    def restart(self) -> None:
        """Go on with a controller and a guard that know nothing but what is stored."""
        self.controller.close()
        self.guard = make_guard(self.stores, self.clock)
        self.controller = self.control(holder="two")

    def promote(self) -> None:
        """Bring the challenger into production, and let the rollout end."""
        assert self.run().state.phase is Phase.PROMOTED
        self.ticks(2)

    @property
    def owner(self) -> str | None:
        return self.stores.services.production("tags").champion


@pytest.fixture
def guarded(tmp_path: Path, warm_up_calls: list[str]) -> Iterator[GuardedBench]:
    with closing(GuardedBench(tmp_path)) as made:
        yield made


UNDONE = {"service.undone", "service.crowned"}


def told_topics(bench: Bench) -> list[str]:
    """Return the codes of what people are told, in order."""
    return [message.topic for message in bench.stores.outbox.take(at_most=1000, addressed=False)]


def codes(bench: Bench) -> list[str]:
    return [event.code for event in bench.told]


def test_harm_after_the_end_of_a_rollout_brings_the_version_before_back(guarded: GuardedBench) -> None:
    guarded.promote()
    assert guarded.champion in guarded.fleet.running
    guarded.ticks(20)
    assert guarded.owner == "m@2"
    guarded.traffic.bad[2] = 0.6
    guarded.ticks(30)
    assert guarded.owner == "m@1"
    assert guarded.catalogue.aliases["m", CHAMPION] == guarded.champion
    assert codes(guarded).count("watch.harm-proven") == 1
    row = guarded.stores.rollouts.of_service("tags")[0]
    assert guarded.stores.rollouts.rolled_back("tags", row.digest) is not None
    guarded.traffic.bad[1] = 0.6
    guarded.ticks(60)
    assert guarded.owner == "m@1", "a version that was proven harmful is no refuge"


def test_an_outage_of_both_while_a_rollout_compares_them_condemns_nobody(guarded: GuardedBench) -> None:
    third = guarded.catalogue.register("m", Registration(guarded.folder)).id
    guarded.promote()
    guarded.begin(third)
    guarded.run(until=lambda d: d.state.phase is Phase.PROGRESSING and d.weight > 0)
    guarded.traffic.bad[2] = guarded.traffic.bad[3] = 0.6
    guarded.ticks(20)
    assert guarded.view.decision is not None
    assert guarded.view.decision.reason.code is ReasonCode.ENVIRONMENT
    assert guarded.champion in guarded.fleet.running, "there was somebody to go back to"
    assert guarded.owner == "m@2"
    assert "watch.harm-proven" not in codes(guarded)
    row = next(row for row in guarded.stores.rollouts.of_service("tags") if row.challenger == "m@2")
    assert guarded.stores.rollouts.rolled_back("tags", row.digest) is None


def test_what_users_do_not_get_after_a_kill_proves_nothing_of_the_version(guarded: GuardedBench) -> None:
    guarded.promote()
    guarded.safety.kill("tags", VersionRef("m", number=1), actor="eva", reason="old")
    guarded.safety.kill("tags", VersionRef("m", number=2), actor="eva", reason="draws faces")
    guarded.traffic.bad[2] = 1.0
    guarded.ticks(40)
    assert "watch.harm-proven" not in codes(guarded)
    row = guarded.stores.rollouts.of_service("tags")[0]
    assert guarded.stores.rollouts.rolled_back("tags", row.digest) is None


def test_an_undone_champion_gives_way_to_the_one_before_in_the_name_of_who_asked(guarded: GuardedBench) -> None:
    with pytest.raises(Conflict, match="no champion before"):
        guarded.safety.undo("tags", actor="eva", reason="worse colours")
    guarded.promote()
    guarded.ticks(70)
    assert guarded.champion not in guarded.fleet.running
    offer = guarded.safety.undo("tags", actor="eva", reason="worse colours")
    assert "from m@2 back to m@1" in offer.effect
    with pytest.raises(Conflict, match="eva asked for it already"):
        guarded.safety.undo("tags", actor="bob", reason="me too")
    guarded.restart()
    guarded.ticks(10)
    assert guarded.owner == "m@1"
    version, _, actor, reason = next(move for move in reversed(guarded.catalogue.moves) if move[1] == CHAMPION)
    assert (version, actor) == (guarded.champion, "eva")
    assert "m@2 was undone: worse colours" in reason
    assert [code for code in told_topics(guarded) if code in UNDONE] == ["service.undone", "service.crowned"]
    guarded.ticks(30)
    assert guarded.owner == "m@1", "what is done is not done again"
    assert guarded.safety.offer_undo("tags").effect.startswith("all traffic of tags goes from m@1 back to m@2")


def test_a_version_that_was_taken_back_in_bake_is_no_refuge(guarded: GuardedBench) -> None:
    guarded.run(until=lambda d: d.state.phase is Phase.BAKING)
    abort = ManualAction(ManualKind.ABORT, "eva", "its pictures are not what we want")
    with guarded.stores.database.write() as connection:
        guarded.stores.wishes.ask(connection, guarded.rollout_id, abort)
    assert guarded.run().state.phase is Phase.ABORTED
    production = guarded.stores.services.production("tags")
    assert (production.champion, production.previous) == ("m@1", "m@2"), "it had been champion for a moment"
    guarded.traffic.bad[1] = 0.6
    guarded.ticks(40)
    assert "watch.harm-proven" in codes(guarded)
    assert guarded.owner == "m@1"
    assert guarded.challenger not in guarded.fleet.running


def test_harm_after_the_time_that_the_old_one_is_kept_is_only_told(guarded: GuardedBench) -> None:
    guarded.promote()
    guarded.ticks(70)
    assert set(guarded.fleet.running) == {guarded.challenger}
    guarded.traffic.bad[2] = 0.6
    guarded.ticks(30)
    assert guarded.owner == "m@2"
    assert "watch.harm-proven" in codes(guarded)


def test_evidence_of_harm_survives_a_restart(guarded: GuardedBench) -> None:
    guarded.promote()
    guarded.traffic.wrong[2] = 0.3
    before = len(guarded.told)
    guarded.ticks(1)
    guarded.restart()
    guarded.ticks(60)
    assert guarded.owner == "m@1"
    assert codes(guarded)[before:].count("watch.harm-proven") == 1


def test_a_killed_challenger_gets_no_traffic_from_the_next_tick_and_its_content_is_remembered(
    guarded: GuardedBench,
) -> None:
    guarded.run(until=lambda d: d.weight > 0.1)
    view = guarded.safety.kill("tags", VersionRef("m", number=2), actor="eva", reason="draws faces")
    guarded.ticks(1)
    table = guarded.traffic.table
    assert table is not None
    split = table.services["tags"].split
    assert split is None or split.weight == 0.0
    decision = guarded.run()
    assert decision.state.phase is Phase.ABORTED
    digest = guarded.stores.rollouts.of_service("tags")[0].digest
    assert guarded.stores.rollouts.rolled_back("tags", digest) is not None
    assert "no traffic" in view.effect
    assert [change.actor for change in guarded.stores.audit.changes("version/m@2")] == ["eva"]


def test_a_killed_champion_gives_way_to_the_one_before_even_when_that_is_cold(guarded: GuardedBench) -> None:
    guarded.promote()
    guarded.ticks(70)
    assert guarded.champion not in guarded.fleet.running
    guarded.safety.kill("tags", VersionRef("m", number=2), actor="eva", reason="draws faces")
    guarded.ticks(10)
    assert guarded.owner == "m@1"
    table = guarded.traffic.table
    assert table is not None
    assert table.services["tags"].champion == guarded.champion
    guarded.restart()
    guarded.ticks(5)
    assert guarded.owner == "m@1"


def test_a_killed_champion_gives_way_even_to_one_that_was_proven_harmful(guarded: GuardedBench) -> None:
    guarded.promote()
    guarded.ticks(20)
    guarded.traffic.bad[2] = 0.6
    guarded.ticks(30)
    assert guarded.owner == "m@1"
    guarded.safety.kill("tags", VersionRef("m", number=1), actor="eva", reason="draws faces")
    guarded.ticks(10)
    assert guarded.owner == "m@2", "some bad answers are less than none at all"


def test_a_kill_after_which_nobody_is_served_says_so(guarded: GuardedBench) -> None:
    guarded.promote()
    guarded.safety.kill("tags", VersionRef("m", number=1), actor="eva", reason="old")
    view = guarded.safety.kill("tags", VersionRef("m", number=2), actor="eva", reason="draws faces")
    assert "nobody is served" in view.effect
    guarded.ticks(10)
    table = guarded.traffic.table
    assert table is not None
    assert table.services["tags"].closed, "a service that nobody may serve turns its users away, and counts them"
    assert guarded.owner == "m@2"


def test_what_is_good_waits_a_little_and_is_counted_with_what_comes_after_it(
    tmp_path: Path, warm_up_calls: list[str]
) -> None:
    spec = "service: tags\nmodel: m\nslos: {availability: {objective: 98%}}\nrollout: {warmup: {prompts: 0}}\n"
    with closing(GuardedBench(tmp_path, spec)) as bench:
        bench.ticks(41)
        bench.traffic.bad[1] = 0.5
        bench.ticks(1)
        bench.ticks(10)  # by then a watch is written, whatever it found
        watched = bench.stores.watches.read()["tags", "m@1"]
        seen = sum(total for _, _, total in watched.objectives["availability"].minutes)
        assert seen == sum(total for end_s, total in bench.traffic.served if end_s <= watched.at_s)


def test_an_objective_that_kills_stops_the_version_by_itself(tmp_path: Path, warm_up_calls: list[str]) -> None:
    spec = SPEC + "watch: {keep_warm: 1m, on_harm: tell, kill_on: [text]}\n"
    with closing(GuardedBench(tmp_path, spec)) as bench:
        bench.promote()
        bench.traffic.wrong[2] = 0.9
        bench.ticks(60)
        assert bench.owner == "m@1"
        (kill,) = bench.stores.kills.of_service("tags")
        assert (kill.version, kill.actor) == ("m@2", "guard/watch")


def test_a_freeze_pauses_what_goes_on_and_forbids_what_would_begin(guarded: GuardedBench) -> None:
    guarded.run(until=lambda d: d.weight > 0.1)
    freeze = guarded.safety.freeze("tags", actor="eva", reason="holidays")
    guarded.ticks(2)
    decision = guarded.view.decision
    assert decision is not None
    assert decision.state.phase is Phase.PAUSED
    freezing = Freezing(guarded.stores, guarded.clock)
    assert "holidays" in freezing.why_frozen("tags")
    guarded.safety.thaw(freeze.id, actor="eva", reason="back")
    assert freezing.why_frozen("tags") == ""


def test_a_calendar_and_a_spent_budget_freeze(tmp_path: Path, warm_up_calls: list[str]) -> None:
    friday_s = 1_700_000_000 - 1_700_000_000 % (7 * 86400) + 86400 + 17 * 3600.0  # the epoch began on a Thursday
    for spec, budgets, word in (
        ("freeze: {weekly: ['fri 16:00 - mon 08:00']}\n", None, "each week"),
        ("freeze: {budget_below: 10%}\n", Spent(), "3 % of the error budget"),
    ):
        stores_folder = tmp_path / word.split()[0]
        with closing(GuardedBench(stores_folder, SPEC + spec, budgets)) as bench:
            clock = FakeClock(friday_s)
            assert word in Freezing(bench.stores, clock, budgets).why_frozen("tags")
            clock.advance(3 * 86400.0)
            why = Freezing(bench.stores, clock, None).why_frozen("tags")
            assert why == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("watch: {kill_on: [nonsense]}", "no objective called 'nonsense'"),
        ("freeze: {weekly: ['friday']}", "fri 16:00"),
        ("watch: {keep_warm: -1s}", "keep_warm"),
    ],
)
def test_a_wrong_watch_or_freeze_is_told_with_its_remedy(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        load_service_spec(SPEC + text + "\n")


def test_what_is_not_there_can_not_be_killed_or_frozen(guarded: GuardedBench) -> None:
    stores: Stores = guarded.stores
    with pytest.raises(NotFound):
        guarded.safety.kill("nobody", VersionRef("m", number=2), actor="eva", reason="why")
    with pytest.raises(NotFound):
        guarded.safety.kill("tags", VersionRef("m", number=99), actor="eva", reason="why")
    with pytest.raises(InvalidInput, match="reason"):
        guarded.safety.kill("tags", VersionRef("m", number=2), actor="eva", reason=" ")
    with pytest.raises(NotFound):
        guarded.safety.freeze("nobody", actor="eva", reason="why")
    with pytest.raises(InvalidInput, match="until"):
        guarded.safety.freeze("tags", actor="eva", reason="why", until_s=1.0)
    assert stores.kills.of_service("tags") == []
    assert stores.freezes.active() == []
