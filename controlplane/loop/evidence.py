"""From telemetry to evidence: what the gateway counted and the scorers judged, by objective and arm."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from contracts.errors import InvalidInput
from contracts.ids import VersionId
from contracts.specs.service import ServiceSpec
from contracts.specs.slo import LatencySlo, ScoreSlo, Slo
from contracts.wire.telemetry import AttemptCounts, SampledOutput, TelemetryBatch
from evaluation.scorers.port import Score, Scorer
from rollout.evidence.counts import Tally
from rollout.evidence.two_arm import ArmsTick
from rollout.observation import Exposure, ScoresTick

RATE_MEMORY_S = 10.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one pull of telemetry says about the two arms of one rollout; see ``rollout.observation``."""

    counts: Mapping[str, ArmsTick] = field(default_factory=dict)
    slices: Mapping[str, Mapping[str, ArmsTick]] = field(default_factory=dict)
    scores: Mapping[str, ScoresTick] = field(default_factory=dict)
    exposures: tuple[Exposure, ...] = ()


@dataclass(frozen=True, slots=True)
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
        self._rate = request_rate
        self._known = 1.0 if request_rate else 0.0

    @property
    def request_rate(self) -> float:
        """Requests per second over the last ten seconds or so, over what there was of them at the beginning."""
        return self._rate / self._known if self._known else 0.0

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
        served = [row for batch in batches for row in batch.attempts if row.service == self._spec.service]
        # What clients chose themselves was not assigned by chance, and says nothing in a comparison.
        rows = [row for row in served if not row.forced]
        counted = {name: slo for name, slo in self._objectives.items() if not isinstance(slo, ScoreSlo)}
        lanes = self._spec.lane_objectives()
        counts = {
            name: _arms_tick(name, slo, _of_lane(rows, lanes.get(name)), champion, challenger)
            for name, slo in counted.items()
        }
        slices = {
            name: {
                lane: _arms_tick(name, slo, _of_lane(rows, lane), champion, challenger)
                for lane in sliced_lanes(self._spec)
                if lanes.get(name, lane) == lane
            }
            for name, slo in counted.items()
        }
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
        return Evidence(counts, slices, scores, exposures)

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


def _of_lane(rows: Sequence[AttemptCounts], lane: str | None) -> Sequence[AttemptCounts]:
    """Return a lane's rows, all of them when no lane is named."""
    return rows if lane is None else [row for row in rows if row.lane == lane]


def _arms_tick(
    name: str, slo: Slo, rows: Sequence[AttemptCounts], champion: VersionId, challenger: VersionId
) -> ArmsTick:
    return ArmsTick(
        challenger=_tally(name, slo, (row for row in rows if row.version == challenger)),
        champion=_tally(name, slo, (row for row in rows if row.version == champion)),
    )


def _tally(name: str, slo: Slo, rows: Iterable[AttemptCounts]) -> Tally:
    """Count one arm under one objective."""
    bad = total = 0
    for row in rows:
        bad += row.slow.get(name, 0) if isinstance(slo, LatencySlo) else row.n_bad
        total += row.total
    return Tally(bad, total)


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
