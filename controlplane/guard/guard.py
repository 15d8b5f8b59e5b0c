"""The serving guard: one look per tick at what owns a service's production, and at what people have stopped."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection

from contracts.clock import Clock
from contracts.events import Event
from contracts.ids import VersionId
from contracts.specs.service import ServiceSpec
from contracts.specs.slo import LatencySlo, ScoreSlo, Slo
from contracts.specs.watch import OnHarm
from controlplane.guard.freezing import Freezing
from controlplane.loop.ports import CALM, Orders, Sight
from controlplane.store.freezes import Freeze
from controlplane.store.kills import Kill
from controlplane.store.services import Production
from controlplane.store.undos import Undo
from controlplane.store.watches import Key
from controlplane.stores import Stores
from rollout.evidence.counts import Tally
from rollout.phases import LEGAL, ManualAction, ManualKind, Phase
from rollout.serving_watch import Alarm, Glance, ServingWatch, begin_watch, watch

SAVE_EVERY_S = 10.0
CALM_S = 10.0
HARM = "watch.harm-proven"
TAKEN_BACK = frozenset({Phase.ROLLED_BACK, Phase.ABORTED})
JUDGED = frozenset({Phase.PROGRESSING, Phase.PROMOTING, Phase.BAKING})
"""Phases in which the rollout judges both versions; it alone can tell an outage from a fault."""


@dataclass(frozen=True)
class Standing:
    """What people have stopped, as it stands in one tick."""

    at_s: float = float("-inf")
    kills: Mapping[str, Mapping[str, Kill]] = field(default_factory=dict)
    freezes: tuple[Freeze, ...] = ()
    undos: Mapping[str, Undo] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Heir:
    """Who takes the champion's place, in whose name and why."""

    version: VersionId | None = None
    by: str = ""
    why: str = ""


NOBODY = Heir()


