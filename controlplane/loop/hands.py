"""The hands of the loop: routes, workers and aliases are brought to what is decided, and seen as they are."""

from collections.abc import Callable, Collection, Mapping, Sequence

from contracts.errors import RoostError, Unavailable
from contracts.events import Event
from contracts.ids import VersionId
from controlplane.loop.aliases import AliasKeeper, AliasState, Wanted
from controlplane.loop.chores import Chores
from controlplane.loop.placing import Placer, Size, size_of
from controlplane.loop.routing import DesiredTraffic, RoutingDesk
from controlplane.loop.trial import Trial
from controlplane.loop.world import World
from rollout.actions import ActionKind, FailedEffect
from serving.fleet.port import FleetState


class Hands:
    """Carries out for one leader; what it tells of the world is looked up there, and never remembered from its acts.

    ``may_act`` is asked right before each effect: whether the lease still holds by the local clock.
    """

    def __init__(
        self,
        world: World,
        chores: Chores,
        aliases: AliasKeeper,
        *,
        fence: int,
        prompts: Sequence[str],
        may_act: Callable[[], bool],
    ) -> None:
        self._world, self._aliases, self._prompts, self._may_act = world, aliases, prompts, may_act
        self.routing = RoutingDesk(world.data_plane, world.fleet, fence=fence)
        self.placer = Placer(world.catalogue, world.fleet, chores)
        self._knows_table = False
        self._strays: dict[str, VersionId | None] = {}
        self.problems: dict[VersionId, RoostError] = {}

    def look(self, table_revision: int | None) -> FleetState:
        """Look at the world anew; ``table_revision`` is what the newest telemetry says that gateways follow."""
        if not self._knows_table or table_revision not in {None, self.routing.revision}:
            try:
                self.routing.adopt(self._world.data_plane.table())
                self._knows_table = True
            except Unavailable:
                self._knows_table = False
        return self._world.fleet.observe()

    def prompts(self, trial: Trial) -> Sequence[str]:
        """Return the prompts that the challenger draws before any traffic."""
        return self._prompts[: trial.spec.rollout.warmup.prompts]

    def applied(self, trial: Trial) -> tuple[float | None, float | None]:
        """Return the challenger's share of traffic and of copies as gateways follow it; None when that isn't known."""
        if not self._knows_table:
            return None, None
        split = self.routing.split_in_force(trial.spec.service, trial.row.id)
        if split is not None:
            return split.weight, split.mirror_share
        routes = self.routing.in_force(trial.spec.service)
        return (1.0 if routes is not None and routes.champion == trial.challenger else 0.0), 0.0

    def is_gone(self, version: VersionId, service: str, seen: FleetState, *, stays: bool) -> bool:
        """Tell whether a service has let go of a version: no route leads to it, and it is stopped unless it stays."""
        routes = self.routing.in_force(service)
        routed = routes is not None and str(version) in routes.endpoints
        return self._knows_table and not routed and (stays or seen.placement(version) is None)

    def ready(self, trial: Trial, seen: FleetState) -> tuple[bool, list[FailedEffect]]:
        """Tell whether the challenger may get traffic, and what keeps it from that."""
        version = trial.challenger
        failed = self.placer.failure(version, seen)
        warm = self.placer.is_warm(version, seen, self.prompts(trial), may_be_blank=trial.row.forced)
        if isinstance(warm, RoostError):
            return False, [self.failed(ActionKind.WARM, warm)]
        all_there = len(seen.endpoints(version)) >= trial.size(version).replicas
        return warm and all_there, [failed] if failed is not None else []

    def serves(self, version: VersionId, seen: FleetState) -> bool:
        """Tell whether a version is proven ready to take all traffic."""
        return self.placer.is_warm(version, seen, self._prompts) is True

    def alias(self, model: str) -> AliasState:
        """Return where a model's champion alias was last seen."""
        return self._aliases.state(model)

    def carry_out(
        self,
        traffic: Mapping[str, DesiredTraffic],
        wanted: Mapping[VersionId, Size],
        aliases: Sequence[Wanted],
        *,
        held: Collection[str] = (),
        drained: Collection[str] = (),
    ) -> bool:
        """Bring routes, workers and aliases a step nearer; a version goes only when no route leads to it any more.

        ``drained`` are the processes of workers that are to be replaced.

        Raises:
            Conflict: when a later leader wrote the routing table.
        """
        if not self._may_act():
            return False
        routed = self.routing.versions_in_force() if self._knows_table else frozenset()
        seen = self._world.fleet.observe()
        routed_alone = {version: size_of(version, seen) for version in routed if version not in wanted}
        self.problems = self.placer.apply(routed_alone | dict(wanted))
        self._world.fleet.drain(frozenset(drained))
        self.routing.want_only(traffic, held=held)
        settled = self._knows_table and self._may_act() and self.routing.reconcile()
        for one in aliases:
            self._aliases.keep(one)
        return settled

    def traffic(self, trial: Trial, seen: FleetState, killed: frozenset[VersionId]) -> tuple[DesiredTraffic, str]:
        """Return where a trial's traffic should go, and why that is not what was decided, if it isn't.

        Traffic goes back to a champion only when it answers: a version that is not proven healthy is no refuge.
        """
        state = trial.state
        in_force = self.routing.split_in_force(trial.spec.service, trial.row.id)
        if trial.challenger in killed:
            return trial.traffic(weight=0.0, mirror_share=0.0), f"{trial.challenger} is killed"
        if state.weight == 0.0 and state.mirror_share == 0.0 and in_force is None:
            return DesiredTraffic(trial.spec, trial.owner()), ""
        falling = in_force is not None and state.weight < in_force.weight
        if falling and in_force is not None and trial.champion not in killed and not seen.endpoints(trial.champion):
            why = f"{trial.champion} has no ready replica: traffic stays where it is until it has"
            return trial.traffic(weight=in_force.weight, mirror_share=0.0), why
        return trial.traffic(weight=state.weight, mirror_share=state.mirror_share), ""

    @staticmethod
    def failed(kind: ActionKind, error: RoostError) -> FailedEffect:
        """Return an effect that failed; one that only waits for a part that is away may work later."""
        return FailedEffect(kind, error.message, permanent=not isinstance(error, Unavailable))

    def strays(self, service: str, champion: VersionId, alias: AliasState, at_s: float) -> list[Event]:
        """Return what people are told of an alias that somebody else moved, once for each move."""
        if not alias.stray:
            self._strays.pop(service, None)
        if not alias.stray or self._strays.get(service, champion) == alias.found:
            return []
        self._strays[service] = alias.found
        message = f"champion of {champion.model} was moved outside Roost, from {champion} to {alias.found or 'nothing'}"
        told = {"service": service, "found": str(alias.found) if alias.found is not None else None}
        return [Event(code="alias.moved-outside", at_s=at_s, subject=f"service/{service}", message=message, data=told)]
