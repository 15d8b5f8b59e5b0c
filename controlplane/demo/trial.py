"""One rollout of the demo, asked for and watched as any client of the control plane would."""

from collections.abc import Sequence

from controlplane.desks.rollouts import RolloutDesk
from controlplane.store.ledger import Entry
from controlplane.stores import Stores
from rollout.phases import ManualAction


class DeskTrial:
    """A rollout in the stores; the controller decides on it."""

    def __init__(self, stores: Stores, desk: RolloutDesk, rollout_id: str) -> None:
        self._stores, self._desk, self._id = stores, desk, rollout_id
        self._last = -1

    @property
    def is_over(self) -> bool:
        """Tell whether it has ended and nothing is left to do."""
        return self._stores.rollouts.get(self._id).ended

    def news(self) -> Sequence[Entry]:
        """Return the decisions that were made since this was last asked."""
        found = list(self._stores.ledger.entries(self._id, after=self._last))
        self._last = found[-1].sequence if found else self._last
        return found

    def ask(self, action: ManualAction) -> None:
        """Ask what a person may ask.

        Raises:
            NotPermitted: when it is not the time for it.
        """
        if not any(wish.action == action for wish in self._stores.wishes.open().get(self._id, ())):
            self._desk.act(self._id, action)
