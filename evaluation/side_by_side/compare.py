"""The comparison: draw the same prompts with both versions, score, look, and stop when it is known."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from contracts.errors import InvalidInput
from contracts.ids import VersionId
from contracts.wire.telemetry import SampledOutput
from evaluation.prompts.prompt_set import Prompt, PromptSet
from evaluation.scorers.port import Score, Scorer
from evaluation.side_by_side.gallery import Gallery
from evaluation.side_by_side.ports import Drawing, EvidenceMaker, Painter
from evaluation.side_by_side.result import Comparison, Contestant, PairRow, measure_latency
from evaluation.side_by_side.tally import DRAWN, MeasureTally
from evaluation.side_by_side.verdicts import Finding, combine

ROUND = 8
LEAST_PROMPTS = 8
TOLERANCE = 0.05
ALPHA = 0.01
DRAWN_DIGEST = "sha256:" + "0" * 64
NO_PICTURE = "there is no picture"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: on which prompts, judged by whom, with which tolerance and error rate.

    ``tolerance`` is the mean difference of a score that is held for none. ``alpha`` bounds the chance to say worse of
    a version that is not worse on any measure, and the chance to pass one that is worse on some. ``max_pairs`` ends
    it early; None asks all prompts.
    """

    prompts: PromptSet
    scorers: Sequence[Scorer]
    tolerance: float = TOLERANCE
    alpha: float = ALPHA
    max_pairs: int | None = None

    def __post_init__(self) -> None:
        if not 0.0 < self.tolerance < 1.0:
            raise InvalidInput(f"tolerance: {self.tolerance!r} is not between 0 and 1", hint="0.05, or 5%")
        if not 0.0 < self.alpha < 0.5:
            raise InvalidInput(f"alpha: {self.alpha!r} is not between 0 and 50 %", hint="0.01, or 1%")
        if self.max_pairs is not None and self.max_pairs < 1:
            raise InvalidInput(f"max_pairs: {self.max_pairs} is no number of pairs", hint="leave it out to use all")
        names = [scorer.name for scorer in self.scorers]
        twice = sorted({name for name in names if names.count(name) > 1} | ({DRAWN} & set(names)))
        if twice:
            raise InvalidInput(f"scorers: {twice[0]!r} is named twice", hint="name each scorer once")


@dataclass
class Bench:
    """What a running comparison keeps."""

    measures: list[MeasureTally]
    gallery: Gallery
    rows: list[PairRow] = field(default_factory=list)

    @property
    def finding(self) -> Finding:
        """The finding over all measures by now."""
        return combine(measure.finding for measure in self.measures)

    @property
    def is_over(self) -> bool:
        """Tell whether it is known: something is worse, or every measure is decided."""
        return self.finding is Finding.WORSE or all(measure.is_decided for measure in self.measures)


def compare(
    one: Painter,
    other: Painter,
    question: Question,
    make_evidence: EvidenceMaker,
    *,
    tell: Callable[[int, int], None] = lambda done, planned: None,
) -> Comparison:
    """Compare two versions and return what came out; ``tell`` hears of pairs done and planned.

    Pairs come in an order that depends on the prompts' ids alone, and who draws first alternates. An output that
    nobody can score is no data for its scorer; an attempt without a picture counts against its version in ``drawn``.
    """
    prompts = question.prompts.shuffled()[: question.max_pairs]
    bench = _set_up(question, prompts, make_evidence)
    for round_ in _rounds(prompts):
        drawn = [_draw_pair(one, other, prompt, first=len(bench.rows) + k) for k, prompt in enumerate(round_)]
        _take_in(bench, question.scorers, round_, drawn)
        tell(len(bench.rows), len(prompts))
        if bench.is_over:
            break
    results = [measure.results() for measure in bench.measures]
    return Comparison(
        one=_describe(one, bench.rows, side=0),
        other=_describe(other, bench.rows, side=1),
        prompts=(question.prompts.name, question.prompts.version, question.prompts.digest),
        tolerance=question.tolerance,
        alpha=question.alpha,
        planned=len(prompts),
        finding=bench.finding,
        measures=tuple(whole for whole, _ in results),
        strata=tuple(result for _, strata in results for result in strata),
        latency=measure_latency(bench.rows),
        rows=tuple(bench.rows),
        gallery=bench.gallery.shown(),
    )


