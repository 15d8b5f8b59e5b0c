"""Silencing as people ask for it: nobody is told how an objective burns, or of a monitor's alarms, until a time."""

from contracts.errors import NotFound
from contracts.events import Event
from controlplane.desks.words import require_words
from controlplane.store.silences import Silence
from controlplane.stores import Stores

ABOUT = dict.fromkeys(("burn.page", "burn.ticket", "burn.over"), "objective") | {"monitor.alarm": "monitor"}
"""Which of an event's data names what is silenced."""


class SilenceDesk:
    """Takes silences and lifts them. What is measured, shown and decided stays the same: only messages stop."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    def silence(self, service: str, objective: str, *, until_s: float, actor: str, reason: str) -> Silence:
        """Let nobody be told how an objective's budget burns, or of a monitor's alarms, until a time.

        Raises:
            InvalidInput: when actor or reason is missing, or the time is past.
            NotFound: when the service has no such objective or monitor.
        """
        require_words(actor, reason)
        spec = self._stores.services.get(service).spec
        names = sorted({*spec.objectives(), *spec.monitors})
        if objective not in names:
            raise NotFound(f"{service} has no objective or monitor {objective}", hint=f"it has: {', '.join(names)}")
        with self._stores.database.write() as connection:
            return self._stores.silences.silence(
                connection, service, objective, until_s=until_s, actor=actor, reason=reason
            )

    def lift(self, silence: str, *, actor: str, reason: str) -> Silence:
        """Let people be told again.

        Raises:
            InvalidInput: when actor or reason is missing.
            NotFound: when there is no such silence.
        """
        require_words(actor, reason)
        with self._stores.database.write() as connection:
            return self._stores.silences.lift(connection, silence, actor=actor, reason=reason)

    def is_silenced(self, event: Event) -> bool:
        """Tell whether nobody is to be told of an event now."""
        about = ABOUT.get(event.code)
        if about is None:
            return False
        return (event.data.get("service"), event.data.get(about)) in self._stores.silences.active()
