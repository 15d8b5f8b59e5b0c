"""Telemetry from Prometheus, for traffic that does not pass the gateway: counts per version, and no data as no data."""

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from contracts.clock import Clock
from contracts.errors import InvalidInput
from contracts.ids import VersionId
from contracts.rng import Rng
from contracts.specs.service import ServiceSpec
from contracts.specs.slo import GateKind, LatencySlo, ScoreSlo
from contracts.wire.counted import Counted
from contracts.wire.telemetry import AttemptCounts, RequestCounts, TelemetryBatch, TelemetryReply
from controlplane.telemetry_sources.counters import BAD, COUNT, TOTAL, WITHIN, Counters, Group
from controlplane.telemetry_sources.prometheus_server import PrometheusServer, Target, target_of
from controlplane.telemetry_sources.settings import SELECTOR, PrometheusService

LATE_S = 120.0
"""How late a sample may arrive and still be counted by itself; later ones are in the growth of the next."""
LONGEST_S = 900.0
KEPT_S = 86400.0
LANE = "default"
GATEWAY = "prometheus"
"""The gateway of its batches, each of which tells of one service alone."""
MOST_KEPT = 600

Place = tuple[Target, VersionId]


@dataclass
class Told:
    """What one target tells of one version: counted until when, and last scraped when."""

    until_s: float
    seen_s: float


@dataclass
class Arm:
    """One version's counts that are not told yet, its targets, and until when all of them are known.

    Whole events are told; ``bad`` and ``slow`` never more than ``total``: the rest waits, as a program may count a
    failure before the attempt.
    """

    known_until_s: float
    total: float = 0.0
    bad: float = 0.0
    slow: dict[str, float] = field(default_factory=dict)
    targets: dict[Target, Told] = field(default_factory=dict)


