"""The book: one tick of all rollouts, written in one fenced transaction, or not at all."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from contracts.events import Event
from contracts.ids import VersionId
from contracts.records import record
from contracts.wire.counted import Counted
from controlplane.loop.ports import Guard
from controlplane.loop.record import decision_document
from controlplane.loop.room import Room, write_room
from controlplane.loop.trial import Trial
from controlplane.store.lease import Lease
from controlplane.store.rollouts import Step
from controlplane.store.wishes import Wish
from controlplane.stores import Stores
from controlplane.telling import tell
from rollout.actions import ActionKind, ReasonCode
from rollout.machine import Decision
from rollout.observation import Observation
from rollout.phases import ManualKind, Phase

GATEWAY = "gateway-1"
OURS = ("guard/", "monitor/")
"""What actors are called that are no people: what they abort is remembered like a rollback."""


@record(frozen=True, slots=True)
class Page:
    """One rollout's tick: what was seen and decided, the wishes that were taken with it, the plan for its workers."""

    trial: Trial
    observation: Observation
    decision: Decision
    wishes: tuple[Wish, ...]
    is_over: bool
    room: Room | None = None

    def after(self, fence: int) -> Trial:
        """Return the rollout as it is once this is written."""
        return self.trial.after(self.decision, fence=fence, is_over=self.is_over, room=self.room)


@dataclass(frozen=True)
class Tick:
    """Everything that one tick writes: the rollouts' pages, how far telemetry is counted, champions, and events.

    ``met`` names the fleet wishes that are met or over.
    """

    pages: Sequence[Page] = ()
    counted: Counted | None = None
    crowned: dict[str, VersionId] = field(default_factory=dict)
    told: Sequence[Event] = ()
    met: Sequence[str] = ()


class Book:
    """Writes ticks."""

    def __init__(self, stores: Stores, guard: Guard) -> None:
        self._stores, self._guard = stores, guard

    def write(self, lease: Lease, tick: Tick) -> list[Event]:
        """Write a tick, and return the events that are new.

        Raises:
            Conflict: when the lease is over, or somebody else wrote a rollout; nothing is written then.
            Unavailable: when the database fails; the tick may be written all the same, if its answer was lost.
        """
        stores, fence = self._stores, lease.fence
        with stores.database.write() as connection:
            stores.rollouts.save(connection, lease, [_step(page) for page in tick.pages])
            stores.ledger.write(connection, [_record(page) for page in tick.pages])
            if tick.counted is not None:
                stores.cursors.write(connection, GATEWAY, tick.counted, fence=fence)
            stores.wishes.close(connection, _closed(tick.pages), fence=fence)
            stores.fleet_wishes.end(connection, list(tick.met))
            for service, version in tick.crowned.items():
                stores.services.crown(connection, service, str(version))
            for page in tick.pages:
                self._remember(connection, page)
            self._guard.save(connection, fence=fence)
            told = [(f"{event.subject}:{event.code}:{event.at_s!r}", event) for event in tick.told]
            told += [note for page in tick.pages for note in _notes(page)]
            return [event for key, event in told if tell(stores.outbox, connection, event, key)]

    def _remember(self, connection: Connection, page: Page) -> None:
        """Remember a content whose rollback begins now, or that one of our own watchers stopped."""
        before, now = page.trial.state.phase, page.decision.state.phase
        begins = now is not before and now in {Phase.ROLLING_BACK, Phase.ABORTING}
        if not begins:
            return
        ours = any(
            action.kind is ManualKind.ABORT and action.actor.startswith(OURS) for action in page.observation.manual
        )
        if now is Phase.ROLLING_BACK or ours:
            row = page.trial.row
            self._stores.rollouts.remember(connection, row, row.digest, page.decision.reason.sentence)


def _step(page: Page) -> Step:
    trial = page.trial
    room = trial.row.room if page.room is trial.room else write_room(page.room)
    return Step(trial.row.revision, page.decision.state, page.is_over, room)


def _record(page: Page) -> dict[str, object]:
    return {
        "at_s": page.observation.at_s,
        "rollout_id": page.trial.row.id,
        "policy_digest": page.trial.policy.digest,
        "observation": page.observation.to_document(),
        "decision": decision_document(page.decision),
    }


def _closed(pages: Sequence[Page]) -> dict[int, str]:
    """Return the wishes that were taken, each with why it was refused, "" when it was done."""
    closed = {}
    for page in pages:
        refused = {id(refusal.action): refusal.why for refusal in page.decision.refusals}
        closed.update({wish.sequence: refused.get(id(wish.action), "") for wish in page.wishes})
    return closed


def _notes(page: Page) -> list[tuple[str, Event]]:
    """Return what people are told of a decision, each with the key by which it is told once."""
    row, code = page.trial.row, page.decision.reason.code.value
    told = [
        (action.key, _event(page, code, action.message))
        for action in page.decision.actions
        if action.kind is ActionKind.NOTIFY
    ]
    if row.fence == 0:
        sentence = f"{row.challenger} is tried against {row.champion}, asked by {row.actor}: {row.reason}"
        told.append((f"{row.id}:{ReasonCode.STARTED.value}", _event(page, ReasonCode.STARTED.value, sentence)))
    return told


def _event(page: Page, code: str, message: str) -> Event:
    state = page.decision.state
    told = {"service": page.trial.spec.service, "challenger": state.challenger, "phase": state.phase.value}
    return Event(
        code=code,
        at_s=state.at_s,
        subject=f"rollout/{state.rollout_id}",
        message=message,
        data={**told, "weight": page.decision.weight},
    )
