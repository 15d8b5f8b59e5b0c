"""What looks on while a rollout runs: the history is kept, monitors judge, flagged outputs go to people."""

import logging
import zlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from contracts.clock import Clock
from contracts.errors import InvalidInput, RoostError
from contracts.events import Event
from contracts.ids import VersionId
from contracts.specs.monitor import MonitorAction
from contracts.specs.service import ServiceSpec
from contracts.wire.telemetry import SampledOutput, TelemetryReply
from controlplane.hooks import Hooks
from controlplane.loop.evidence import Judged
from controlplane.loop.ports import Sight
from controlplane.reviewing.desk import Output, ReviewDesk
from controlplane.store.history import SCORES, History, ScoredOutput
from controlplane.store.telemetry_database import reading
from evaluation.drift.detector import Array
from evaluation.monitors.monitor import USER_SIGNALS, Finding, Monitor, make_monitors
from evaluation.monitors.queue import ScoringQueue
from evaluation.monitors.signals import user_values
from evaluation.scorers.port import Scorer
from rollout.phases import ManualAction, ManualKind

log = logging.getLogger(__name__)
MANUAL = {MonitorAction.HOLD: ManualKind.PAUSE, MonitorAction.ROLL_BACK: ManualKind.ABORT}
REFERENCE_S = 28 * 86400.0
RETRY_S = 3600.0


class HistoryWatcher:
    """Writes each tick's telemetry, scores and events into the history; flagged outputs go into the review queue."""

    def __init__(self, history: History, reviews: ReviewDesk | None = None) -> None:
        self._history, self._reviews = history, reviews

    def look(
        self, reply: TelemetryReply, judged: Sequence[Judged], challenger: VersionId | None
    ) -> tuple[ManualAction, ...]:
        """Write one tick down; a history that can't be written costs that tick's record, not the rollout."""
        self.keep(
            reply,
            [ScoredOutput(f.sample, f.metric, f.score.value, f.score.reason, f.digest) for f in judged],
        )
        for sample in reply.samples:
            if sample.review is not None and self._reviews is not None:
                try:
                    output = Output(str(sample.version), sample.image_png)
                    self._reviews.add_flagged(sample.prompt, output, sample.review, seed=sample.seed)
                except (RoostError, SQLAlchemyError) as error:
                    log.warning("a flagged output is missing in the review queue: %s", error)
        return ()

    def keep(self, reply: TelemetryReply, scored: Sequence[ScoredOutput]) -> None:
        """Write telemetry and scores down."""
        try:
            self._history.record(reply.batches, scored)
        except SQLAlchemyError as error:
            log.warning("one tick is missing in the history: %s", error)

    def tell(self, event: Event) -> None:
        """Write down what people are told."""
        try:
            self._history.record_event(event)
        except SQLAlchemyError as error:
            log.warning("an event is missing in the history: %s", error)


