"""Monitors: the queue never makes anybody wait, failures are no data, alarms say what they ask for."""

import threading
from collections.abc import Sequence

import numpy as np

from contracts.clock import FakeClock
from contracts.ids import VersionId
from contracts.specs.monitor import MonitorAction, MonitorSpec
from contracts.wire.telemetry import Feedback, SampledOutput, TelemetryBatch, UserSignals
from evaluation.monitors.monitor import Monitor
from evaluation.monitors.queue import HOUR_S, ScoringQueue
from evaluation.monitors.signals import not_asked_again, user_values
from evaluation.scorers.port import Score

V1, V2 = VersionId("m", 1), VersionId("m", 2)


def output(number: int, prompt: str = "p") -> SampledOutput:
    return SampledOutput(
        service="tags",
        version=V1,
        request_id=f"r{number}",
        lane="final",
        prompt=prompt,
        seed=1,
        at_s=1.0,
        image_png=b"",
    )


class Gate:
    """A scorer that waits until it is let through, and raises on one prompt."""

    name, digest = "gate", "sha256:g"

    def __init__(self) -> None:
        self.open = threading.Event()

    def score(self, samples: Sequence[SampledOutput]) -> list[Score]:
        assert self.open.wait(10)
        if any(sample.prompt == "bad" for sample in samples):
            raise ValueError("torn")
        return [Score(0.5) for _ in samples]


def test_a_full_queue_drops_and_counts_and_nobody_waits() -> None:
    gate = Gate()
    queue = ScoringQueue({"gate": gate}, {"gate": 1000}, FakeClock(), size=8)
    taken = [queue.offer("gate", output(n)) for n in range(50)]
    assert 8 <= sum(taken) <= 8 + 16
    assert queue.dropped["queue-full"] == 50 - sum(taken)
    gate.open.set()
    assert queue.join(10)
    assert len(queue.take()) == sum(taken)
    assert queue.take() == []
    queue.close()


def test_the_budget_is_by_the_hour() -> None:
    clock, gate = FakeClock(), Gate()
    gate.open.set()
    queue = ScoringQueue({"gate": gate}, {"gate": 3}, clock)
    assert [queue.offer("gate", output(n)) for n in range(5)] == [True] * 3 + [False] * 2
    assert queue.dropped["budget"] == 2
    clock.advance(HOUR_S + 1)
    assert queue.offer("gate", output(9))
    queue.close()


def test_one_output_that_a_scorer_raises_on_costs_one_score() -> None:
    gate = Gate()
    queue = ScoringQueue({"gate": gate}, {"gate": 100}, FakeClock())
    for number, prompt in enumerate(("p", "bad", "p", "p")):
        queue.offer("gate", output(number, prompt))
    gate.open.set()
    assert queue.join(10)
    found = {scored.output.request_id: scored.score for scored in queue.take()}
    assert [found[f"r{n}"].value for n in range(4)] == [0.5, None, 0.5, 0.5]
    assert "ValueError: torn" in found["r1"].reason
    queue.close()


def test_a_monitor_with_a_floor_needs_no_history() -> None:
    rng = np.random.default_rng(0)
    monitor = Monitor("quality", MonitorSpec(metric="gate", action=MonitorAction.ROLL_BACK, at_least=0.9))
    assert monitor.begin("m@2", np.array([])) == ""
    assert monitor.update("m@2", (rng.random(2000) < 0.95).astype(float)) is None
    finding = monitor.update("m@2", (rng.random(400) < 0.7).astype(float))
    assert finding is not None
    assert finding.action is MonitorAction.ROLL_BACK
    assert "below 0.9" in finding.sentence
    assert finding.n == 2400


def test_a_monitor_without_a_floor_watches_what_was_usual() -> None:
    rng = np.random.default_rng(1)
    monitor = Monitor("quality", MonitorSpec(metric="gate"))
    assert "100 are the least" in monitor.begin("m@1", rng.random(50))
    assert monitor.update("m@1", np.zeros(500)) is None
    assert monitor.begin("m@1", np.clip(rng.normal(0.7, 0.1, 5000), 0, 1)) == ""
    assert monitor.update("m@1", np.clip(rng.normal(0.7, 0.1, 5000), 0, 1)) is None
    finding = monitor.update("m@1", np.clip(rng.normal(0.77, 0.1, 1000), 0, 1))
    assert finding is not None
    assert "above" in finding.sentence


def test_users_signals_are_scores() -> None:
    signals = (
        UserSignals(service="tags", version=V1, answered=5, asked_again=2),
        UserSignals(service="tags", version=V2, answered=9, asked_again=9),
    )
    assert not_asked_again(signals, "m@1").tolist() == [1.0, 1.0, 1.0, 0.0, 0.0]
    feedback = tuple(
        Feedback(service="tags", version=V1, lane="final", request_id=f"r{n}", rating=n / 4, at_s=10.0 - n)
        for n in range(3)
    )
    batch = TelemetryBatch(
        gateway="g", boot="b", sequence=0, start_s=0, end_s=1, table_revision=0, signals=signals, feedback=feedback
    )
    assert user_values([batch], "user-rating", "tags", "m@1").tolist() == [0.5, 0.25, 0.0]
    assert user_values([batch], "not-asked-again", "tags", "m@2").tolist() == [0.0] * 9
    assert user_values([batch], "user-rating", "other", "m@1").size == 0
