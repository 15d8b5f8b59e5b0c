"""Rollouts that this release can't go on with: why, and how a person ends one all the same.

The leader leaves such a service as it stands. Ended, the rollout is out of its way: it serves whoever owns production.
"""

from dataclasses import replace

from sqlalchemy import Connection

from contracts.errors import InvalidInput, NotFound
from contracts.events import Event
from controlplane.desks.offers import Offer
from controlplane.loop.trial import open_trial
from controlplane.store.ledger import Entry
from controlplane.store.rollouts import StoredRollout
from controlplane.store.wishes import Wish
from controlplane.stores import Stores
from controlplane.telling import tell
from rollout.actions import ReasonCode
from rollout.phases import ManualAction, ManualKind, Phase
from rollout.state import State


def why_unreadable(stores: Stores, row: StoredRollout) -> str:
    """Return why nobody can go on with a rollout, "" when its state, its spec and its policy are as they must be."""
    try:
        if row.ended:
            # One that was ended by hand has the state that it had before: nobody could read it.
            return "" if State.from_json(row.state).phase.value == row.phase else "it was ended by hand"
        open_trial(row, stores.services.get(row.service, row.service_revision).spec)
    except (InvalidInput, NotFound) as error:
        return error.message
    except ValueError as error:
        return str(error)
    return ""


def offer_end(stores: Stores, row: StoredRollout, why: str) -> list[Offer]:
    """Return every action as it may be asked of a rollout that can't be gone on with: it may be aborted alone."""
    refused = "it has ended" if row.ended else f"this rollout can't be gone on with: {why}"
    offers = [Offer(kind.value, allowed=False, why_not=refused, effect="") for kind in ManualKind]
    if row.ended:
        return offers
    effect = f"it can't be gone on with and is marked as aborted; all traffic goes to {_owner(stores, row)}"
    end = Offer(ManualKind.ABORT.value, allowed=True, why_not="", effect=effect)
    return [end if offer.name == end.name else offer for offer in offers]


def end_unreadable(stores: Stores, row: StoredRollout, action: ManualAction, newest: Entry | None, why: str) -> Wish:
    """Mark a rollout as aborted without reading its state, and tell so; the leader then serves who owns production.

    Raises:
        Conflict: when somebody wrote it meanwhile.
    """
    sentence = (
        f"{action.actor} ended {row.id}, which could not be gone on with ({why}): "
        f"all traffic goes to {_owner(stores, row)}: {action.reason}"
    )
    with stores.database.write() as connection:
        stores.rollouts.end(connection, row, Phase.ABORTED)
        wish = stores.wishes.ask(connection, row.id, action)
        stores.wishes.close(connection, {wish.sequence: ""}, fence=row.fence)
        at_s = stores.database.now_s(connection)
        if newest is not None:
            told = {"phase": Phase.ABORTED.value, "weight": 0.0, "mirror_share": 0.0, "sentence": sentence}
            decision = {**newest.decision, **told, "reason": ReasonCode.ENDED_BY_PERSON.value, "actions": []}
            record = {"at_s": at_s, "rollout_id": row.id, "policy_digest": newest.policy_digest}
            stores.ledger.write(connection, [{**record, "observation": newest.observation, "decision": decision}])
        _tell(stores, connection, row, sentence, at_s)
    return replace(wish, met_s=at_s)


def _tell(stores: Stores, connection: Connection, row: StoredRollout, sentence: str, at_s: float) -> None:
    code, phase = ReasonCode.ENDED_BY_PERSON.value, Phase.ABORTED.value
    told = {"service": row.service, "challenger": row.challenger, "phase": phase, "weight": 0.0}
    event = Event(code=code, at_s=at_s, subject=f"rollout/{row.id}", message=sentence, data=told)
    tell(stores.outbox, connection, event, f"{row.id}:{code}")


def _owner(stores: Stores, row: StoredRollout) -> str:
    return stores.services.production(row.service).champion or row.champion