class ServingGuard:
    """Watches champions, brings the version before back where harm is proven in time, and enforces kills and freezes.

    While a rollout judges the champion beside its challenger, the guard proves nothing of it: an outage of both would
    condemn a good version. What may be bad is watched at once; what is good waits up to ten seconds for more. Watches
    are written every ten seconds and whenever they found something: a leader that falls loses at most so much of their
    evidence, and never a proof.
    """

    def __init__(self, stores: Stores, clock: Clock, freezing: Freezing) -> None:
        self._stores, self._clock, self._freezing = stores, clock, freezing
        self._watches: dict[Key, ServingWatch] = {}
        self._saved_s: dict[Key, float] = {}
        self._calm: dict[Key, Sight] = {}
        self._taken_back: dict[str, tuple[tuple[str, float | None], bool]] = {}
        self._due: set[Key] = set()
        self._harmed: dict[Key, Alarm] = {}
        self._killing: dict[Key, str] = {}
        self._standing = Standing()

    def reload(self) -> None:
        """Read the watches again: another led meanwhile, or a tick was not written."""
        self._watches = self._stores.watches.read()
        self._saved_s = {key: known.at_s for key, known in self._watches.items()}
        self._calm.clear()
        self._due.clear()
        self._harmed.clear()
        self._killing.clear()
        self._standing = Standing()

    def look(self, sight: Sight) -> Orders:
        """Take what one tick brought of one service, and say what has to be done at once."""
        standing, name = self._look_up(sight.at_s), sight.spec.service
        killed = set(map(VersionId.parse, standing.kills.get(name, ())))
        # Nobody serves for a version that was stopped: what users don't get proves nothing of it.
        stopped = sight.production.champion is not None and VersionId.parse(sight.production.champion) in killed
        alarms = () if stopped else self._watch(sight)
        if self._killing:
            killed |= {VersionId.parse(version) for service, version in self._killing if service == name}
        keep, heir = self._fall_back(sight, standing, killed)
        manual = self._manual(sight, standing)
        if not (manual or killed or keep or alarms):
            return CALM
        return Orders(
            manual=manual,
            killed=frozenset(killed),
            keep=frozenset(keep),
            crown=heir.version,
            crown_by=heir.by,
            crown_why=heir.why,
            told=tuple(_event(sight, alarm) for alarm in alarms),
        )

    def save(self, connection: Connection, *, fence: int) -> None:
        """Write what was learnt, in the transaction that counts the telemetry that it was learnt from."""
        due = {key: self._watches[key] for key in self._due}
        self._stores.watches.write(connection, due, fence=fence)
        for (service, version), alarm in self._harmed.items():
            self._remember(connection, service, version, alarm.sentence)
        for (service, version), why in self._killing.items():
            self._stores.kills.kill(connection, service, version, actor="guard/watch", reason=why)
        self._saved_s.update({key: known.at_s for key, known in due.items()})
        self._due.clear()
        self._harmed.clear()
        self._killing.clear()

    def _look_up(self, at_s: float) -> Standing:
        """Read kills and freezes, once for all services of a tick."""
        if self._standing.at_s != at_s:
            kills, freezes = self._stores.kills.active(), tuple(self._stores.freezes.active())
            self._standing = Standing(at_s, kills, freezes, self._stores.undos.open())
        return self._standing

    def _watch(self, sight: Sight) -> tuple[Alarm, ...]:
        production, spec = sight.production, sight.spec
        if production.champion is None:
            return ()
        key, since_s = (spec.service, production.champion), production.since_s or sight.at_s
        known = self._watches.get(key)
        if known is None or known.since_s < since_s:
            known = begin_watch(since_s)
        before = self._calm.pop(key, None)
        if before is not None and before.at_s >= since_s:
            batches, judged = (*before.batches, *sight.batches), (*before.judged, *sight.judged)
            rollout = before.rollout if _is_judged(before) else sight.rollout
            sight = replace(sight, rollout=rollout, batches=batches, judged=judged)
        if (_is_judged(sight) or _is_calm(sight)) and sight.at_s - known.at_s < CALM_S:
            self._calm[key] = sight
            return ()
        glance = _glance(sight, VersionId.parse(production.champion))
        known, alarms = watch(spec.objectives(), known, glance, false_alarms=spec.watch.false_alarms)
        self._watches[key] = known
        if alarms or known.at_s - self._saved_s.get(key, float("-inf")) >= SAVE_EVERY_S:
            self._due.add(key)
        for alarm in alarms:
            if alarm.code == HARM:
                self._harmed[key] = alarm
                if alarm.objective in spec.watch.kill_on:
                    self._killing[key] = alarm.sentence
        return alarms

    def _fall_back(self, sight: Sight, standing: Standing, killed: set[VersionId]) -> tuple[set[VersionId], Heir]:
        """Return what stays warm, and who takes the champion's place: the version before, unless it was stopped too."""
        production, spec = sight.production, sight.spec
        if production.champion is None or production.previous is None:
            return set(), NOBODY
        champion, previous = VersionId.parse(production.champion), VersionId.parse(production.previous)
        if previous in killed:
            return set(), NOBODY
        if champion in killed:
            # Whatever was proven of the one before: some bad answers are less than none at all.
            kill = standing.kills.get(spec.service, {}).get(production.champion)
            by, why = (kill.actor, kill.reason) if kill is not None else ("guard/watch", "harm was proven")
            return {previous}, Heir(previous, by, f"{champion} was stopped: {why}")
        undo = standing.undos.get(spec.service)
        if undo is not None and undo.version == production.champion:
            return {previous}, Heir(previous, undo.actor, f"{champion} was undone: {undo.reason}")
        if self._is_proven(spec.service, production.previous):
            return set(), NOBODY
        if sight.rollout is None and self._was_taken_back(production, production.previous):
            return set(), NOBODY
        since_s = production.since_s if production.since_s is not None else float("-inf")
        if sight.at_s - since_s >= spec.watch.keep_warm:
            return set(), NOBODY
        if self._is_proven(spec.service, production.champion) and spec.watch.on_harm is OnHarm.REVERT:
            return {previous}, Heir(previous, "guard/watch", f"{champion} is proven harmful")
        return {previous}, NOBODY

    def _was_taken_back(self, production: Production, previous: str) -> bool:
        """Tell whether the version before was rolled back out of its own promotion: it gets no traffic again."""
        reign = previous, production.since_s
        known = self._taken_back.get(production.service)
        if known is None or known[0] != reign:
            rows = self._stores.rollouts.of_service(production.service)
            newest = next((row for row in rows if row.challenger == previous), None)
            known = reign, newest is not None and newest.phase in TAKEN_BACK
            self._taken_back[production.service] = known
        return known[1]

    def _is_proven(self, service: str, version: str) -> bool:
        known = self._watches.get((service, version))
        return known is not None and any(one.proven for one in known.objectives.values())

    def _manual(self, sight: Sight, standing: Standing) -> tuple[ManualAction, ...]:
        """Return what the living rollout is asked: to end when its challenger is killed, to wait while it is frozen."""
        if sight.rollout is None:
            return ()
        kill = standing.kills.get(sight.spec.service, {}).get(sight.rollout.challenger)
        phase = sight.rollout.phase
        if kill is not None and phase in LEGAL[ManualKind.ABORT]:
            return (ManualAction(ManualKind.ABORT, "guard/kill", f"killed by {kill.actor}: {kill.reason}"),)
        if phase not in LEGAL[ManualKind.PAUSE]:
            return ()
        why = self._freezing.why(sight.spec, standing.freezes)
        return (ManualAction(ManualKind.PAUSE, "guard/freeze", why),) if why else ()

    def _remember(self, connection: Connection, service: str, version: str, why: str) -> None:
        """Remember the content of a version that was harmful after its promotion like one that was rolled back."""
        rows = self._stores.rollouts.of_service(service)
        promoted = next((row for row in rows if row.challenger == version), None)
        if promoted is not None:
            self._stores.rollouts.remember(connection, promoted, promoted.digest, why)


