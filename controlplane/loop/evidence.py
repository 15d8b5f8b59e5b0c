"""From telemetry to evidence: what the gateway counted and the scorers judged, by objective and arm."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from contracts.errors import InvalidInput
from contracts.ids import VersionId
from contracts.records import record
from contracts.specs.service import ServiceSpec
from contracts.specs.slo import LatencySlo, ScoreSlo
from contracts.wire.telemetry import AttemptCounts, SampledOutput, TelemetryBatch
from evaluation.scorers.port import Score, Scorer
from rollout.evidence.counts import Tally
from rollout.evidence.two_arm import ArmsTick
from rollout.observation import Exposure, ScoresTick, Stratum

Attempts = Sequence[AttemptCounts]
Counts = Mapping[str, ArmsTick]

RATE_MEMORY_S = 10.0
PEAK_MEMORY_S = 600.0


@record(frozen=True, slots=True)
class Evidence:
    """What one pull of telemetry says about the two arms of one rollout; see ``rollout.observation``."""

    counts: Mapping[str, ArmsTick] = field(default_factory=dict)
    slices: Mapping[str, Mapping[str, ArmsTick]] = field(default_factory=dict)
    scores: Mapping[str, ScoresTick] = field(default_factory=dict)
    exposures: tuple[Exposure, ...] = ()
    strata: tuple[Stratum, ...] = ()


@record(frozen=True, slots=True)
class Judged:
    """One sampled output with its score; ``metric`` and ``digest`` name the scorer."""

    sample: SampledOutput
    score: Score
    metric: str = ""
    digest: str = ""


class Flow:
    """How much of one service's traffic arrives, and when it was last heard of."""

    def __init__(self, request_rate: float = 0.0, newest_s: float | None = None) -> None:
        self.newest_s = newest_s
        self._rate = self._peak = request_rate
        self._known = 1.0 if request_rate else 0.0

    @property
    def request_rate(self) -> float:
        """Requests per second over the last ten seconds or so, over what there was of them at the beginning."""
        return self._rate / self._known if self._known else 0.0

    @property
    def busiest_rate(self) -> float | None:
        """The most requests per second of the last ten minutes or so; None while nothing was ever heard."""
        return None if self.newest_s is None else max(self._peak, self.request_rate)

    def note(self, service: str, batches: Sequence[TelemetryBatch]) -> None:
        """Take one pull's batches in."""
        for batch in batches:
            seconds = batch.end_s - batch.start_s
            self.newest_s = max(batch.end_s, self.newest_s or batch.end_s)
            if seconds > 0:
                requests = sum(row.total for row in batch.requests if row.service == service)
                kept = math.exp(-seconds / RATE_MEMORY_S)
                self._rate = kept * self._rate + (1 - kept) * requests / seconds
                self._known = kept * self._known + (1 - kept)
                self._peak = max(self.request_rate, self._peak * math.exp(-seconds / PEAK_MEMORY_S))


@dataclass(frozen=True, slots=True)
class _Counter:
    """Counts attempts under one objective, those of one lane if it is named; bad ones, or slow ones."""

    objective: str
    lane: str | None
    of_slow: bool

    def count(self, challenger: Sequence[AttemptCounts], champion: Sequence[AttemptCounts]) -> ArmsTick:
        """Return both arms' tallies."""
        return ArmsTick(self._tally(challenger), self._tally(champion))

    def _tally(self, rows: Sequence[AttemptCounts]) -> Tally:
        bad = total = 0
        for row in rows:
            if self.lane is None or row.lane == self.lane:
                bad += row.slow.get(self.objective, 0) if self.of_slow else row.n_bad
                total += row.total
        return Tally(bad, total)