class MonitorWatcher:
    """Runs a service's monitors on what each tick brought, beside whoever keeps the history.

    Scorers that gates use already are not asked again; the others judge in a thread of their own.
    """

    def __init__(
        self,
        spec: ServiceSpec,
        scorers: Mapping[str, Scorer],
        history: History,
        clock: Clock,
        *,
        tell: Callable[[Event], None],
        hooks: Hooks | None = None,
    ) -> None:
        self._spec, self._history, self._clock = spec, history, clock
        self._keeper, self._tell, self._hooks = HistoryWatcher(history), tell, hooks
        self._monitors = make_monitors(spec.monitors)
        unknown = sorted({m.spec.metric for m in self._monitors} - scorers.keys() - USER_SIGNALS)
        if unknown:
            known = ", ".join(sorted(scorers.keys() | USER_SIGNALS))
            raise InvalidInput(f"monitors: there is no score called {unknown[0]!r}", hint=f"scores: {known}")
        if hooks is None and any(monitor.spec.hook for monitor in self._monitors):
            raise InvalidInput("monitors: a hook needs a secret to sign with", hint="set ROOST_HOOK_SECRET")
        budgets = {m.spec.metric: m.spec.per_hour for m in self._monitors if m.spec.metric in scorers}
        self._queue = ScoringQueue(scorers, budgets, clock)
        self._next_try_s: dict[tuple[str, str], float] = {}

    @property
    def dropped(self) -> Mapping[str, int]:
        """Outputs that were never judged, by reason."""
        return dict(self._queue.dropped)

    def close(self) -> None:
        """End the scoring thread."""
        self._queue.close()

    def look(
        self, reply: TelemetryReply, judged: Sequence[Judged], challenger: VersionId | None
    ) -> tuple[ManualAction, ...]:
        """Judge what one tick brought; return what alarms about the challenger ask, each alarm once.

        An alarm about any other version only tells.
        """
        for monitor in self._monitors:
            self._offer(monitor, reply.samples, {found.metric for found in judged})
        late = self._queue.take()
        self._keeper.keep(
            TelemetryReply(batches=()),
            [ScoredOutput(s.output, s.metric, s.score.value, s.score.reason, s.digest) for s in late],
        )
        scores = [(s.metric, s.output, s.score.value) for s in late]
        scores += [(found.metric, found.sample, found.score.value) for found in judged]
        actions = []
        for monitor in self._monitors:
            for version in self._versions(reply, scores):
                finding = self._update(monitor, version, reply, scores)
                if finding is not None:
                    actions += self._act(finding, challenger)
        return tuple(actions)

    def _offer(self, monitor: Monitor, samples: Sequence[SampledOutput], judged: set[str]) -> None:
        if monitor.spec.metric in USER_SIGNALS or monitor.spec.metric in judged:
            return
        for sample in samples:
            share = zlib.crc32(sample.request_id.encode()) / 2**32
            if sample.service == self._spec.service and not sample.mirrored and share < monitor.spec.sample:
                self._queue.offer(monitor.spec.metric, sample)

    def _versions(self, reply: TelemetryReply, scores: Sequence[tuple[str, SampledOutput, float | None]]) -> list[str]:
        found = {str(output.version) for _, output, _ in scores}
        found |= {str(row.version) for batch in reply.batches for row in batch.feedback}
        found |= {str(row.version) for batch in reply.batches for row in batch.signals}
        return sorted(found)

    def _update(
        self,
        monitor: Monitor,
        version: str,
        reply: TelemetryReply,
        scores: Sequence[tuple[str, SampledOutput, float | None]],
    ) -> Finding | None:
        metric = monitor.spec.metric
        self._begin(monitor, version)
        if metric in USER_SIGNALS:
            values = user_values(reply.batches, metric, self._spec.service, version)
        else:
            mine = (v for m, output, v in scores if m == metric and str(output.version) == version)
            values = np.array([value for value in mine if value is not None], dtype=float)
        return monitor.update(version, values)

    def _begin(self, monitor: Monitor, version: str) -> None:
        """Start watching a version; one with too little history is tried again every hour."""
        key, now_s = (monitor.name, version), self._clock.now_s()
        if version not in monitor.detectors and now_s >= self._next_try_s.get(key, 0.0):
            problem = monitor.begin(version, self._usual(monitor.spec.metric, version))
            if problem and key not in self._next_try_s:
                self._notify("monitor.no-data", version, problem)
            self._next_try_s[key] = now_s + RETRY_S

    def _usual(self, metric: str, version: str) -> Array:
        """Return the version's values of the four weeks before, oldest first."""
        since_s = self._clock.now_s() - REFERENCE_S
        same = (SCORES.c.service == self._spec.service, SCORES.c.metric == metric, SCORES.c.version == version)
        query = select(SCORES.c.value).where(*same, SCORES.c.at_s >= since_s, SCORES.c.value.is_not(None))
        with reading(self._history.engine) as connection:
            return np.array(connection.execute(query.order_by(SCORES.c.at_s)).scalars().all(), dtype=float)

    def _act(self, finding: Finding, challenger: VersionId | None) -> list[ManualAction]:
        self._notify("monitor.alarm", finding.version, finding.sentence, finding)
        if finding.hook is not None and self._hooks is not None:
            self._hooks.put(finding.hook, {"kind": "monitor.alarm", "service": self._spec.service, **_told(finding)})
        kind = MANUAL.get(finding.action)
        mine = finding.version == str(challenger)
        return [] if kind is None or not mine else [ManualAction(kind, f"monitor/{finding.monitor}", finding.sentence)]

    def _notify(self, code: str, version: str, message: str, finding: Finding | None = None) -> None:
        data: dict[str, str | int | float | None] = {}
        if finding is not None:
            data = {"monitor": finding.monitor, "evidence": finding.evidence, "n": finding.n, "mean": finding.mean}
        at_s = self._clock.now_s()
        self._tell(Event(code=code, at_s=at_s, subject=f"version/{version}", message=message, data=dict(data)))


