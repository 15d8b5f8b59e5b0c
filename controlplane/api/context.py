"""What the endpoints work with: stores, desks, the home's record, and the door."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol

from fastapi import Depends, Request

from contracts.clock import Clock, SystemClock
from contracts.ids import VersionId
from contracts.rng import Rng, SystemRng
from controlplane.api.access import AccessSpec
from controlplane.api.doorkeeper import Doorkeeper
from controlplane.api.oidc import Oidc
from controlplane.api.places import Places
from controlplane.api.sessions import Sessions
from controlplane.desks.fleet import FleetDesk
from controlplane.desks.journal import Journal
from controlplane.desks.readmissions import ReadmissionDesk
from controlplane.desks.rollouts import Freeze, Precondition, RolloutDesk
from controlplane.desks.safety import SafetyDesk
from controlplane.desks.services import ServiceDesk
from controlplane.desks.silencing import SilenceDesk
from controlplane.loop.outlook import Outlook
from controlplane.settings import Settings
from controlplane.store.logins import EndedLogins
from controlplane.store.replies import Replies
from controlplane.store.tokens import load_token_key
from controlplane.stores import Stores
from controlplane.web.sources.home import Home
from registry.catalogue import Catalogue, VersionPage, VersionRecord


class Shelf(Catalogue, Protocol):
    """A catalogue that can be searched, and that takes up versions which others registered in the same MLflow."""

    def search(self, model: str | None = None, *, page: str | None = None, size: int = 100) -> VersionPage:
        """Return one page of versions, of a model or of all, newest first."""
        ...

    def adopt(self, version: VersionId, *, registered_by: tuple[str, ...] = ()) -> VersionRecord:
        """Make a version that somebody registered in MLflow ours, if it passes inspection."""
        ...


@dataclass
class ApiContext:
    """Everything that the API is made from.

    ``leads`` tells whether this control plane decides; ``outlook`` knows its fleet, None where it has none.
    ``find_comparisons`` returns the kept comparisons of two versions, as documents.
    """

    settings: Settings
    stores: Stores
    home: Home
    catalogue: Shelf
    access: AccessSpec = field(default_factory=AccessSpec)
    clock: Clock = field(default_factory=SystemClock)
    rng: Rng = field(default_factory=SystemRng)
    leads: Callable[[], bool] = lambda: False
    preconditions: Sequence[Precondition] = ()
    freeze: Freeze | None = None
    outlook: Outlook | None = None
    find_comparisons: Callable[[VersionRecord, VersionRecord], list[dict[str, Any]]] = lambda one, other: []
    services: ServiceDesk = field(init=False)
    rollouts: RolloutDesk = field(init=False)
    safety: SafetyDesk = field(init=False)
    fleet: FleetDesk = field(init=False)
    silencing: SilenceDesk = field(init=False)
    readmissions: ReadmissionDesk = field(init=False)
    journal: Journal = field(init=False)
    replies: Replies = field(init=False)
    sessions: Sessions = field(init=False)
    doorkeeper: Doorkeeper = field(init=False)
    places: Places = field(init=False)
    rehearsing: threading.Lock = field(init=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        stores, access, clock = self.stores, self.access, self.clock
        self.services = ServiceDesk(stores, self.catalogue)
        self.rollouts = RolloutDesk(
            stores,
            self.catalogue,
            clock,
            self.rng,
            preconditions=self.preconditions,
            freeze=self.freeze,
            outlook=self.outlook,
        )
        self.safety = SafetyDesk(stores, self.catalogue, self.outlook)
        self.readmissions = ReadmissionDesk(stores, self.catalogue)
        self.fleet = FleetDesk(stores, self.catalogue, clock, self.outlook)
        self.journal, self.replies = Journal(stores.database), Replies(stores.database)
        self.silencing = SilenceDesk(stores)
        key = load_token_key(self.settings.token_key)
        self.sessions = Sessions(stores.tokens, EndedLogins(stores.database), key, clock, length_s=access.session)
        self.places = Places(each=access.streams_per_actor, together=access.streams)
        oidc = Oidc(access.oidc, self.settings.home, clock) if access.oidc is not None else None
        self.doorkeeper = Doorkeeper(access, stores.tokens, self.sessions, oidc=oidc, clock=clock)


def context_of(request: Request) -> ApiContext:
    """Return the context of the application that a request came to."""
    context = request.app.state.context
    assert isinstance(context, ApiContext)  # noqa: S101 - set where the application is made
    return context


Context = Annotated[ApiContext, Depends(context_of)]
