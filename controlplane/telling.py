"""Events told: written into the outbox, in the transaction of what they tell of."""

from sqlalchemy import Connection

from contracts.events import Event
from controlplane.store.outbox import Outbox


def tell(outbox: Outbox, connection: Connection, event: Event, key: str) -> bool:
    """Write an event into the outbox; False when its key was told before."""
    return outbox.put(connection, key=key[:200], topic=event.code, document=event.model_dump(mode="json"))


def of_service(code: str, at_s: float, service: str, message: str) -> Event:
    """Return an event whose subject is a service, or all of them ("*")."""
    return Event(code=code, at_s=at_s, subject=f"service/{service}", message=message, data={"service": service})