class PrometheusSource:
    """What one service's versions did, as batches of telemetry like a gateway's.

    A tick is what was scraped since the last one; counts are the growth of the raw samples, so resets, late scrapes
    and restarts of Prometheus lose and double nothing. Time goes on only as far as *every* version that is expected is
    known on every target that should tell of it: a target that is down (``up`` is 0), a version that nobody tells of
    or a missing histogram stop it, whereupon gates say that there is no data. What is known all the same is counted.

    ``since_s``, on the server's clock, is where counting begins: now, when it isn't given. ``problems`` says what
    kept the last fetch from being complete.
    """

    def __init__(
        self,
        server: PrometheusServer,
        service: PrometheusService,
        spec: ServiceSpec,
        *,
        clock: Clock,
        rng: Rng,
        since_s: float | None = None,
    ) -> None:
        self._thresholds = _thresholds(service, spec)
        self._server, self._service, self._spec, self._clock = server, service, spec, clock
        self._boot, self._sequence, self._since_s = rng.token(), 0, since_s
        self._counters: Counters | None = None
        self._arms: dict[VersionId, Arm] = {}
        self._watched: set[Target] = set()
        self._asked_s = self._known_s = self._end_s = 0.0
        self._kept: list[TelemetryBatch] = []
        self.problems: tuple[str, ...] = ()

    @property
    def read_until_s(self) -> float | None:
        """Until when the server was asked, on its clock: where another source of the same service goes on."""
        return self._asked_s or self._since_s

    def fetch(self, counted: Counted, expected: Collection[VersionId] = ()) -> TelemetryReply:
        """Return what was scraped and is not counted yet, each sample in one batch; ``expected`` are in service.

        Raises:
            Unavailable: when Prometheus doesn't answer; a later fetch has what was missed.
            InvalidInput: when it refuses a selector.
        """
        last = counted.get(self._boot, (-1, -1))[0]
        self._kept = [batch for batch in self._kept if batch.sequence > last]
        if len(self._kept) < MOST_KEPT:
            # Beyond that nothing is read: counters keep what they have grown by.
            self._kept += self._read_on(expected)
        return TelemetryReply(boot=self._boot, batches=tuple(self._kept))

    def _read_on(self, expected: Collection[VersionId]) -> list[TelemetryBatch]:
        """Return the next batch, if there is anything new."""
        now_s = self._server.now_s()
        ahead_s = self._clock.now_s() - now_s
        asked_s = self._asked_s or (now_s if self._since_s is None else self._since_s)
        groups = self._read(now_s, min(max(now_s - asked_s, 0.0) + LATE_S, LONGEST_S))
        up, tried = self._read_up(now_s, groups)
        counters = self._counters or self._begin(asked_s, ahead_s, groups)
        for version in expected:
            self._arms.setdefault(version, Arm(asked_s if not self._asked_s else now_s))
        self.problems = tuple(self._take(counters, groups))
        counters.forget_before(now_s - KEPT_S)
        self._asked_s = now_s
        for arm in self._arms.values():
            self._look_at_targets(arm, up, tried)
        self._arms = {v: arm for v, arm in self._arms.items() if v in expected or arm.targets or arm.total >= 0.5}
        until_s = min((self._arms[version].known_until_s for version in expected or self._arms), default=-math.inf)
        if until_s > self._known_s:
            # Only then: the two clocks' distance is never measured twice alike, and silence must not look like news.
            self._known_s, end_s = until_s, min(until_s + ahead_s, self._clock.now_s())
            return self._tell(max(self._end_s, end_s))
        return self._tell(self._end_s)

    def _begin(self, since_s: float, ahead_s: float, groups: Mapping[Place, Group]) -> Counters:
        self._counters = Counters(since_s)
        self._counters.note_earlier((target, group) for (target, _), group in groups.items())
        self._known_s, self._end_s = since_s, since_s + ahead_s
        return self._counters

    def _read(self, now_s: float, length_s: float) -> dict[Place, Group]:
        """Return what was scraped lately, by target and version."""
        service = self._service
        wanted = {TOTAL: service.total, BAD: service.bad}
        if service.histogram is not None and self._thresholds:
            wanted[COUNT] = narrow(service.histogram, "_count")
            for name, threshold_s in self._thresholds.items():
                bounds = "|".join(sorted({f"{threshold_s:g}", str(threshold_s)})).replace(".", "[.]")
                wanted[WITHIN + name] = narrow(service.histogram, "_bucket", f'le=~"{bounds}"')
        groups: dict[Place, Group] = {}
        for kind, selector in wanted.items():
            for series in self._server.samples(selector, at_s=now_s, length_s=length_s):
                version = service.read_version(series.labels.get(service.version_label, ""), self._spec.model)
                if version is not None:
                    group = groups.setdefault((series.target, version), Group())
                    group.series.setdefault(kind, []).append(series)
        return groups

    def _read_up(self, now_s: float, groups: Mapping[Place, Group]) -> tuple[dict[Target, float], dict[Target, float]]:
        """Return, per target that should be scraped, whether it answers (1) or not (0), and when it was last tried."""
        up: dict[Target, float] = {}
        tried: dict[Target, float] = {}
        lately = {target for target, _ in groups}
        for job in {job for job, _ in lately.union(*(arm.targets for arm in self._arms.values())) if job}:
            selector = f"up{{job={json.dumps(job, ensure_ascii=False)}}}"
            for found, query in ((up, selector), (tried, f"timestamp({selector})")):
                found |= {target_of(labels): value for labels, value in self._server.values(query, at_s=now_s)}
        self._watched = (self._watched & lately) | up.keys()
        return up, tried

    def _take(self, counters: Counters, groups: Mapping[Place, Group]) -> list[str]:
        """Count what groups have grown by, as far as all that belongs together was scraped; return what was not."""
        problems = []
        for (target, version), group in groups.items():
            arm = self._arms.setdefault(version, Arm(-math.inf))
            until_s = min(group.newest_s(kind) for kind in (TOTAL, *group.series.keys() - {BAD}))
            told = arm.targets.setdefault(target, Told(arm.known_until_s, -math.inf))
            told.seen_s = group.newest_s(TOTAL)
            growth = counters.growth(target, group, until_s=until_s)
            problem = self._problem(group, growth.by_kind)
            if problem:
                counters.leave(target, group)
                problems.append(f"{version} on {target[1] or 'a target'}: {problem}")
                continue
            counters.take(growth)
            told.until_s = until_s
            arm.total += growth.by_kind[TOTAL]
            arm.bad += growth.by_kind.get(BAD, 0.0)
            for name in self._thresholds:
                slow = growth.by_kind.get(COUNT, 0.0) - growth.by_kind.get(WITHIN + name, 0.0)
                arm.slow[name] = arm.slow.get(name, 0.0) + max(slow, 0.0)
        counters.note_targets((target, group) for (target, _), group in groups.items())
        return problems

    def _problem(self, group: Group, grown: Mapping[str, float]) -> str:
        """Return why a group can't be counted, "" when it can; a part that is missing is never taken for zero."""
        if TOTAL not in group.series:
            return "there is no total"
        if not self._thresholds:
            return ""
        if COUNT not in group.series:
            # A histogram appears with the first answer: until then only failures may be there.
            answered = grown[TOTAL] > grown.get(BAD, 0.0)
            return f"{self._service.histogram} has no counts" if answered else ""
        for name, threshold_s in self._thresholds.items():
            if WITHIN + name not in group.series:
                return f"the histogram has no bucket at {threshold_s:g} s, the threshold of {name}"
        return ""

    def _look_at_targets(self, arm: Arm, up: Mapping[Target, float], tried: Mapping[Target, float]) -> None:
        """Let go of targets that tell of a version no longer, and note until when it is known on all others."""
        for target, told in list(arm.targets.items()):
            is_gone = target in self._watched and target not in up
            # It answers, and no longer tells of the version: another one runs there now.
            has_left = up.get(target) == 1 and tried[target] > told.seen_s
            if is_gone or has_left:
                del arm.targets[target]
        if arm.targets:
            arm.known_until_s = max(arm.known_until_s, min(told.until_s for told in arm.targets.values()))

    def _tell(self, end_s: float) -> list[TelemetryBatch]:
        """Return a batch with all whole events, up to ``end_s`` on our clock; none when nothing is new."""
        rows = [self._row(version, arm) for version, arm in sorted(self._arms.items())]
        rows = [row for row in rows if row.total]
        start_s = self._end_s
        if not rows and end_s == start_s:
            return []
        bad, total = sum(row.n_bad for row in rows), sum(row.total for row in rows)
        batch = TelemetryBatch(
            gateway=GATEWAY,
            boot=self._boot,
            sequence=self._sequence,
            start_s=start_s,
            end_s=end_s,
            table_revision=0,
            attempts=tuple(rows),
            requests=(RequestCounts(service=self._spec.service, lane=LANE, total=total, bad=bad, reasons=_why(bad)),),
        )
        self._sequence, self._end_s = self._sequence + 1, end_s
        return [batch]

    def _row(self, version: VersionId, arm: Arm) -> AttemptCounts:
        total = math.floor(arm.total + 0.5)
        bad = min(math.floor(arm.bad + 0.5), total)
        slow = {name: min(math.floor(count + 0.5), total) for name, count in arm.slow.items()}
        arm.total, arm.bad = arm.total - total, arm.bad - bad
        arm.slow = {name: count - slow[name] for name, count in arm.slow.items()}
        return AttemptCounts(
            service=self._spec.service,
            version=version,
            replica="prometheus",
            lane=LANE,
            total=total,
            bad=_why(bad),
            slow=slow,
        )


