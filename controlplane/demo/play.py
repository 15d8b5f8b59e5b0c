"""Plays the cases one after another on a system under load, and tells how each ended."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from contracts.clock import Clock
from contracts.errors import NotPermitted
from contracts.ids import VersionId
from contracts.specs.service import ServiceSpec
from controlplane.demo.record import Record
from controlplane.demo.scenario import Case
from controlplane.demo.show import Result, Scene, Stage
from controlplane.store.ledger import Entry
from rollout.phases import ManualAction, ManualKind, Phase

LOOK_S = 0.5
OUTAGE_AFTER_S = 5.0
OUTAGE_S = 9.0
CALM_S = 5.0
"""How long users must have been served well after a hold before the person on call looks again."""
PERSON = "on-call"
"""The name under which the demo's person on call acts."""


class Trial(Protocol):
    """One rollout, as whoever looks on sees it."""

    @property
    def is_over(self) -> bool:
        """Tell whether it has ended and nothing is left to do."""
        ...

    def news(self) -> Sequence[Entry]:
        """Return the decisions that were made since this was last asked."""
        ...

    def ask(self, action: ManualAction) -> None:
        """Ask what a person may ask; ``NotPermitted`` when it is not the time for it."""
        ...


class Outage(Protocol):
    """What hits both versions at once."""

    def begin(self) -> None:
        """Begin."""
        ...

    def end(self) -> None:
        """End; does nothing when there is none."""
        ...


Begin = Callable[[Case, VersionId], Trial]
"""Begins a case's rollout."""


class Player:
    """Plays cases; ``dress`` puts into a scene what goes on beside the rollout, ``unanswered`` counts users so far."""

    def __init__(
        self,
        spec: ServiceSpec,
        begin: Begin,
        stage: Stage,
        clock: Clock,
        outage: Outage,
        *,
        dress: Callable[[Scene], None],
        unanswered: Callable[[], int],
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._spec, self._begin, self._stage, self._clock, self._outage = spec, begin, stage, clock, outage
        self._dress, self._unanswered, self._wait = dress, unanswered, wait

    def play(self, case: Case, challenger: VersionId, champion: VersionId) -> Result:
        """Run one rollout to its end."""
        start_s, before = self._clock.monotonic_s(), self._unanswered()
        scene = Scene(f"{challenger} ({case.version}) against {champion}", start_s)
        record = Record(self._spec)
        self._follow(case, self._begin(case, challenger), record, scene)
        record.served.unanswered = self._unanswered() - before
        return Result(
            case=case,
            version=challenger,
            seen=record.ending(),
            why=record.why,
            duration_s=self._clock.monotonic_s() - start_s,
            served=record.served,
            allowed=self._allowed(record.trial_s) if case.bounded else None,
        )

    def _follow(self, case: Case, trial: Trial, record: Record, scene: Scene) -> None:
        drill = _Drill(self._outage, self._clock) if case.outage else None
        try:
            is_over = False
            while not is_over:
                is_over = trial.is_over
                for entry in trial.news():
                    record.add(entry)
                    scene.now_s, scene.decision = self._clock.monotonic_s(), entry.decision
                    self._dress(scene)
                    self._stage.show(scene)
                if drill is not None:
                    drill.advance(record)
                with suppress(NotPermitted):
                    _look_after(trial, record)
                self._wait(0.0 if is_over else LOOK_S)
        finally:
            self._outage.end()

    def _allowed(self, trial_s: float) -> float:
        """Return the bad answers that the harm budget allows in a trial so long: so many for each lag begun."""
        policy = self._spec.rollout
        return policy.harm_budget * (1 + trial_s // policy.reaction_lag)


def _look_after(trial: Trial, record: Record) -> None:
    """Be the person on call: give up what can't begin; after a hold for what both versions suffered, look again.

    That is once users are served well; resuming from a pause begins with new evidence.
    """
    if record.phase is Phase.FAILED:
        trial.ask(ManualAction(ManualKind.ABORT, PERSON, "it can't be carried out"))
    elif record.phase is Phase.PAUSED:
        trial.ask(ManualAction(ManualKind.RESUME, PERSON, "what both versions suffered is over"))
    elif record.is_unseen and record.well_s >= CALM_S:
        trial.ask(ManualAction(ManualKind.PAUSE, PERSON, "both versions suffered; looking into it"))


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
