"""Plays the cases one after another on a system under load, a tick a second, and tells how each ended."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from contracts.clock import Clock
from contracts.errors import NotPermitted
from contracts.ids import VersionId
from contracts.specs.service import ServiceSpec
from contracts.wire.telemetry import TelemetryReply
from controlplane.demo.outage import Outage
from controlplane.demo.record import Record
from controlplane.demo.scenario import Case
from controlplane.demo.served import Served
from controlplane.demo.show import Result, Scene, Stage
from controlplane.loop.evidence import Judged
from controlplane.store.ledger import Entry
from rollout.phases import ManualAction, ManualKind, Phase

TICK_S = 1.0
OUTAGE_AFTER_S = 5.0
OUTAGE_S = 9.0
CALM_S = 5.0
"""How long users must have been served well after a hold before the person on call resumes."""
TROUBLED_SHARE = 0.1
PERSON = "on-call"
"""The name under which the demo's person on call acts."""


class Trial(Protocol):
    """One rollout under way."""

    @property
    def is_over(self) -> bool:
        """Tell whether it has ended and nothing is left to do."""
        ...

    def step(self) -> Sequence[Entry]:
        """Let a tick happen; return the decisions that were made since the last one."""
        ...

    def ask(self, action: ManualAction) -> None:
        """Ask what a person may ask."""
        ...


Begin = Callable[[Case, VersionId, "CaseWatcher"], Trial]
"""Begins a case's rollout; ``NotPermitted`` when it is refused before any traffic."""


class CaseWatcher:
    """Looks on: counts what users got in this case, and since when they have been served well."""

    def __init__(self, spec: ServiceSpec, challenger: VersionId, clock: Clock) -> None:
        self.served = Served()
        self._service, self._challenger, self._clock = spec.service, challenger, clock
        self._well_since_s = clock.monotonic_s()

    def look(self, reply: TelemetryReply, judged: Sequence[Judged], challenger: VersionId) -> tuple[ManualAction, ...]:
        """Take one tick in; asks nothing."""
        self.served.count(self._service, self._challenger, reply, judged)
        rows = [row for batch in reply.batches for row in batch.attempts if row.service == self._service]
        troubled = sum(max(row.n_bad, *row.slow.values()) if row.slow else row.n_bad for row in rows)
        if troubled > TROUBLED_SHARE * sum(row.total for row in rows) or not rows:
            self._well_since_s = self._clock.monotonic_s()
        return ()

    @property
    def is_calm(self) -> bool:
        """Tell whether users have been served well for a while."""
        return self._clock.monotonic_s() - self._well_since_s >= CALM_S


class Player:
    """Plays cases."""

    def __init__(self, spec: ServiceSpec, begin: Begin, stage: Stage, clock: Clock, outage: Outage) -> None:
        self._spec, self._begin, self._stage, self._clock, self._outage = spec, begin, stage, clock, outage

    def play(self, case: Case, challenger: VersionId, champion: VersionId, dress: Callable[[Scene], None]) -> Result:
        """Run one rollout to its end; ``dress`` puts into the scene what else is going on."""
        start_s = self._clock.monotonic_s()
        watcher = CaseWatcher(self._spec, challenger, self._clock)
        scene = Scene(f"{challenger} ({case.version}) against {champion}", start_s)
        record = Record()
        try:
            trial = self._begin(case, challenger, watcher)
        except NotPermitted as refusal:
            self._stage.say(f"  {refusal.message}")
            record.refuse(refusal.message)
        else:
            self._follow(case, trial, watcher, record, lambda entry: self._show(scene, entry, dress))
        return Result(
            case=case,
            version=challenger,
            seen=record.ending(),
            why=record.why,
            duration_s=self._clock.monotonic_s() - start_s,
            served=watcher.served,
            allowed=self._allowed(record.trial_s) if case.bounded else None,
        )

    def _follow(
        self, case: Case, trial: Trial, watcher: CaseWatcher, record: Record, show: Callable[[Entry], None]
    ) -> None:
        drill = _Drill(self._outage, self._clock) if case.outage else None
        try:
            while not trial.is_over:
                begun_s = self._clock.monotonic_s()
                for entry in trial.step():
                    record.add(entry)
                    show(entry)
                if drill is not None:
                    drill.advance(record)
                self._on_call(trial, record, watcher)
                time.sleep(max(0.0, TICK_S - (self._clock.monotonic_s() - begun_s)))
        finally:
            self._outage.end()

    def _show(self, scene: Scene, entry: Entry, dress: Callable[[Scene], None]) -> None:
        scene.now_s, scene.decision = self._clock.monotonic_s(), entry.decision
        dress(scene)
        self._stage.show(scene)

    def _on_call(self, trial: Trial, record: Record, watcher: CaseWatcher) -> None:
        """After a hold for what both versions suffered: look again once users are served well, with new evidence."""
        if record.phase is Phase.PAUSED:
            trial.ask(ManualAction(ManualKind.RESUME, PERSON, "the outage is over"))
        elif record.is_held and watcher.is_calm:
            trial.ask(ManualAction(ManualKind.PAUSE, PERSON, "both versions suffered; looking into it"))

    def _allowed(self, trial_s: float) -> float:
        """Return the bad answers that the harm budget allows in a trial so long."""
        policy = self._spec.rollout
        return policy.harm_budget * max(1.0, trial_s / policy.reaction_lag)


class _Drill:
    """Makes the outage once the challenger has had traffic for a while, and ends it."""

    def __init__(self, outage: Outage, clock: Clock) -> None:
        self._outage, self._clock = outage, clock
        self._begun_s: float | None = None

    def advance(self, record: Record) -> None:
        """Begin or end the outage when it is time."""
        now_s = self._clock.monotonic_s()
        if self._begun_s is None and record.trial_s >= OUTAGE_AFTER_S:
            self._outage.begin()
            self._begun_s = now_s
        elif self._begun_s is not None and now_s - self._begun_s >= OUTAGE_S:
            self._outage.end()
