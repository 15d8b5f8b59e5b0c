"""Sorting: one pull of telemetry, for all services, by service and rollout."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contracts.records import record
from contracts.specs.service import ServiceSpec
from contracts.specs.slo import ScoreSlo
from contracts.wire.telemetry import SampledOutput, TelemetryBatch, TelemetryReply
from controlplane.loop.evidence import Evidence, EvidenceDesk, Flow, Judged
from controlplane.loop.trial import Trial
from evaluation.scorers.port import Score, Scorer

KINDS = ("attempts", "requests", "exposures", "refusals", "signals", "feedback")
"""What a batch holds rows of, each row of one service."""
HEAD = tuple(name for name in TelemetryBatch.model_fields if name not in KINDS)


@record(frozen=True, slots=True)
class Part:
    """What one pull of telemetry brought of one service."""

    batches: Sequence[TelemetryBatch]
    samples: Sequence[SampledOutput]


@dataclass(frozen=True, slots=True)
class AbsentScorer:
    """Stands for a scorer that a spec names and nobody has: its objective has no data, and holds the rollout."""

    name: str
    digest: str = "absent"

    def score(self, samples: Sequence[SampledOutput]) -> list[Score]:
        """Judge nothing."""
        return [Score(None, f"there is no scorer called {self.name}")] * len(samples)


class Sorter:
    """Keeps each service's flow of traffic, and a desk for each revision of a spec that is judged by."""

    def __init__(self, scorers: Mapping[str, Scorer]) -> None:
        self._scorers = scorers
        self._flows: dict[str, Flow] = {}
        self._desks: dict[str, tuple[ServiceSpec, EvidenceDesk]] = {}

    def forget(self) -> None:
        """Forget what was counted: it may come again, or another counted meanwhile."""
        self._flows.clear()
        self._desks.clear()

    def recall(self, service: str, request_rate: float, newest_s: float | None) -> None:
        """Go on from what was last written down of a service's traffic."""
        self._flows[service] = Flow(request_rate, newest_s)

    def flow(self, service: str) -> Flow:
        """Return a service's flow of traffic."""
        return self._flows.setdefault(service, Flow())

    def desk(self, spec: ServiceSpec) -> EvidenceDesk:
        """Return the desk that sorts by a revision of a service's spec."""
        known = self._desks.get(spec.service)
        if known is None or known[0] is not spec:
            names = {slo.scorer for slo in spec.objectives().values() if isinstance(slo, ScoreSlo)}
            scorers = {name: self._scorers.get(name) or AbsentScorer(name) for name in names}
            known = self._desks[spec.service] = spec, EvidenceDesk(spec, scorers)
        return known[1]

    def judge(self, spec: ServiceSpec, part: Part) -> list[Judged]:
        """Count a service's part of one pull, and judge its sampled outputs."""
        self.flow(spec.service).note(spec.service, part.batches)
        return self.desk(spec).judge(part.samples)

    def arrange(self, trial: Trial, batches: Sequence[TelemetryBatch], judged: Sequence[Judged]) -> Evidence:
        """Return what a service's part of a pull says about a rollout's two arms."""
        return self.desk(trial.spec).arrange(
            batches, judged, trial.row.id, trial.champion, trial.challenger, since_s=trial.row.created_s
        )


def part_by_service(
    reply: TelemetryReply, services: Collection[str], speaks_for: Callable[[TelemetryBatch, str], bool]
) -> dict[str, Part]:
    """Return each service's own part of a pull: all batches that speak for it, with its rows alone."""
    parts: dict[str, list[TelemetryBatch]] = {service: [] for service in services}
    for batch in reply.batches:
        rows: dict[str, dict[str, list[Any]]] = {}
        for kind in KINDS:
            for row in getattr(batch, kind):
                rows.setdefault(row.service, {}).setdefault(kind, []).append(row)
        bare = {name: getattr(batch, name) for name in HEAD} | dict.fromkeys(KINDS, ())
        for service in services:
            if speaks_for(batch, service):
                mine = {kind: tuple(found) for kind, found in rows.get(service, {}).items()}
                # Its rows were checked as part of the whole.
                parts[service].append(TelemetryBatch.model_construct(**(bare | mine)))
    samples: dict[str, list[SampledOutput]] = {}
    for sample in reply.samples:
        samples.setdefault(sample.service, []).append(sample)
    return {service: Part(parts[service], samples.get(service, ())) for service in services}
