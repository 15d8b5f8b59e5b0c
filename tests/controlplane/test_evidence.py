"""From telemetry to evidence: every count reaches its objective, its arm and its lane."""

from collections.abc import Sequence

import pytest

from contracts.errors import InvalidInput
from contracts.ids import VersionId
from contracts.specs.loading import load_service_spec
from contracts.wire.telemetry import AttemptCounts, RequestCounts, SampledOutput, TelemetryBatch, TelemetryReply
from controlplane.loop.evidence import Evidence, EvidenceDesk, Flow, Judged
from evaluation.scorers.port import Score
from rollout.evidence.counts import Tally
from tests.controlplane.scripted_traffic import SeenText

CHAMPION, CHALLENGER = VersionId("m", 1), VersionId("m", 2)
SPEC = load_service_spec("""
service: tags
model: m
lanes:
  draft: {latency: {objective: 95%, threshold: 400ms}}
  final: {}
slos:
  availability: {objective: 99%}
  speed: {objective: 90%, threshold: 2s}
  text: {scorer: seen-text, objective: 90%}
""")


def attempts(version: VersionId, lane: str, total: int, bad: int = 0, **slow: int) -> AttemptCounts:
    return AttemptCounts(
        service="tags",
        version=version,
        replica="a",
        lane=lane,
        total=total,
        bad={"error": bad} if bad else {},
        slow={name.replace("_", "-"): count for name, count in slow.items()},
    )


def output(version: VersionId, request_id: str, score: str, *, mirrored: bool = False) -> SampledOutput:
    return SampledOutput(
        service="tags",
        version=version,
        request_id=request_id,
        lane="draft",
        prompt=score,
        seed=1,
        at_s=0.0,
        mirrored=mirrored,
        image_png=b"",
    )


def reply(*rows: AttemptCounts, samples: tuple[SampledOutput, ...] = ()) -> TelemetryReply:
    batch = TelemetryBatch(
        gateway="g",
        boot="b",
        sequence=0,
        start_s=100.0,
        end_s=102.0,
        table_revision=1,
        attempts=rows,
        requests=(RequestCounts(service="tags", lane="draft", total=sum(row.total for row in rows)),),
    )
    return TelemetryReply(batches=(batch,), samples=samples)


def sort(
    desk: EvidenceDesk,
    told: TelemetryReply,
    rollout_id: str,
    champion: VersionId,
    challenger: VersionId,
    *,
    since_s: float = 0.0,
) -> tuple[Evidence, list[Judged]]:
    judged = desk.judge(told.samples)
    return desk.arrange(told.batches, judged, rollout_id, champion, challenger, since_s=since_s), judged


def desk() -> EvidenceDesk:
    return EvidenceDesk(SPEC, {"seen-text": SeenText()})


def test_counts_reach_their_objective_arm_and_lane() -> None:
    evidence, _ = sort(
        desk(),
        reply(
            attempts(CHALLENGER, "draft", 10, bad=1, speed=2, latency_draft=3),
            attempts(CHALLENGER, "final", 5, bad=2, speed=4, latency_draft=5),
            attempts(CHAMPION, "draft", 20, bad=3),
            attempts(VersionId("m", 7), "draft", 99, bad=99),
        ),
        "r",
        CHAMPION,
        CHALLENGER,
    )
    challenger = {name: (tick.challenger.bad, tick.challenger.total) for name, tick in evidence.counts.items()}
    assert challenger == {"availability": (3, 15), "speed": (6, 15), "latency-draft": (3, 10)}
    assert evidence.counts["availability"].champion.bad == 3
    assert evidence.slices["availability"]["final"].challenger.bad == 2
    assert set(evidence.slices["latency-draft"]) == {"draft"}


def test_scores_are_sorted_by_arm_and_mirrored_copies_become_differences() -> None:
    samples = (
        output(CHAMPION, "r1", "1"),
        output(CHALLENGER, "r1", "0", mirrored=True),
        output(CHAMPION, "r2", "0.5"),
        output(CHALLENGER, "r3", "0.25"),
        output(CHALLENGER, "r4", "?"),
    )
    evidence, judged = sort(desk(), reply(samples=samples), "r", CHAMPION, CHALLENGER)
    tick = evidence.scores["text"]
    assert (tick.challenger, tick.champion, tick.pairs, tick.due) == ((0.25,), (0.5,), (-1.0,), 1)
    assert len(judged) == len(samples)


def test_the_request_rate_is_right_from_the_first_batch_on_and_the_newest_time_is_kept() -> None:
    flow = Flow()
    assert flow.request_rate == 0.0
    for _ in range(30):
        flow.note("tags", reply(attempts(CHAMPION, "draft", 8)).batches)
        assert flow.request_rate == pytest.approx(4.0)
    assert flow.newest_s == 102.0


def test_a_scorer_that_fails_leaves_its_outputs_due_and_nobody_waits() -> None:
    class Broken(SeenText):
        def score(self, samples: Sequence[SampledOutput]) -> list[Score]:
            raise RuntimeError("out of memory")

    evidence, judged = sort(
        EvidenceDesk(SPEC, {"seen-text": Broken()}),
        reply(samples=(output(CHALLENGER, "r1", "1"),)),
        "r",
        CHAMPION,
        CHALLENGER,
    )
    assert evidence.scores["text"].due == 1
    assert "out of memory" in judged[0].score.reason


def test_an_objective_without_its_scorer_is_refused() -> None:
    with pytest.raises(InvalidInput, match="seen-text"):
        EvidenceDesk(SPEC, {})


def test_what_clients_or_policies_chose_is_no_evidence() -> None:
    forced = attempts(CHALLENGER, "draft", 9, bad=9).model_copy(update={"forced": True})
    picked = output(CHALLENGER, "r-1", "0").model_copy(update={"review": "mentions a brand"})
    desk = EvidenceDesk(SPEC, {SeenText.name: SeenText()})
    told = reply(forced, attempts(CHALLENGER, "draft", 5), samples=(picked, output(CHALLENGER, "r-2", "1")))
    evidence, _ = sort(desk, told, "r", CHAMPION, CHALLENGER)
    assert evidence.counts["availability"].challenger == Tally(0, 5)
    assert evidence.scores["text"].challenger == (1.0,)


def test_what_was_counted_before_the_rollout_began_is_no_evidence_of_it() -> None:
    desk = EvidenceDesk(SPEC, {SeenText.name: SeenText()})
    told = reply(attempts(CHALLENGER, "draft", 5, bad=5), samples=(output(CHALLENGER, "r-1", "0"),))
    evidence, _ = sort(desk, told, "r", CHAMPION, CHALLENGER, since_s=101.0)
    assert evidence.counts["availability"].challenger == Tally(0, 0)
    assert evidence.scores["text"].challenger == ()
