"""What pages say of traffic, latency, replicas and what needs a person; rollouts and weeks beside one another."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import ANY

import pytest

from contracts.errors import Unavailable
from contracts.ids import VersionId
from contracts.specs.rollout import Step
from contracts.wire.worker import WorkerHealth, WorkerSpec, WorkerState
from controlplane.settings import Settings
from controlplane.web.sources.home import Home
from controlplane.web.sources.serving import Cost, Timed
from controlplane.web.sources.telemetry import Recorded, Told
from controlplane.web.views.attention import Signs, view_attention
from controlplane.web.views.burn import CHALLENGER, CHAMPION, RuleView, count_within, view_burns
from controlplane.web.views.comparison import compare_rollouts
from controlplane.web.views.latency import view_latency
from controlplane.web.views.models import grow_tree
from controlplane.web.views.pairs import view_pairs
from controlplane.web.views.prospect import view_prospects
from controlplane.web.views.replicas import view_replicas
from controlplane.web.views.rollout import view_rollout
from controlplane.web.views.traffic import count_oom, draw_gaps, view_traffic
from controlplane.web.views.weeks import compare_weeks
from evaluation.report.document import Report, Section, Table
from evaluation.report.figures import Figure
from registry.catalogue import VersionRecord
from rollout.burn import RULES
from rollout.phases import Phase
from serving.fleet.port import FleetState, Replica, ReplicaState
from serving.fleet.reports import write_report
from tests.web.recorder import QUICK_S, SLOW_S, record_rollout, record_spec, write_routes
from tests.web.test_views import chronicle_of
from tests.web.writer import BEGAN_S, Writer, next_rollout

Answer = TypeVar("Answer")


def ask(home: Home, question: Callable[[Home], Coroutine[Any, Any, Answer]]) -> Answer:
    """Ask a home once and close it."""

    async def asked() -> Answer:
        while await home.feed.catch_up():
            pass
        try:
            return await question(home)
        finally:
            home.close()

    return asyncio.run(asked())


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Writer]:
    """A rolled-back rollout with its telemetry."""
    home = tmp_path_factory.mktemp("recorded")
    writer = Writer(home, number=3, score=0.5)
    assert writer.finish() is Phase.ROLLED_BACK
    record_spec(home, BEGAN_S - 60)
    record_rollout(home, 3, BEGAN_S, BEGAN_S + 60, "a tag")
    return home, writer


def test_latency_is_that_of_the_sketches_and_a_stretch_without_answers_stays_empty(
    recorded: tuple[Path, Writer],
) -> None:
    home, writer = recorded
    story = chronicle_of(writer).stories[writer.rollout_id]
    versions = (story.champion, story.challenger)
    timed = ask(Home(Settings(home)), lambda h: h.serving.timed("tags", versions, BEGAN_S, BEGAN_S + 120))
    view = view_latency(story, timed, None)
    assert view is not None
    champion, challenger = view.rows
    assert champion.quantiles_s == pytest.approx((QUICK_S,) * 3, rel=0.02)
    assert challenger.quantiles_s == pytest.approx((SLOW_S,) * 3, rel=0.02)
    assert (champion.n, challenger.n) == (6 * 2 * 6, 6 * 2 * 5)
    assert view.columns["champion95"][-1] is None
    assert len(view.columns["t"]) == len(view.columns["champion95"]) == len(view.columns["challenger50"])
    holed = {key: sketch for key, sketch in timed.sketches.items() if key[0] != BEGAN_S + 30} if timed else {}
    gaps = view_latency(story, Timed(view.stretch_s, holed), None)
    assert gaps is not None
    assert [gaps.columns["champion50"][row] for row in (2, 3, 4)] == [pytest.approx(QUICK_S, rel=0.02), None, ANY]


def test_burn_is_counted_over_windows_cut_to_the_rollouts_age(recorded: tuple[Path, Writer]) -> None:
    counts = [(0, 10, 0, 10), (4, 20, 0, 20), (4, 30, 1, 30)]
    times = [100.0, 400.0, 800.0]
    assert count_within(times, counts, 2, 300.0, CHALLENGER) == (0, 10)
    assert count_within(times, counts, 2, 400.0, CHALLENGER) == (0, 10)
    assert count_within(times, counts, 2, 3600.0, CHALLENGER) == (4, 30)
    assert count_within(times, counts, 2, 3600.0, CHAMPION) == (1, 30)
    home, writer = recorded
    story = chronicle_of(writer).stories[writer.rollout_id]
    specs = ask(Home(Settings(home)), lambda h: h.specs.known())
    (burn,) = view_burns(story, specs["tags"])
    last = story.arms["availability"].counts[-1]
    assert burn.rules[0].long == pytest.approx(last[0] / last[1] / (1 - burn.objective))
    assert not any(rule.fires for rule in burn.rules)
    assert view_burns(story, None) == ()


def test_an_alarm_fires_only_when_both_windows_burn() -> None:
    rule = RULES[0]
    assert RuleView(rule, 20.0, 15.0, 0.0, 9).fires
    assert not RuleView(rule, 20.0, 14.0, 0.0, 9).fires
    assert not RuleView(rule, None, 15.0, 0.0, 0).fires


def test_pairs_are_the_same_prompt_and_seed_the_largest_loss_first(recorded: tuple[Path, Writer]) -> None:
    home, _ = recorded
    versions = ("price-tags@1", "price-tags@3")
    drawn = ask(Home(Settings(home)), lambda h: h.serving.drawn("tags", versions, BEGAN_S, BEGAN_S + 60)) or []
    view = view_pairs(drawn, *versions)
    assert view is not None
    assert all(pair.champion and pair.champion.request_id == pair.challenger.request_id for pair in view.pairs)
    losses = [pair.difference for pair in view.pairs]
    assert losses == sorted(losses)  # type: ignore[type-var]
    assert losses[0] == pytest.approx(0.5 - 0.05 - 1.0)
    alone = view_pairs([one for one in drawn if one.version == versions[1]], *versions)
    assert alone is not None
    assert "nothing was mirrored" in alone.sentence
    assert view_pairs([], *versions) is None


def test_what_comes_next_is_told_with_its_time(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    for _ in range(8):
        writer.tick()
    story = chronicle_of(writer).stories[writer.rollout_id]
    policy = writer.policy.spec
    proof, lapse = view_prospects(story, policy)
    assert "safety is proven in availability" in proof.what
    began_s = next(span.since_s for span in story.spans if span.phase is Phase.PROGRESSING)
    assert lapse.at_s == pytest.approx(began_s + policy.max_duration)
    stepped = policy.model_copy(update={"steps": (Step(weight=0.05, hold=60.0), Step(weight=0.5, hold=60.0))})
    taken = [tick for tick in story.ticks if tick.reason == "ramp.raised"][:2]
    story.ticks[:] = [*story.ticks[: story.ticks.index(taken[0]) + 1]]
    step = view_prospects(story, stepped)[0]
    assert "step 2 of 2" in step.what
    assert step.at_s == pytest.approx(taken[0].at_s + 60)
    writer.pause("wait")
    (person,) = view_prospects(chronicle_of(writer).stories[writer.rollout_id], policy)
    assert "a person resumes" in person.what


def test_what_served_is_told_by_lane_and_what_it_cost(recorded: tuple[Path, Writer]) -> None:
    home, _ = recorded
    served = ask(Home(Settings(home)), lambda h: h.serving.served())
    traffic = view_traffic(served)["tags"]
    assert [lane.lane for lane in traffic.lanes] == ["draft", "final"]
    assert {row.version: (row.attempts, row.bad, row.oom) for row in traffic.lanes[0].rows} == {
        "price-tags@1": (36, 0, 0),
        "price-tags@3": (36, 6, 6),
    }
    assert count_oom(served) == {("tags", "price-tags@3"): 12}
    replica_s, good = 2 * 60.0, 2 * (36 + 30)
    assert traffic.cost.replica_s_per_1k == pytest.approx(1000 * replica_s / good)
    gap = [Cost(0, "tags", 10, 5.0), Cost(20, "tags", 10, 5.0)]
    assert draw_gaps(gap, 10).count("M") == 2


def test_each_replica_is_asked_how_it_is(tmp_path: Path) -> None:
    version = VersionId("price-tags", 1)
    spec = WorkerSpec(version=version, digest=f"sha256:{'0' * 64}", directory="d")
    health = WorkerHealth(state=WorkerState.READY, version=version, digest=spec.digest, memory_bytes=5)
    with answering(health.model_dump_json().encode()) as port:
        table = write_routes(tmp_path, 4, 0.1, ports=(port, 1))
        home = Home(Settings(tmp_path))
        unseen = view_replicas(table, ask(home, lambda h: h.workers.look()))
        assert {replica.state for replica in unseen} == {"routed"}
        folder = tmp_path / "fleet" / "workers"
        folder.mkdir(parents=True)
        write_report(folder / "one.json", spec, port)
        seen = view_replicas(table, ask(Home(Settings(tmp_path)), lambda h: h.workers.look()))
    assert [(replica.name, replica.state, replica.memory_bytes) for replica in seen] == [
        ("v1-0", "ready", 5),
        ("v4-0", "gone", 0),
    ]
    silent = view_replicas(table, ask(Home(Settings(tmp_path)), lambda h: h.workers.look()))
    assert silent[0].state == "silent"
    lost = view_attention(Signs([], None, silent, {("tags", "price-tags@4"): 3}, None, None), 0.0)
    assert [one.kind for one in lost] == ["replica", "replica", "memory"]


def test_a_supervisor_also_knows_of_replicas_that_failed_or_wait(tmp_path: Path) -> None:
    home = Home(Settings(tmp_path))
    version = VersionId("price-tags", 4)
    failed = Replica(version, "v4-0", ReplicaState.FAILED, restarts=3, message="killed by signal 9: out of memory")
    waiting = Replica(version, "v4-1", ReplicaState.WAITING)
    home.workers.observe = lambda: FleetState(replicas=(failed, waiting))
    seen = view_replicas(None, ask(home, lambda h: h.workers.look()))
    assert [(replica.name, replica.state) for replica in seen] == [("v4-0", "failed"), ("v4-1", "warming")]
    assert "started again 3 times" in seen[0].message
    assert view_attention(Signs([], None, seen, {}, None, None), 0.0)[0].kind == "replica"


@contextmanager
def answering(body: bytes) -> Iterator[int]:
    """Answer every request on a port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_what_needs_a_person_is_sorted_the_worst_first(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    for _ in range(6):
        writer.tick()
    writer.pause("look at it")
    paused = view_rollout(chronicle_of(writer).stories[writer.rollout_id])
    told = Told(100.0, "monitor.alarm", "version/m@1", "monitor a: it moved")
    old = told._replace(at_s=-100_000.0)
    harmful = told._replace(code="watch.harm-proven")
    events = (told, old, harmful, told._replace(code="monitor.no-data"))
    signs = Signs([paused], None, [], {}, Recorded((), (), (), (), events, 100.0), Unavailable("it is torn"))
    assert [one.kind for one in view_attention(signs, 200.0)] == ["record", "harm", "waiting", "alarm"]


def test_two_rollouts_are_put_beside_one_another(tmp_path: Path) -> None:
    good = Writer(tmp_path)
    good.finish()
    bad = next_rollout(good, number=3, score=0.5)
    bad.finish()
    stories = chronicle_of(good).stories
    view = compare_rollouts(stories["tags-2-abc2"], stories["tags-3-abc3"])
    assert "tags-2-abc2 was promoted" in view.sentence
    phases = {name: (first, second) for name, first, second in view.phases}
    assert phases["baking"][1] is None
    assert phases["rolling-back"][0] is None
    took_s = view.first.at_s - view.first.started_s
    assert sum(first or 0.0 for first, _ in phases.values()) == pytest.approx(took_s)
    assert view.series["second"][-1] is None
    assert view.series["first"][-1] == 1.0


def test_lineage_is_a_tree_also_when_it_is_a_ring() -> None:
    def record(number: int, parent: int | None) -> VersionRecord:
        made_from = VersionId("m", parent) if parent else None
        return VersionRecord(VersionId("m", number), "d", 1, 0.0, parent=made_from)

    (root,) = grow_tree([record(3, 1), record(2, 1), record(1, None), record(4, 3)])
    assert [child.record.id.number for child in root.children] == [2, 3]
    assert root.children[1].children[0].record.id.number == 4
    assert [branch.record.id.number for branch in grow_tree([record(1, 2), record(2, 1)])] == [1]
    chain = grow_tree([record(number, number - 1 or None) for number in range(1, 2000)])
    assert len(chain) > 1


def test_weeks_are_compared_figure_by_figure() -> None:
    def report(week: str, state: str, share: float) -> Report:
        figure = Figure(share, 100, share - 0.01, share + 0.01, "share")
        rows = [("tags", state, figure, Figure(3.0, 3, unit="count"))]
        table = Table("Per lane", ("service", "verdict", "met", "last week"), rows)
        return Report(week, "", "", (), (Section(1, "verdict", "Verdict", "", [table]),), ())

    ((row,),) = [group.rows for group in compare_weeks(report("a", "healthy", 0.9), report("b", "act", 0.5))]
    assert (row.what, row.column) == ("tags", "met")
    assert row.has_changed
    assert row.change.startswith("-40.00 pp [")