def _set_up(question: Question, prompts: Sequence[Prompt], make_evidence: EvidenceMaker) -> Bench:
    counts = Counter(stratum for prompt in prompts for stratum in prompt.strata)
    # A stratum that all prompts belong to is the whole.
    strata = sorted(stratum for stratum, count in counts.items() if count < len(prompts))
    asked = [(DRAWN, DRAWN_DIGEST), *((scorer.name, scorer.digest) for scorer in question.scorers)]
    measures = [
        MeasureTally(
            name,
            digest,
            strata,
            make_evidence,
            tolerance=question.tolerance,
            alpha=question.alpha,
            measures=len(asked),
        )
        for name, digest in asked
    ]
    return Bench(measures, Gallery())


def _rounds(prompts: Sequence[Prompt]) -> Iterator[Sequence[Prompt]]:
    return (prompts[first : first + ROUND] for first in range(0, len(prompts), ROUND))


def _draw_pair(one: Painter, other: Painter, prompt: Prompt, *, first: int) -> tuple[Drawing, Drawing]:
    if first % 2:
        later = other.draw(prompt)
        return one.draw(prompt), later
    return one.draw(prompt), other.draw(prompt)


def _take_in(
    bench: Bench, scorers: Sequence[Scorer], prompts: Sequence[Prompt], drawn: Sequence[tuple[Drawing, Drawing]]
) -> None:
    scores: dict[str, list[tuple[Score, Score]]] = {DRAWN: [(_presence(a), _presence(b)) for a, b in drawn]}
    for scorer in scorers:
        sides = [_score_side(scorer, prompts, [pair[side] for pair in drawn]) for side in (0, 1)]
        scores[scorer.name] = list(zip(*sides, strict=True))
    for k, (prompt, pair) in enumerate(zip(prompts, drawn, strict=True)):
        mine: Mapping[str, tuple[Score, Score]] = {name: pairs[k] for name, pairs in scores.items()}
        for measure in bench.measures:
            measure.add(prompt.strata, *mine[measure.measure])
        row = PairRow.of(prompt, pair, mine)
        bench.rows.append(row)
        bench.gallery.offer(row, pair)


def _describe(painter: Painter, rows: Sequence[PairRow], *, side: int) -> Contestant:
    failures = Counter(row.reasons[DRAWN][side].partition(":")[0] for row in rows if row.scores[DRAWN][side] == 0.0)
    return Contestant(painter.version, painter.digest, painter.peak_memory_bytes(), dict(failures))


def _presence(drawing: Drawing) -> Score:
    return Score(1.0) if drawing.image_png is not None else Score(0.0, drawing.failure or NO_PICTURE)


def _score_side(scorer: Scorer, prompts: Sequence[Prompt], drawings: Sequence[Drawing]) -> list[Score]:
    """Score what was drawn; what was not has no data here and counts in ``drawn``."""
    samples = {
        index: SampledOutput(
            service="comparison",
            version=VersionId("comparison", 1),
            request_id=f"pair-{index}",
            lane=prompt.lane,
            prompt=prompt.text,
            seed=prompt.seed,
            at_s=0.0,
            image_png=drawing.image_png,
        )
        for index, (prompt, drawing) in enumerate(zip(prompts, drawings, strict=True))
        if drawing.image_png is not None
    }
    found = dict(zip(samples, scorer.score(list(samples.values())), strict=True)) if samples else {}
    return [found.get(index, Score(None, NO_PICTURE)) for index in range(len(drawings))]