def _is_judged(sight: Sight) -> bool:
    return sight.rollout is not None and sight.rollout.phase in JUDGED


def _is_calm(sight: Sight) -> bool:
    """Tell whether nothing in it can be evidence of harm, or of a burn."""
    if sight.judged:
        return False
    for batch in sight.batches:
        for row in batch.attempts:
            if row.bad or (row.slow and any(row.slow.values())):
                return False
        for request in batch.requests:
            if request.bad:
                return False
    return True


def _glance(sight: Sight, version: VersionId) -> Glance:
    """Sort one tick of a service: its champion's attempts and scores, and what users got."""
    spec, lanes = sight.spec, sight.spec.lane_objectives()
    attempts, requests, scores = dict[str, Tally](), dict[str, Tally](), dict[str, list[float]]()
    for name, slo in spec.objectives().items():
        if isinstance(slo, ScoreSlo):
            mine = (found for found in sight.judged if found.metric == slo.scorer and not found.sample.mirrored)
            values = (found.score.value for found in mine if found.sample.version == version)
            scores[name] = [value for value in values if value is not None]
            continue
        attempts[name] = _attempts(sight, name, slo, lanes.get(name), version)
        everybody = isinstance(slo, LatencySlo)
        requests[name] = _attempts(sight, name, slo, lanes.get(name), None) if everybody else _requests(sight, spec)
    return Glance(sight.at_s, attempts, requests, scores, proves=not _is_judged(sight))


def _attempts(sight: Sight, name: str, slo: Slo, lane: str | None, version: VersionId | None) -> Tally:
    """Count live attempts under one objective, of one version or of all."""
    bad = total = 0
    for row in (row for batch in sight.batches for row in batch.attempts):
        mine = row.service == sight.spec.service and not row.mirrored and version in {None, row.version}
        if mine and lane in {None, row.lane}:
            bad += row.slow.get(name, 0) if isinstance(slo, LatencySlo) else row.n_bad
            total += row.total
    return Tally(bad, total)


def _requests(sight: Sight, spec: ServiceSpec) -> Tally:
    rows = [row for batch in sight.batches for row in batch.requests if row.service == spec.service]
    return Tally(sum(row.bad for row in rows), sum(row.total for row in rows))


def _event(sight: Sight, alarm: Alarm) -> Event:
    return Event(
        code=alarm.code,
        at_s=sight.at_s,
        subject=f"service/{sight.spec.service}",
        message=f"{sight.production.champion}: {alarm.sentence}",
        data={
            "service": sight.spec.service,
            "version": sight.production.champion,
            "objective": alarm.objective,
            "evidence": alarm.evidence,
        },
    )


def make_guard(stores: Stores, clock: Clock, freezing: Freezing | None = None) -> ServingGuard:
    """Return the guard of a control plane."""
    return ServingGuard(stores, clock, freezing or Freezing(stores, clock))