def narrow(selector: str, suffix: str, matcher: str = "") -> str:
    """Return a selector of the metric with a suffix to its name and one more matcher."""
    found = SELECTOR.fullmatch(selector)
    if found is None:
        raise InvalidInput(f"{selector!r} is not a plain selector", hint='write metric{label="value"}')
    matchers = [part for part in (found["matchers"], matcher) if part]
    return f"{found['metric']}{suffix}{{{', '.join(matchers)}}}"


def _why(bad: int) -> dict[str, int]:
    return {"error": bad} if bad else {}


def _thresholds(service: PrometheusService, spec: ServiceSpec) -> dict[str, float]:
    """Return the thresholds of the latency objectives in seconds.

    Raises:
        InvalidInput: when an objective is there that Prometheus can't tell of.
    """
    objectives = spec.objectives()
    for name, slo in objectives.items():
        if isinstance(slo, ScoreSlo) and slo.kind is GateKind.GATE:
            raise InvalidInput(
                f"slos.{name}: Prometheus tells of no outputs to score", hint="set its kind to info, or leave it out"
            )
    if spec.lanes:
        raise InvalidInput("lanes: Prometheus tells of no lanes", hint="declare a service per lane")
    thresholds = {name: slo.threshold for name, slo in objectives.items() if isinstance(slo, LatencySlo)}
    if thresholds and service.histogram is None:
        raise InvalidInput(
            f"{spec.service}.histogram: is missing, and slos.{min(thresholds)} needs it", hint="name the histogram"
        )
    return thresholds
