"""Rollouts as people ask for them: started, acted upon, and shown with what may be asked next."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

from contracts.clock import Clock
from contracts.errors import Conflict, InvalidInput, NotPermitted, Unavailable
from contracts.ids import VersionId, VersionRef
from contracts.rng import Rng
from contracts.specs.service import ServiceSpec
from controlplane.desks.four_eyes import goes_ahead, require_second, why_not_alone
from controlplane.desks.journal import Journal
from controlplane.desks.offers import Offer, offer, rehearse
from controlplane.desks.registrations import NAMES, find_registrars
from controlplane.desks.unreadable import end_unreadable, offer_end, why_unreadable
from controlplane.desks.words import require_words
from controlplane.loop.outlook import Outlook
from controlplane.loop.room import Room, write_room
from controlplane.policies import policy_of
from controlplane.store.ledger import Entry
from controlplane.store.rollouts import Start, StoredRollout
from controlplane.store.tokens import Role
from controlplane.store.wishes import Wish
from controlplane.stores import Stores
from registry.catalogue import Catalogue, VersionRecord
from rollout.machine import start as begin
from rollout.observation import Fit
from rollout.phases import ManualAction, ManualKind, check_manual
from rollout.policy import Policy
from rollout.state import State

TOO_LOW = "this needs an operator"
LOOK = "the rollout tells what may be asked of it now, and why the rest may not"


class Precondition(Protocol):
    """What must hold before a challenger may get traffic: golden prompts, a comparison, room on the machines."""

    def why_not(self, spec: ServiceSpec, champion: VersionId, challenger: VersionRecord) -> str:
        """Return why the challenger may not be tried, or ""."""
        ...


class Freeze(Protocol):
    """Times in which nothing new may be rolled out."""

    def why_frozen(self, service: str) -> str:
        """Return the sentence that says why a service is frozen now, or ""."""
        ...


@dataclass(frozen=True, slots=True)
class RolloutView:
    """A rollout as it stands: its row, the machine's state, the last decision on it, and what was asked of it.

    ``state`` is None where it can't be read; ``problem`` is why nobody can go on with it.
    """

    row: StoredRollout
    state: State | None
    newest: Entry | None
    wishes: tuple[Wish, ...]
    problem: str


class RolloutDesk:
    """Starts rollouts and takes what people ask of them; the leader carries it out."""

    def __init__(
        self,
        stores: Stores,
        catalogue: Catalogue,
        clock: Clock,
        rng: Rng,
        *,
        preconditions: Sequence[Precondition] = (),
        freeze: Freeze | None = None,
        outlook: Outlook | None = None,
    ) -> None:
        self._stores, self._catalogue, self._clock, self._rng = stores, catalogue, clock, rng
        self._preconditions, self._freeze, self._journal = preconditions, freeze, Journal(stores.database)
        self._outlook = outlook

    def start(
        self,
        service: str,
        challenger: VersionRef,
        *,
        actor: str,
        reason: str,
        force: bool = False,
        role: Role = Role.OPERATOR,
    ) -> StoredRollout:
        """Write a rollout of ``challenger`` down for the leader to begin, and who asked for it why.

        ``force`` insists on content that was rolled back or fails a precondition; it lifts no freeze.

        Raises:
            InvalidInput: when actor or reason is missing, or the version is the champion or of another model.
            NotFound: when there is no such service or version.
            Conflict: when the service has a rollout in progress.
            NotPermitted: when the service is frozen or has no champion, the content was rolled back before or fails a
                precondition, or four eyes ask for somebody else.
        """
        wanted = self.check(service, challenger, actor=actor, reason=reason, force=force, role=role)
        started = VersionId.parse(wanted.state.challenger)
        names = self._catalogue.get(VersionRef(started.model, number=started.number)).registered_by
        told = {"service": service, "challenger": str(started), "digest": wanted.digest, "forced": force}
        with self._stores.database.write() as connection:
            row = self._stores.rollouts.start(connection, wanted)
            self._stores.audit.write(
                connection,
                actor=actor,
                action="rollout.start",
                subject=f"rollout/{row.id}",
                reason=reason,
                detail={**told, "champion": row.champion, "revision": row.service_revision, NAMES: list(names)},
            )
        return row

    def check(
        self,
        service: str,
        challenger: VersionRef,
        *,
        actor: str,
        reason: str,
        force: bool = False,
        role: Role = Role.OPERATOR,
    ) -> Start:
        """Return what `start` would begin with, and change nothing.

        Raises:
            InvalidInput, NotFound, Conflict, NotPermitted: as `start` would.
        """
        require_words(actor, reason)
        revision = self._stores.services.get(service)
        self._require_room(service)
        champion = self._champion(service)
        record = self._find(revision.spec, challenger, champion)
        self._require_alive(service, record.id)
        if force:
            require_second(self._stores, revision.spec, "force", record, actor=actor, role=role)
        else:
            self._require_fit(revision.spec, champion, record)
        room = self._foresee(revision.spec, champion, record.id)
        state = begin(
            policy_of(revision.spec),
            at_s=self._clock.now_s(),
            rollout_id=f"{service}-{record.id.number}-{self._rng.token(3)}",
            champion=str(champion),
            challenger=str(record.id),
        )
        salt = self._rng.token(8)
        return Start(
            service,
            revision.revision,
            record.digest,
            salt,
            state,
            actor=actor,
            reason=reason,
            forced=force,
            room=write_room(room),
        )

    def foresee(self, service: str, challenger: VersionRef) -> Room:
        """Return what would be done about memory, were a rollout of ``challenger`` started now.

        Raises:
            InvalidInput: when the version is the champion or of another model.
            NotFound: when there is no such service or version.
            NotPermitted: when the service has no champion.
            Unavailable: when that can't be known here.
        """
        spec, champion = self._stores.services.get(service).spec, self._champion(service)
        record = self._find(spec, challenger, champion)
        room = self._outlook.foresee(spec, champion, record.id) if self._outlook is not None else None
        if room is None:
            raise Unavailable("this control plane can't tell what fits", hint="ask the one that supervises the fleet")
        return room

    def act(self, rollout_id: str, action: ManualAction, *, role: Role = Role.OPERATOR) -> Wish:
        """Write down what a person asks of a rollout; the leader takes it at its next step.

        An abort of one that nobody can go on with ends it here and now.

        Raises:
            InvalidInput: when actor or reason is missing.
            NotFound: when there is no such rollout.
            NotPermitted: when its phase, the evidence or four eyes don't allow it, and why.
            Conflict: when one that can't be gone on with was written by another meanwhile.
        """
        row = self._stores.rollouts.get(rollout_id)
        unreadable = why_unreadable(self._stores, row)
        if unreadable:
            return self._end(row, action, role, unreadable)
        state, policy = State.from_json(row.state), self._policy(row)
        check_manual(action, state.phase)
        why = self._why_not_theirs(row, state, action.kind, actor=action.actor, role=role)
        if not why:
            refusals = rehearse(policy, state, action).refusals
            why = refusals[0].why if refusals else ""
        if why:
            raise NotPermitted(f"{action.kind.value} of {rollout_id} is refused: {why}", hint=LOOK)
        with self._stores.database.write() as connection:
            return self._stores.wishes.ask(connection, rollout_id, action)

    def offers(self, rollout_id: str, *, actor: str = "somebody", role: Role = Role.OPERATOR) -> list[Offer]:
        """Return every action with whether ``actor`` may ask for it now, why not, and what it would do in numbers.

        Raises:
            NotFound: when there is no such rollout.
        """
        row = self._stores.rollouts.get(rollout_id)
        unreadable = why_unreadable(self._stores, row)
        if unreadable:
            may = role.includes(Role.OPERATOR)
            made = offer_end(self._stores, row, unreadable)
            return made if may else [replace(one, allowed=False, why_not=TOO_LOW, effect="") for one in made]
        state, policy = State.from_json(row.state), self._policy(row)
        made = []
        for kind in ManualKind:
            one = offer(policy, state, kind, actor=actor)
            why = self._why_not_theirs(row, state, kind, actor=actor, role=role) if one.allowed else ""
            made.append(replace(one, allowed=False, why_not=why, effect="") if why else one)
        return made

    def show(self, rollout_id: str) -> RolloutView:
        """Return a rollout as it stands.

        Raises:
            NotFound: when there is none of that id.
        """
        row = self._stores.rollouts.get(rollout_id)
        wishes = tuple(self._stores.wishes.of_rollout(rollout_id))
        state: State | None = None
        with suppress(InvalidInput):
            state = State.from_json(row.state)
        problem = why_unreadable(self._stores, row)
        return RolloutView(row, state, self._journal.newest(rollout_id), wishes, problem)

    def _end(self, row: StoredRollout, action: ManualAction, role: Role, why: str) -> Wish:
        require_words(action.actor, action.reason)
        offers = {offer.name: offer for offer in offer_end(self._stores, row, why)}
        refusal = offers[action.kind.value].why_not if role.includes(Role.OPERATOR) else TOO_LOW
        if refusal:
            raise NotPermitted(f"{action.kind.value} of {row.id} is refused: {refusal}", hint=LOOK)
        return end_unreadable(self._stores, row, action, self._journal.newest(row.id), why)

    def _foresee(self, spec: ServiceSpec, champion: VersionId, challenger: VersionId) -> Room | None:
        """Return the room that the rollout will find, None where that can't be known; force makes no memory."""
        room = self._outlook.foresee(spec, champion, challenger) if self._outlook is not None else None
        if room is not None and room.fit is Fit.NEVER:
            raise NotPermitted(
                f"{challenger} may not be tried: {room.sentence}",
                hint="roost model profile tells what a version needs; the spec's workers say what may be reduced",
            )
        return room

    def _policy(self, row: StoredRollout) -> Policy:
        return policy_of(self._stores.services.get(row.service, row.service_revision).spec)

    def _champion(self, service: str) -> VersionId:
        champion = self._stores.services.production(service).champion
        if champion is None:
            raise NotPermitted(
                f"service {service} has no champion to compare with",
                hint="apply its spec again and name the version that shall serve first",
            )
        return VersionId.parse(champion)

    def _find(self, spec: ServiceSpec, challenger: VersionRef, champion: VersionId) -> VersionRecord:
        if challenger.model != spec.model:
            raise InvalidInput(
                f"version: {challenger} is not a version of {spec.model}, which {spec.service} serves",
                hint=f"write {spec.model}@NUMBER",
            )
        record = self._catalogue.get(challenger)
        if record.id == champion:
            raise InvalidInput(f"version: {record.id} is the champion already", hint="name another version")
        return record

    def _require_room(self, service: str) -> None:
        why = self._freeze.why_frozen(service) if self._freeze is not None else ""
        if why:
            raise NotPermitted(why, hint="wait, or have the freeze lifted")
        for row in self._stores.rollouts.living():
            if row.service == service:
                raise Conflict(
                    f"service {service} has a rollout in progress: {row.id} of {row.challenger} is {row.phase}",
                    hint="wait for it, or abort it first",
                )

    def _require_alive(self, service: str, version: VersionId) -> None:
        kill = self._stores.kills.active().get(service, {}).get(str(version))
        if kill is not None:
            raise NotPermitted(f"{version} was stopped in {service}: {kill.reason}", hint="have the kill lifted first")

    def _require_fit(self, spec: ServiceSpec, champion: VersionId, record: VersionRecord) -> None:
        past = self._stores.rollouts.rolled_back(spec.service, record.digest)
        why = f"its content was rolled back by {past.rollout_id}: {past.reason}" if past is not None else ""
        for precondition in self._preconditions:
            why = why or precondition.why_not(spec, champion, record)
        if why:
            raise NotPermitted(
                f"{record.id} may not be tried: {why}",
                hint="mend it and register it anew; or insist with force and a reason, or have it readmitted",
            )

    def _why_not_theirs(self, row: StoredRollout, state: State, kind: ManualKind, *, actor: str, role: Role) -> str:
        if not role.includes(Role.OPERATOR):
            return TOO_LOW
        if not goes_ahead(kind, state):
            return ""
        # Who registered it was written down at the start, too: MLflow may be away now.
        involved = find_registrars(self._stores, f"version/{row.challenger}", f"rollout/{row.id}") | {row.actor}
        services = self._stores.services
        for revision in (services.get(row.service, row.service_revision), services.get(row.service)):
            why = why_not_alone(revision.spec, kind.value, actor=actor, role=role, involved=involved)
            if why:
                return why
        return ""