class EvidenceDesk:
    """Sorts the telemetry of one service by one revision of its spec."""

    def __init__(self, spec: ServiceSpec, scorers: Mapping[str, Scorer]) -> None:
        self._spec = spec
        self._objectives = spec.objectives()
        missing = sorted(
            {slo.scorer for slo in self._objectives.values() if isinstance(slo, ScoreSlo)} - scorers.keys()
        )
        if missing:
            known = ", ".join(sorted(scorers)) or "none"
            raise InvalidInput(f"slos: there is no scorer called {missing[0]!r}", hint=f"scorers: {known}")
        self._scorers = scorers
        lanes = spec.lane_objectives()
        counted = {name: slo for name, slo in self._objectives.items() if not isinstance(slo, ScoreSlo)}
        self._counters = {
            name: _Counter(name, lanes.get(name), of_slow=isinstance(slo, LatencySlo)) for name, slo in counted.items()
        }
        self._slices = {
            name: [replace(counter, lane=lane) for lane in sliced_lanes(spec) if lanes.get(name, lane) == lane]
            for name, counter in self._counters.items()
        }

    def judge(self, samples: Sequence[SampledOutput]) -> list[Judged]:
        """Return this service's outputs with a score for each objective; a scorer that fails leaves them unscored."""
        mine = [sample for sample in samples if self._is_mine(sample)]
        names = {slo.scorer for slo in self._objectives.values() if isinstance(slo, ScoreSlo)}
        judged = []
        for name in sorted(names) if mine else ():
            scorer = self._scorers[name]
            judged += [
                Judged(sample, score, scorer.name, scorer.digest)
                for sample, score in zip(mine, _score(scorer, mine), strict=True)
            ]
        return judged

    def arrange(
        self,
        batches: Sequence[TelemetryBatch],
        judged: Sequence[Judged],
        rollout_id: str,
        champion: VersionId,
        challenger: VersionId,
        *,
        since_s: float = -math.inf,
    ) -> Evidence:
        """Return what was counted and judged as evidence about the two arms of one rollout.

        What happened before ``since_s``, when the rollout began, says nothing of it: a gateway may hand over what it
        kept from long ago.
        """
        batches = [batch for batch in batches if batch.start_s >= since_s]
        tried, proven = (
            # What clients chose themselves was not assigned by chance, and says nothing in a comparison.
            [row for row in _attempts_on(version, batches) if row.service == self._spec.service and not row.forced]
            for version in (challenger, champion)
        )
        counts, slices = self._count(tried, proven)
        recent = [found for found in judged if found.sample.at_s >= since_s]
        scores = {
            name: _scores_tick(
                [one for one in recent if one.metric == self._scorers[slo.scorer].name], champion, challenger
            )
            for name, slo in self._objectives.items()
            if isinstance(slo, ScoreSlo)
        }
        exposures = tuple(
            Exposure(row.weight, row.challenger, row.champion)
            for batch in batches
            for row in batch.exposures
            if row.rollout_id == rollout_id
        )
        return Evidence(counts, slices, scores, exposures, self._stratify(tried, proven, exposures))

    def _count(self, challenger: Attempts, champion: Attempts) -> tuple[Counts, Mapping[str, Counts]]:
        """Return what both arms did under each objective, overall and by slice."""
        counts = {name: counter.count(challenger, champion) for name, counter in self._counters.items()}
        slices = {
            name: {one.lane or "": one.count(challenger, champion) for one in parts}
            for name, parts in self._slices.items()
        }
        return counts, slices

    def _stratify(self, challenger: Attempts, champion: Attempts, exposures: Sequence[Exposure]) -> tuple[Stratum, ...]:
        """Tell counts apart by the share that assigned them; none when all are of the share that exposures tell."""
        weights = {row.weight for arm in (challenger, champion) for row in arm}
        if not weights - {None} or weights == {one.weight for one in exposures}:
            return ()
        arms = (challenger, champion)
        return tuple(
            Stratum(weight, *self._count(*([row for row in arm if row.weight == weight] for arm in arms)))
            for weight in sorted(weight for weight in weights if weight is not None)
        )

    def _is_mine(self, sample: SampledOutput) -> bool:
        """Tell whether an output is this service's, drawn by chance: what a policy picks for a person is no sample."""
        return sample.service == self._spec.service and sample.review is None


def _score(scorer: Scorer, samples: Sequence[SampledOutput]) -> list[Score]:
    try:
        return list(scorer.score(samples))
    except Exception as error:  # noqa: BLE001 - a scorer that fails must not keep a rollout from being decided
        return [Score(None, f"{scorer.name} failed: {type(error).__name__}: {error}")] * len(samples)


def sliced_lanes(spec: ServiceSpec) -> tuple[str, ...]:
    """Return the lanes that gates look at one by one, so that a fault in one is not averaged away."""
    return tuple(spec.lanes) if len(spec.lanes) > 1 else ()


def _attempts_on(version: VersionId, batches: Iterable[TelemetryBatch]) -> Iterable[AttemptCounts]:
    return (row for batch in batches for row in batch.attempts if row.version == version)


def _scores_tick(judged: Sequence[Judged], champion: VersionId, challenger: VersionId) -> ScoresTick:
    """Sort scores by arm; both halves of a mirrored pair become one difference, and what has no score stays due."""
    mirrored = {found.sample.request_id: found for found in judged if found.sample.mirrored}
    arms: dict[VersionId, list[float]] = {champion: [], challenger: []}
    pairs, due = [], 0
    for found in judged:
        value, version = found.score.value, found.sample.version
        if value is None:
            due += version == challenger
        elif found.sample.mirrored or version not in arms:
            continue
        elif (copy := mirrored.get(found.sample.request_id)) is not None and copy.score.value is not None:
            pairs.append(copy.score.value - value)
        else:
            arms[version].append(value)
    return ScoresTick(tuple(arms[challenger]), tuple(arms[champion]), tuple(pairs), due)
