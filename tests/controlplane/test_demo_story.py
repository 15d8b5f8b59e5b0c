"""The demo's story in virtual time: the service as shipped, the real controller, scripted workers and users."""

import io
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from PIL import Image
from rich.console import Console

from contracts.clock import FakeClock
from contracts.ids import VersionId, VersionRef
from contracts.wire.telemetry import AttemptCounts
from controlplane.demo.play import Player, Trial
from controlplane.demo.scenario import DEFAULT_SCENARIO, SPEC, Case, Ending, Fate
from controlplane.demo.show import PlainStage, Result
from controlplane.demo.trial import DeskTrial
from controlplane.desks.journal import Journal
from controlplane.desks.rollouts import RolloutDesk
from tests.controlplane.conftest import Bench
from tests.controlplane.scripted_traffic import FakeTraffic

CHALLENGER = 2
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


class Users(FakeTraffic):
    """Users who get slow answers, too."""

    def __init__(self, clock: FakeClock, rate: int) -> None:
        super().__init__(clock, rate)
        self.slow: dict[int, float] = {}

    def _attempts(self, version: VersionId, total: int) -> AttemptCounts:
        made = super()._attempts(version, total)
        slow = sum(self._rng.uniform() < self.slow.get(version.number, 0.0) for _ in range(total))
        return made.model_copy(update={"slow": {"latency": max(slow, made.n_bad)}})


@dataclass
class Outage:
    """Both versions fail while it lasts."""

    users: Users

    def begin(self) -> None:
        self.users.bad.update({1: 1.0, CHALLENGER: 1.0})

    def end(self) -> None:
        self.users.bad.clear()


class Stand:
    """The story's versions as faults of scripted workers; ticks instead of waiting."""

    def __init__(self, folder: Path) -> None:
        text = SPEC.read_text(encoding="utf-8")
        self.bench = Bench(folder, text.replace("price-tags", "m").replace("text-accuracy", "seen-text"))
        self.users = Users(self.bench.clock, rate=12)
        self.bench.traffic = self.users
        self.bench.world.data_plane.traffic = self.users  # type: ignore[attr-defined]
        self.shown = io.StringIO()
        self.is_black = False
        self._wear: Wear = lambda users, answers: None
        self._answers = 0

    def play(self, case: Case) -> Result:
        """Play one case with the faults of its version."""
        self._wear, self.is_black = FAULTS.get(case.version, self._wear), case.version == "black"
        player = Player(
            self.bench.spec,
            self._begin,
            PlainStage(Console(file=self.shown, width=200)),
            self.bench.clock,
            Outage(self.users),
            dress=lambda scene: None,
            unanswered=lambda: 0,
            wait=self._tick,
        )
        return player.play(case, self.bench.challenger, self.bench.champion)

    def draw(self) -> httpx.Response:
        """Answer a warm-up prompt as the version would."""
        file = io.BytesIO()
        picture = Image.new("RGB", (8, 8))
        picture.putpixel((0, 0), BLACK if self.is_black else WHITE)
        picture.save(file, format="PNG")
        return httpx.Response(200, content=file.getvalue())

    def _begin(self, case: Case, challenger: VersionId) -> Trial:
        bench = self.bench
        desk = RolloutDesk(bench.stores, bench.catalogue, bench.clock, bench.world.rng)
        named = VersionRef(challenger.model, number=challenger.number)
        row = desk.start(bench.spec.service, named, actor="test", reason="the story", force=case.force)
        return DeskTrial(bench.stores, desk, row.id)

    def _tick(self, wait_s: float) -> None:
        """Let a second pass, with the fault as it is after so many answers."""
        self._wear(self.users, self._answers)
        self.bench.ticks()
        newest = Journal(self.bench.stores.database).newest(self.bench.rollout_id)
        counts = newest.observation["counts"].get("availability") if newest is not None else None
        self._answers += counts["challenger"]["total"] if counts else 0


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stand]:
    made = Stand(tmp_path)
    monkeypatch.setattr("controlplane.loop.effects.httpx.post", lambda url, **asked: made.draw())
    with closing(made.bench):
        yield made


Wear = Callable[[Users, int], None]
FAULTS: dict[str, Wear] = {
    "swapped-rows": lambda users, answers: users.wrong.update({CHALLENGER: 0.4}),
    "black": lambda users, answers: users.wrong.update({CHALLENGER: 1.0}),
    "many-steps": lambda users, answers: users.slow.update({CHALLENGER: 1.0}),
    "leaky": lambda users, answers: users.bad.update({CHALLENGER: float(answers > 40)}),
    "wears-out": lambda users, answers: users.wrong.update({CHALLENGER: 0.5 * (answers > 110)}),
}
"""What each version does to its users, after so many answers."""


@pytest.mark.parametrize("case", DEFAULT_SCENARIO.cases, ids=lambda case: f"{case.version}{'-forced' * case.force}")
def test_every_case_ends_as_the_scenario_says(case: Case, stand: Stand) -> None:
    result = stand.play(case)
    assert result.as_expected, f"{result.seen}: {result.why}\n{stand.shown.getvalue()}"


def test_an_outage_costs_the_challenger_nothing_but_time(stand: Stand) -> None:
    case = next(case for case in DEFAULT_SCENARIO.cases if case.outage)
    result = stand.play(case)
    assert result.seen == Ending(Fate.PROMOTED, held=True)
    told = stand.shown.getvalue()
    assert "the champion burns too" in told
    assert "paused by on-call" in told
    assert "rolling-back" not in told


def test_a_good_version_that_must_be_rolled_back_is_not_as_expected(stand: Stand) -> None:
    result = stand.play(Case("good", Ending(Fate.ROLLED_BACK, ("text",)), "it is not bad at all"))
    assert result.seen == Ending(Fate.PROMOTED)
    assert not result.as_expected


def test_a_rollout_of_a_version_that_is_kept_warm_ends_all_the_same(stand: Stand) -> None:
    bench = stand.bench
    with bench.stores.database.write() as connection:
        bench.stores.fleet_wishes.warm(connection, bench.challenger, 600.0, actor="test", reason="it is tried next")
    result = stand.play(Case("black", Ending(Fate.REFUSED), "its first prompts show it"))
    assert result.as_expected
    assert result.duration_s < 60, "nobody waits until it has been let go"
    assert bench.challenger in bench.fleet.running


def test_what_users_got_is_counted_from_the_ledger(stand: Stand) -> None:
    leaky = stand.play(next(case for case in DEFAULT_SCENARIO.cases if case.version == "leaky"))
    assert leaky.served.rescued == leaky.served.failed > 0
    assert leaky.served.bad == 0
    assert leaky.served.answers > 30
