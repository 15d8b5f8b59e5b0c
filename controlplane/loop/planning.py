"""Planning: what follows from a tick's decisions for routes, workers, aliases and production."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from contracts.events import Event
from contracts.ids import VersionId
from contracts.specs.service import AliasPolicy
from controlplane.loop.agenda import Agenda, Service
from controlplane.loop.aliases import Wanted
from controlplane.loop.hands import Hands
from controlplane.loop.ports import Orders
from controlplane.loop.routing import DesiredTraffic
from controlplane.loop.trial import Trial
from serving.fleet.port import FleetState

CALM = Orders()


@dataclass
class Plan:
    """What a tick asks of the world: written down first (``crowned``, ``told``), then carried out.

    ``held`` services stay as they are, because nobody can say what they should be.
    """

    traffic: dict[str, DesiredTraffic] = field(default_factory=dict)
    wanted: set[VersionId] = field(default_factory=set)
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
                plan.wanted |= {VersionId.parse(v) for v in _versions(self._agenda, name)}
                continue
            owner = self._owner(service, trial, orders)
            needed = (trial.placed() if trial is not None else set()) | orders.keep | ({owner} if owner else set())
            plan.wanted |= needed - orders.killed
            if owner is None:
                plan.problems[name] = "no version is its champion: nobody is served"
                continue
            self._route(service, trial, owner, orders)
            if self._agenda.alias_owner(owner.model) == name:
                plan.aliases.append(self._alias(service, trial, owner, fence))
        plan.wanted -= set(waiting)
        return plan

    def _owner(self, service: Service, trial: Trial | None, orders: Orders) -> VersionId | None:
        """Return who owns production after this tick, and note it where that is new."""
        owner, why = service.champion, ""
        if trial is not None:
            owner = trial.owner()
        else:
            heir, why = self._heir(service, orders)
            if heir is not None and heir not in orders.killed:
                self._plan.wanted.add(heir)
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
            return orders.crown, "the guard ordered it"
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

    def _alias(self, service: Service, trial: Trial | None, owner: VersionId, fence: int) -> Wanted:
        name = service.name
        effect = f" ({trial.effect}, leader {fence})" if trial is not None else f" (leader {fence})"
        moving = trial is not None and trial.owner() == trial.challenger
        before = service.champion if name in self._plan.crowned else service.previous
        return Wanted(
            version=owner,
            previous=before if before is not None and before.model == owner.model else None,
            policy=service.spec.aliases,
            actor=f"rollout/{trial.row.id}" if trial is not None else f"service/{name}",
            reason=("every gate proven safe" if moving else f"production of {name}") + effect,
            insist=trial is not None or name in self._plan.crowned,
            may_follow=lambda version: not self._is_refused(name, version),
            may_act=self._may_act,
        )


def _versions(agenda: Agenda, service: str) -> set[str]:
    row = agenda.rollouts[service]
    return {row.champion, row.challenger}
