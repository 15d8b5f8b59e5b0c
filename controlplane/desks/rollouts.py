"""Rollouts as people ask for them: started, acted upon, and shown with what may be asked next."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from contracts.clock import Clock
from contracts.errors import Conflict, InvalidInput, NotPermitted
from contracts.ids import VersionId, VersionRef
from contracts.rng import Rng
from contracts.specs.service import ServiceSpec
from controlplane.desks.four_eyes import goes_ahead, why_not_alone
from controlplane.desks.journal import Journal
from controlplane.desks.offers import Offer, offer, rehearse
from controlplane.policies import policy_of
from controlplane.store.ledger import Entry
from controlplane.store.rollouts import Start, StoredRollout
from controlplane.store.tokens import Role
from controlplane.store.wishes import Wish
from controlplane.stores import Stores
from registry.catalogue import Catalogue, VersionRecord
from rollout.machine import start as begin
from rollout.phases import ManualAction, ManualKind, check_manual
from rollout.policy import Policy
from rollout.state import State

LOOK = "the rollout tells what may be asked of it now, and why the rest may not"


class Precondition(Protocol):
    """What must hold before a challenger may get traffic: golden prompts, a comparison, room on the machines."""

    def why_not(self, spec: ServiceSpec, champion: VersionId, challenger: VersionRecord) -> str:
        """Return why the challenger may not be tried, or ""."""
        ...


class Freeze(Protocol):
    """Times in which nothing new may be rolled out."""

    def why_frozen(self, service: str) -> str:
        """Return why a service is frozen now, or ""."""
        ...


@dataclass(frozen=True, slots=True)
class RolloutView:
    """A rollout as it stands: its row, the machine's state, the last decision on it, and what was asked of it."""

    row: StoredRollout
    state: State
    newest: Entry | None
    wishes: tuple[Wish, ...]


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
    ) -> None:
        self._stores, self._catalogue, self._clock, self._rng = stores, catalogue, clock, rng
        self._preconditions, self._freeze, self._journal = preconditions, freeze, Journal(stores.database)

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
        told = {"service": service, "challenger": wanted.state.challenger, "digest": wanted.digest, "forced": force}
        with self._stores.database.write() as connection:
            row = self._stores.rollouts.start(connection, wanted)
            self._stores.audit.write(
                connection,
                actor=actor,
                action="rollout.start",
                subject=f"rollout/{row.id}",
                reason=reason,
                detail={**told, "champion": row.champion, "revision": row.service_revision},
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
        _require_words(actor, reason)
        revision = self._stores.services.get(service)
        self._require_room(service)
        champion = self._champion(service)
        record = self._find(revision.spec, challenger, champion)
        self._require_alive(service, record.id)
        if force:
            self._require_second(revision.spec, "force", actor=actor, role=role, challenger=record.id)
        else:
            self._require_fit(revision.spec, champion, record)
        state = begin(
            policy_of(revision.spec),
            at_s=self._clock.now_s(),
            rollout_id=f"{service}-{record.id.number}-{self._rng.token(3)}",
            champion=str(champion),
            challenger=str(record.id),
        )
        salt = self._rng.token(8)
        return Start(service, revision.revision, record.digest, salt, state, actor=actor, reason=reason, forced=force)

    def act(self, rollout_id: str, action: ManualAction, *, role: Role = Role.OPERATOR) -> Wish:
        """Write down what a person asks of a rollout; the leader takes it at its next step.

        Raises:
            InvalidInput: when actor or reason is missing.
            NotFound: when there is no such rollout.
            NotPermitted: when its phase, the evidence or four eyes don't allow it, and why.
        """
        row = self._stores.rollouts.get(rollout_id)
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
        return RolloutView(row, State.from_json(row.state), self._journal.newest(rollout_id), wishes)

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
            raise NotPermitted(f"service {service} is frozen: {why}", hint="wait, or have the freeze lifted")
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
                hint="mend it and register it anew, or insist with force and a reason",
            )

    def _require_second(self, spec: ServiceSpec, what: str, *, actor: str, role: Role, challenger: VersionId) -> None:
        why = why_not_alone(spec, what, actor=actor, role=role, involved=self._registered_by(challenger))
        if why:
            raise NotPermitted(why, hint="ask another approver")

    def _why_not_theirs(self, row: StoredRollout, state: State, kind: ManualKind, *, actor: str, role: Role) -> str:
        if not role.includes(Role.OPERATOR):
            return "this needs an operator"
        if not goes_ahead(kind, state):
            return ""
        involved = {row.actor, *self._registered_by(VersionId.parse(row.challenger))}
        services = self._stores.services
        for revision in (services.get(row.service, row.service_revision), services.get(row.service)):
            why = why_not_alone(revision.spec, kind.value, actor=actor, role=role, involved=involved)
            if why:
                return why
        return ""

    def _registered_by(self, version: VersionId) -> set[str]:
        return {change.actor for change in self._stores.audit.changes(f"version/{version}")}


def _require_words(actor: str, reason: str) -> None:
    for name, value in (("actor", actor), ("reason", reason)):
        if not value.strip():
            raise InvalidInput(f"{name}: is empty", hint="say who asks and why; it is recorded")
