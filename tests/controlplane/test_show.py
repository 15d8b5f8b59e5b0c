"""What the demo shows: every gate in its own measure, lines only when something changed, and a table at the end."""

import io
from contextlib import closing
from pathlib import Path

from rich.console import Console

from contracts.ids import VersionId
from controlplane.demo.scenario import Case, Ending, Fate
from controlplane.demo.served import Served
from controlplane.demo.show import PlainStage, Result, Scene, draw_results, draw_scene
from controlplane.loop.record import decision_document
from tests.controlplane.conftest import SPEC, Bench


def drawn(thing: object) -> str:
    console = Console(file=io.StringIO(), width=140)
    console.print(thing)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_every_gate_is_shown_in_its_own_measure(tmp_path: Path, warm_up_calls: list[str]) -> None:
    with closing(Bench(tmp_path, SPEC.replace("relative: null, ", ""))) as bench:
        bench.traffic.bad = {1: 0.01, 2: 0.01}
        decision = bench.run(until=lambda d: d.weight > 0.4)
    scene = Scene("m@2 against m@1", 0.0, decision_document(decision), 10.0, 40.0, {"m@1": 5}, "building")
    text = drawn(draw_scene(scene))
    rows = {line.split()[0]: line for line in text.splitlines() if line.split()}
    assert "2 %" in rows["availability"]
    assert "1.5×" in rows["availability-relative"]
    assert "0.92" in rows["text"]
    assert "nan" not in text
    assert "building" in text


def test_a_challenger_that_fails_beside_a_champion_that_does_not_is_told_in_words(
    tmp_path: Path, warm_up_calls: list[str]
) -> None:
    with closing(Bench(tmp_path, SPEC.replace("relative: null, ", ""))) as bench:
        bench.traffic.bad[2] = 0.03
        decision = bench.run(until=lambda d: any(v.gate == "availability-relative" and v.value > 1 for v in d.verdicts))
    told = next(v.sentence for v in decision.verdicts if v.gate == "availability-relative")
    assert "fails and the champion does not" in told
    assert "inf" not in told


def test_plain_lines_come_only_when_something_changed(bench: Bench) -> None:
    decision = bench.run(until=lambda d: d.weight > 0.1)
    file = io.StringIO()
    stage = PlainStage(Console(file=file, width=140))
    for now_s in (1.0, 2.0, 3.0):
        stage.show(Scene("m@2", 0.0, decision_document(decision), now_s))
    assert len(file.getvalue().splitlines()) == 1


CASE = Case("leaky", Ending(Fate.ROLLED_BACK, ("availability",)), "runs out of memory")


def test_the_table_tells_expected_seen_and_what_users_got() -> None:
    served = Served(answers=41, failed=12, unanswered=2)
    ended = Result(CASE, VersionId("m", 2), Ending(Fate.ROLLED_BACK, ("availability",)), "harm is proven", 23.0, served)
    text = drawn(draw_results([ended]))
    assert ended.as_expected
    assert next(line for line in text.splitlines() if "23s" in line).split() == [
        *("leaky", "rolled", "back", "by", "availability", "rolled", "back", "by", "availability", "41", "2", "23s")
    ]
    assert "10 requests were answered by the champion instead" in text


def test_another_gate_or_too_much_harm_is_not_as_expected() -> None:
    by_chance = Result(CASE, VersionId("m", 2), Ending(Fate.ROLLED_BACK, ("latency",)), "", 9.0, Served())
    costly = Result(CASE, VersionId("m", 2), CASE.expected, "", 9.0, Served(wrong=11), allowed=10.0)
    assert not by_chance.as_expected
    assert not costly.as_expected


def test_a_hold_is_told_and_missed_only_where_it_is_expected() -> None:
    assert str(Ending(Fate.PROMOTED, held=True)) == "held, then promoted"
    assert Ending(Fate.PROMOTED, held=True).meets(Ending(Fate.PROMOTED))
    assert not Ending(Fate.PROMOTED).meets(Ending(Fate.PROMOTED, held=True))
