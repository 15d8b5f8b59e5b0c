"""What the demo shows: every gate in its own measure, and lines only when something changed."""

import io
from pathlib import Path

from rich.console import Console

from contracts.ids import VersionId
from controlplane.demo.show import Ending, PlainStage, Scene, draw_endings, draw_scene
from rollout.phases import Phase
from tests.controlplane.conftest import SPEC, Bench


def drawn(thing: object) -> str:
    console = Console(file=io.StringIO(), width=140)
    console.print(thing)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_every_gate_is_shown_in_its_own_measure(tmp_path: Path, warm_up_calls: list[str]) -> None:
    bench = Bench(tmp_path, SPEC.replace("relative: null, ", ""))
    bench.traffic.bad = {1: 0.01, 2: 0.01}
    decision = bench.run(until=lambda d: d.weight > 0.4)
    text = drawn(draw_scene(Scene("m@2 against m@1", 0.0, decision, 10.0, 40.0, {"m@1": 5})))
    rows = {line.split()[0]: line for line in text.splitlines() if line.split()}
    assert "2 %" in rows["availability"]
    assert "1.5×" in rows["availability-relative"]
    assert "0.92" in rows["text"]
    assert "nan" not in text


def test_a_challenger_that_fails_beside_a_champion_that_does_not_is_told_in_words(
    tmp_path: Path, warm_up_calls: list[str]
) -> None:
    bench = Bench(tmp_path, SPEC.replace("relative: null, ", ""))
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
        stage.show(Scene("m@2", 0.0, decision, now_s))
    assert len(file.getvalue().splitlines()) == 1


def test_an_ending_says_why_and_shows_one_wrong_picture() -> None:
    ending = Ending(f"{VersionId('m', 2)}", Phase.PROMOTED, Phase.ROLLED_BACK, "harm", 9.0, 5, ("asked 7, shows 1",))
    assert not ending.as_expected
    assert "m@2: harm (one picture: asked 7, shows 1)" in drawn(draw_endings([ending]))
