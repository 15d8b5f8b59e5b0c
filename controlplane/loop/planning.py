"""Planning: what follows from a tick's decisions for routes, workers, aliases and production."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from contracts.events import Event
from contracts.ids import VersionId
from contracts.specs.service import AliasPolicy
from controlplane.loop.agenda import Agenda, Service
from controlplane.loop.aliases import Wanted
from controlplane.loop.hands import Hands
from controlplane.loop.placing import Size, size_of
from controlplane.loop.ports import CALM, Orders
from controlplane.loop.routing import DesiredTraffic
from controlplane.loop.trial import Trial
from controlplane.store.fleet_wishes import FleetWish, FleetWishKind
from serving.fleet.port import FleetState, ReplicaState


@dataclass
class Plan:
    """What a tick asks of the world: written down first (``crowned``, ``told``), then carried out.

    ``held`` services stay as they are, because nobody can say what they should be. ``drained`` are the processes of
    workers that people want replaced, ``met`` the fleet wishes that are met or over.
    """

    traffic: dict[str, DesiredTraffic] = field(default_factory=dict)
    wanted: dict[VersionId, Size] = field(default_factory=dict)
    drained: set[str] = field(default_factory=set)
    met: list[str] = field(default_factory=list)
    held: set[str] = field(default_factory=set)
    aliases: list[Wanted] = field(default_factory=list)
    crowned: dict[str, VersionId] = field(default_factory=dict)
    told: list[Event] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)


class Planner:
    """Makes the plan of one tick."""

    def __init__(
        self,
        agenda: Agenda,
        hands: Hands,
        seen: FleetState,
        orders: Mapping[str, Orders],
        *,
        at_s: float,
        is_refused: Callable[[str, VersionId], bool],
        may_act: Callable[[], bool],
    ) -> None:
        self._agenda, self._hands, self._seen, self._orders = agenda, hands, seen, orders
        self._at_s, self._is_refused, self._may_act = at_s, is_refused, may_act
        self._plan = Plan(problems=dict(agenda.problems), held=set(agenda.problems))

    def plan(self, trials: Mapping[str, Trial], waiting: Sequence[VersionId], fence: int) -> Plan:
        """Return what follows; ``trials`` as their decisions leave them, ``waiting`` challengers that don't fit yet."""
        plan = self._plan
        for name, service in self._agenda.services.items():
            trial, orders = trials.get(name), self._orders.get(name, CALM)
            if trial is None and name in self._agenda.rollouts:
                plan.held.add(name)
                for version in _versions(self._agenda, name):
                    self._want(version, size_of(version, self._seen))
                continue
            owner = self._owner(service, trial, orders)
            for version, size in self._sizes(service, trial, owner, orders).items():
                if version not in orders.killed:
                    self._want(version, size)
            if owner is None:
                plan.problems[name] = "no version is its champion: nobody is served"
                continue
            self._route(service, trial, owner, orders)
            if self._agenda.alias_owner(owner.model) == name:
                plan.aliases.append(self._alias(service, trial, owner, orders, fence))
        for version in waiting:
            plan.wanted.pop(version, None)
        for wish in self._agenda.fleet_wishes:
            self._meet(wish)
        return plan

    def _sizes(
        self, service: Service, trial: Trial | None, owner: VersionId | None, orders: Orders
    ) -> dict[VersionId, Size]:
        """Return the versions that a service needs, each with its workers; what stays warm keeps those it has."""
        whole = Size(service.spec.workers.replicas)
        sizes = {version: size_of(version, self._seen) for version in orders.keep}
        if owner is not None:
            sizes[owner] = whole
        if trial is not None:
            sizes |= {version: trial.size(version) for version in trial.placed()}
        return sizes

    def _want(self, version: VersionId, size: Size) -> None:
        """Add workers; of a version that several need, the most."""
        there = self._plan.wanted.get(version)
        if there is None or there.replicas < size.replicas:
            self._plan.wanted[version] = size

    def _meet(self, wish: FleetWish) -> None:
        """See to what a person asks of the fleet."""
        if wish.kind is FleetWishKind.DRAIN:
            if is_gone(wish, self._seen):
                self._plan.met.append(wish.id)
            else:
                self._plan.drained.add(wish.process)
        elif wish.until_s is not None and wish.until_s <= self._at_s:
            self._plan.met.append(wish.id)
        else:
            self._want(wish.version, Size())
            self._hands.serves(wish.version, self._seen)  # its warm-up prompts are drawn before anybody needs it

    def _owner(self, service: Service, trial: Trial | None, orders: Orders) -> VersionId | None:
        """Return who owns production after this tick, and note it where that is new."""
        owner, why = service.champion, ""
        if trial is not None:
            owner = trial.owner()
        else:
            heir, why = self._heir(service, orders)
            if heir is not None and heir not in orders.killed:
                self._want(heir, Size(service.spec.workers.replicas))
                if self._hands.serves(heir, self._seen):
                    owner = heir
        if owner is not None and owner != service.champion:
            self._plan.crowned[service.name] = owner
            if trial is None:
                subject = f"service/{service.name}"
                message = f"{owner} takes over from {service.champion}: {why}"
                told = {"service": service.name, "champion": str(owner)}
                self._plan.told.append(
                    Event(code="service.crowned", at_s=self._at_s, subject=subject, message=message, data=told)
                )
        return owner

    def _heir(self, service: Service, orders: Orders) -> tuple[VersionId | None, str]:
        """Return who shall take production over without a rollout: by the guard's order, or by a moved alias."""
        if orders.crown is not None and orders.crown != service.champion:
            return orders.crown, orders.crown_why
        champion = service.champion
        if champion is None or self._agenda.alias_owner(champion.model) != service.name:
            return None, ""
        alias = self._hands.alias(champion.model)
        self._plan.told += self._hands.strays(service.name, champion, alias, self._at_s)
        if service.spec.aliases is not AliasPolicy.ADOPT or not alias.stray:
            return None, ""
        if alias.target is None or alias.target == champion:
            return None, ""
        if self._is_refused(service.name, alias.target):
            self._plan.problems[service.name] = f"the alias names {alias.target}, which was rolled back: not followed"
            return None, ""
        return alias.target, "the alias was moved in MLflow"

    def _route(self, service: Service, trial: Trial | None, owner: VersionId, orders: Orders) -> None:
        if trial is not None:
            traffic, why = self._hands.traffic(trial, self._seen, orders.killed)
        else:
            traffic, why = DesiredTraffic(service.spec, owner), ""
        if traffic.champion in orders.killed:
            why = f"{traffic.champion} is killed and nothing takes its place: nobody is served"
            traffic = DesiredTraffic(traffic.spec, traffic.champion, closed=True)
        self._plan.traffic[service.name] = traffic
        if why:
            self._plan.problems[service.name] = why

    def _alias(self, service: Service, trial: Trial | None, owner: VersionId, orders: Orders, fence: int) -> Wanted:
        name = service.name
        effect = f" ({trial.effect}, leader {fence})" if trial is not None else f" (leader {fence})"
        moving = trial is not None and trial.owner() == trial.challenger
        before = service.champion if name in self._plan.crowned else service.previous
        if trial is not None and before == trial.challenger:
            before = None  # it is being taken back: nothing to go back to
        actor, why = (f"rollout/{trial.row.id}" if trial is not None else f"service/{name}"), f"production of {name}"
        if trial is None and owner == orders.crown != service.champion:
            actor, why = orders.crown_by, orders.crown_why
        return Wanted(
            version=owner,
            previous=before if before is not None and before.model == owner.model else None,
            policy=service.spec.aliases,
            actor=actor,
            reason=("every gate proven safe" if moving else why) + effect,
            insist=trial is not None or name in self._plan.crowned,
            may_follow=lambda version: not self._is_refused(name, version),
            may_act=self._may_act,
        )


def _versions(agenda: Agenda, service: str) -> set[VersionId]:
    row = agenda.rollouts[service]
    return {VersionId.parse(row.champion), VersionId.parse(row.challenger)}


def is_gone(wish: FleetWish, seen: FleetState) -> bool:
    """Tell whether a worker that was to be drained has gone, and whatever takes its place is ready."""
    mine = [replica for replica in seen.replicas if replica.version == wish.version]
    if any(replica.process == wish.process for replica in mine):
        return False
    placed = seen.placement(wish.version)
    if placed is None:
        return bool(seen.placements)
    return sum(replica.state is ReplicaState.READY for replica in mine) >= placed.replicas
