"""One rollout of the demo under way, carried by the loop."""

from collections.abc import Sequence

from contracts.ids import VersionId
from contracts.wire.telemetry import TelemetryReply
from controlplane.loop.evidence import Judged
from controlplane.loop.reconcile import RolloutLoop
from controlplane.store.ledger import Entry, Ledger
from rollout.phases import ManualAction


class Wishes:
    """What the person on call asks, handed to the loop at its next tick."""

    def __init__(self) -> None:
        self._asked: list[ManualAction] = []

    def ask(self, action: ManualAction) -> None:
        """Ask."""
        self._asked.append(action)

    def look(self, reply: TelemetryReply, judged: Sequence[Judged], challenger: VersionId) -> tuple[ManualAction, ...]:
        """Return what was asked since the last tick."""
        asked, self._asked = tuple(self._asked), []
        return asked


class LoopTrial:
    """A rollout that this process ticks."""

    def __init__(self, loop: RolloutLoop, ledger: Ledger, wishes: Wishes) -> None:
        self._loop, self._ledger, self._wishes = loop, ledger, wishes
        self._seen = -1

    @property
    def is_over(self) -> bool:
        """Tell whether it has ended and nothing is left to do."""
        return self._loop.is_over

    def step(self) -> Sequence[Entry]:
        """Let a tick happen; return the decisions that were made since the last one."""
        self._loop.tick()
        found = list(self._ledger.entries(self._loop.rollout_id, after=self._seen))
        self._seen = found[-1].sequence if found else self._seen
        return found

    def ask(self, action: ManualAction) -> None:
        """Ask what a person may ask."""
        self._wishes.ask(action)