def _told(finding: Finding) -> dict[str, object]:
    return {name: getattr(finding, name) for name in Finding.__slots__ if name != "hook"}


class ServiceWatchers:
    """Looks on at all services: one history and one review queue, and each service's own monitors."""

    def __init__(
        self,
        history: History,
        scorers: Mapping[str, Scorer],
        clock: Clock,
        *,
        reviews: ReviewDesk | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        self._history, self._scorers, self._clock, self._hooks = history, scorers, clock, hooks
        self._keeper = HistoryWatcher(history, reviews)
        self._monitors: dict[str, tuple[ServiceSpec, MonitorWatcher | None]] = {}
        self._told: list[Event] = []

    def look(self, reply: TelemetryReply, sights: Sequence[Sight]) -> dict[str, tuple[ManualAction, ...]]:
        """Keep what one tick brought, and return, by service, what monitors ask of its rollout."""
        self._keeper.look(reply, [found for sight in sights for found in sight.judged], None)
        asked = {}
        for sight in sights:
            monitor = self._monitor(sight.spec)
            if monitor is not None:
                challenger = VersionId.parse(sight.rollout.challenger) if sight.rollout is not None else None
                try:
                    asked[sight.spec.service] = monitor.look(reply, sight.judged, challenger)
                except (RoostError, SQLAlchemyError) as error:
                    log.warning("the monitors of %s did not look: %s", sight.spec.service, error)
        return asked

    def take_told(self) -> list[Event]:
        """Return what monitors have to tell since the last call."""
        told, self._told = self._told, []
        return told

    def tell(self, event: Event) -> None:
        """Write down what people are told."""
        self._keeper.tell(event)

    def reload(self) -> None:
        """Begin the monitors anew: what they learnt last may come again, and would count twice."""
        for _, monitor in self._monitors.values():
            if monitor is not None:
                monitor.close()
        self._monitors.clear()
        self._told.clear()

    def close(self) -> None:
        """End the monitors' threads."""
        self.reload()

    def _monitor(self, spec: ServiceSpec) -> MonitorWatcher | None:
        """Return a service's monitors, None when it has none or they can't be made; a new spec makes them anew."""
        known = self._monitors.get(spec.service)
        if known is None or known[0] is not spec:
            if known is not None and known[1] is not None:
                known[1].close()
            self._note(spec)
            known = self._monitors[spec.service] = spec, self._make(spec)
        return known[1]

    def _make(self, spec: ServiceSpec) -> MonitorWatcher | None:
        if not spec.monitors:
            return None
        try:
            return MonitorWatcher(spec, self._scorers, self._history, self._clock, tell=self._hear, hooks=self._hooks)
        except InvalidInput as error:
            log.warning("%s has no monitors: %s", spec.service, error.message)
            return None

    def _hear(self, event: Event) -> None:
        self._told.append(event)

    def _note(self, spec: ServiceSpec) -> None:
        try:
            self._history.record_spec(spec, self._clock.now_s())
        except SQLAlchemyError as error:
            log.warning("a spec is missing in the history: %s", error)
