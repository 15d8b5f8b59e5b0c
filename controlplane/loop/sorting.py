"""Sorting: one pull of telemetry, for all services, by service and rollout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from contracts.specs.service import ServiceSpec
from contracts.specs.slo import ScoreSlo
from contracts.wire.telemetry import SampledOutput, TelemetryReply
from controlplane.loop.evidence import Evidence, EvidenceDesk, Flow, Judged
from controlplane.loop.trial import Trial
from evaluation.scorers.port import Score, Scorer
from rollout.observation import Observation


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

    def knows(self, service: str) -> bool:
        """Tell whether a service's traffic was seen before."""
        return service in self._flows

    def recall(self, service: str, last: Observation | None) -> None:
        """Go on from what was last written down of a service's traffic."""
        rate, newest_s = (last.request_rate, last.newest_telemetry_s) if last is not None else (0.0, None)
        self._flows[service] = Flow(rate, newest_s)

    def flow(self, service: str) -> Flow:
        """Return a service's flow of traffic."""
        return self._flows.setdefault(service, Flow())

    def desk(self, spec: ServiceSpec) -> EvidenceDesk:
        """Return the desk that sorts by a revision of a service's spec."""
        known = self._desks.get(spec.service)
        if known is None or known[0] is not spec:
            names = {slo.scorer for slo in spec.objectives().values() if isinstance(slo, ScoreSlo)}
            scorers = {name: self._scorers.get(name) or AbsentScorer(name) for name in names}
            known = self._desks[spec.service] = spec, EvidenceDesk(spec, scorers, self.flow(spec.service))
        return known[1]

    def judge(self, spec: ServiceSpec, reply: TelemetryReply) -> list[Judged]:
        """Count a service's part of one pull, and judge its sampled outputs."""
        self.flow(spec.service).note(spec.service, reply.batches)
        return self.desk(spec).judge(reply.samples)

    def arrange(self, trial: Trial, reply: TelemetryReply, judged: Sequence[Judged]) -> Evidence:
        """Return what a pull says about a rollout's two arms."""
        return self.desk(trial.spec).arrange(
            reply.batches, judged, trial.row.id, trial.champion, trial.challenger, since_s=trial.row.created_s
        )
