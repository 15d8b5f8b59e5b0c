"""Looking ahead: the next challenger loads while the one before it is judged."""

from collections.abc import Sequence

from controlplane.demo.scenario import Case
from controlplane.demo.versions import Versions
from controlplane.store.fleet_wishes import FleetWish
from controlplane.stores import Stores

KEPT_WARM_S = 300.0


class Ahead:
    """Asks the fleet for the next case's version, as ``roost fleet warm`` does, and lets go of it once it is tried."""

    def __init__(self, stores: Stores, versions: Versions, cases: Sequence[Case], actor: str) -> None:
        self._stores, self._versions, self._actor = stores, versions, actor
        self._names = [case.version for case in cases]
        self._asked: tuple[str, FleetWish] | None = None

    def look(self, position: int) -> None:
        """Ask for the version of the case at a position, as soon as there is one; what was asked for before ends.

        To be called once the rollout before has traffic: from then on it keeps its version running by itself.
        """
        name = self._names[position] if position < len(self._names) else ""
        if self._asked is not None and self._asked[0] != name:
            self._let_go(self._asked[1])
        version = self._versions.peek(name) if self._asked is None and name else None
        if version is not None:
            with self._stores.database.write() as connection:
                wish = self._stores.fleet_wishes.warm(
                    connection, version, KEPT_WARM_S, actor=self._actor, reason="it is tried next"
                )
            self._asked = name, wish

    def _let_go(self, wish: FleetWish) -> None:
        with self._stores.database.write() as connection:
            self._stores.fleet_wishes.let_go(connection, wish.id, actor=self._actor, reason="it is tried")
        self._asked = None
