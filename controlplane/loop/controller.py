"""The controller: one tick for all services and their rollouts; read, decide, write down, then carry out.

Nothing is remembered that the next tick needs: what is desired lies in the stores, what is the case is looked up in the
world. So a controller may be killed at any line, and another goes on from what was last written.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError

from contracts.errors import Conflict, RoostError, Unavailable
from contracts.events import Event
from contracts.ids import VersionId, VersionRef
from contracts.wire.counted import Counted, take_new
from contracts.wire.telemetry import TelemetryBatch, TelemetryReply
from controlplane.loop.agenda import Agenda, AgendaReader
from controlplane.loop.aliases import AliasKeeper, AliasReconciler
from controlplane.loop.book import GATEWAY, Book, Tick
from controlplane.loop.chores import Chores
from controlplane.loop.deciding import Decider
from controlplane.loop.hands import Hands
from controlplane.loop.planning import Planner
from controlplane.loop.ports import Guard, NoGuard, Sight, Watchers
from controlplane.loop.snapshot import ServiceView, Snapshot, make_views
from controlplane.loop.sorting import Sorter, part_by_service
from controlplane.loop.trial import Trial, open_trial
from controlplane.loop.world import World
from controlplane.store.lease import Leader, Lease
from controlplane.stores import Stores
from evaluation.scorers.port import Scorer
from registry.golden import PROMPTS

log = logging.getLogger(__name__)

LEASE = "controller"
LEASE_S = 10.0
TICK_S = 1.0
MOST_SKEW_S = 5.0
"""A control plane whose clock is further from the database's doesn't lead: phases and windows are timed by it."""
MOST_SAMPLES = 256
NO_TELEMETRY = TelemetryReply(batches=())


class Controller:
    """One contender for the control of all services; it acts only while it leads.

    ``holder`` names it among others. ``speaks_for`` tells whether a batch is news of a service; every gateway's is
    where all traffic passes the gateways. ``tell`` takes each event once it is written; ``executor`` is where slow
    things are done, threads of its own by default.
    """

    def __init__(
        self,
        world: World,
        stores: Stores,
        *,
        holder: str,
        scorers: Mapping[str, Scorer],
        tell: Callable[[Event], None] = lambda event: None,
        watchers: Watchers | None = None,
        guard: Guard | None = None,
        warm_up_prompts: Sequence[str] = PROMPTS,
        reconcile_alias: AliasReconciler | None = None,
        speaks_for: Callable[[TelemetryBatch, str], bool] = lambda batch, service: True,
        executor: Executor | None = None,
        lease_s: float = LEASE_S,
    ) -> None:
        self._world, self._stores, self._tell, self._watchers = world, stores, tell, watchers
        self._guard: Guard = guard or NoGuard()
        self._speaks_for = speaks_for
        self._prompts = tuple(warm_up_prompts)
        self._leader = Leader(stores.leases, LEASE, holder, length_s=lease_s, clock=world.clock)
        self._lease: Lease | None = None
        self._chores = Chores(world.clock, executor)
        self._aliases = AliasKeeper(world.catalogue, self._chores, world.clock, reconcile_alias)
        self._reader, self._sorter = AgendaReader(stores), Sorter(scorers)
        self._book = Book(stores, self._guard)
        self._trials: dict[str, Trial] = {}
        self._past: dict[str, tuple[float, float | None]] = {}
        self._counted: Counted = {}
        self._hands: Hands | None = None
        self._views: dict[str, ServiceView] = {}
        self._snapshot = Snapshot()

    @property
    def leads(self) -> bool:
        """Tell whether this one leads, by the local clock."""
        return self._lease is not None and self._stores.leases.is_live(self._lease)

    def snapshot(self) -> Snapshot:
        """Return what is known after the last tick."""
        return self._snapshot

    def run(self, stop: threading.Event, tick_s: float = TICK_S) -> None:
        """Tick until told to stop; whatever goes wrong in one tick, the next one is made."""
        while not stop.is_set():
            begun_s = self._world.clock.monotonic_s()
            try:
                self.step()
            except Exception:
                log.exception("a tick failed")
                self._hands = None
            stop.wait(max(0.0, tick_s - (self._world.clock.monotonic_s() - begun_s)))

    def step(self) -> None:
        """Make one tick. Whatever part of the world is away, what can be decided without it is."""
        begun_s = self._world.clock.monotonic_s()
        problem = ""
        try:
            self._lease = self._leader.step()
            if self._lease is None:
                self._hands = None
            else:
                _require_right_clock(self._leader.ahead_s)
                self._lead(self._lease)
        except (RoostError, SQLAlchemyError) as error:
            # Nobody knows what of this tick was written: the next one begins with what the stores say.
            problem = error.message if isinstance(error, RoostError) else f"{type(error).__name__}: {error}"
            if problem != self._snapshot.problem:
                log.warning("a tick was not finished: %s", problem)
            self._hands = None
            if isinstance(error, Conflict):
                self._resign()
        self._note(problem, begun_s)

    def close(self) -> None:
        """Give the lease back, and end what runs beside the loop."""
        self._hands = None
        self._resign()
        self._chores.close()
        if self._watchers is not None:
            self._watchers.close()

    def _lead(self, lease: Lease) -> None:
        if self._hands is None or self._hands.routing.fence != lease.fence:
            self._hands = self._take_over(lease)
        hands, at_s = self._hands, self._world.clock.now_s()
        agenda = self._reader.read()
        trials, unread = self._open_trials(agenda)
        self._leader.step()
        reply, counted = self._fetch()
        seen = hands.look(reply.batches[-1].table_revision if reply.batches else None)
        sights = self._sight(agenda, trials, reply, at_s)
        self._leader.step()  # each part may have taken long: what is left of the lease is made longer before it ends
        asked = self._watchers.look(reply, list(sights.values())) if self._watchers is not None else {}
        orders = {name: self._guard.look(sight) for name, sight in sights.items()}
        decider = Decider(
            agenda,
            trials,
            hands,
            seen,
            sorter=self._sorter,
            kept={name: one.keep for name, one in orders.items()},
            means=self._world.means,
        )
        pages = decider.decide(sights, {name: orders[name].manual + asked.get(name, ()) for name in orders})
        after = trials | {page.trial.spec.service: page.after(lease.fence) for page in pages}
        planner = Planner(
            agenda, hands, seen, orders, at_s=at_s, is_refused=self._is_refused, may_act=lambda: self.leads
        )
        plan = planner.plan(after, list(decider.waiting), lease.fence)
        told = [event for one in orders.values() for event in one.told] + decider.told + plan.told
        told += self._watchers.take_told() if self._watchers is not None else []
        self._leader.step()
        events = self._book.write(lease, Tick(pages, counted, plan.crowned, told, plan.met))
        self._counted = counted
        for trial in after.values():
            self._reader.put(trial.row)
        self._trials = {trial.row.id: trial for trial in after.values() if not trial.row.ended}
        for event in events:
            self._announce(event)
        hands.carry_out(plan.traffic, plan.wanted, plan.aliases, held=plan.held, drained=plan.drained)
        problems = unread | decider.problems | plan.problems
        self._views = make_views(agenda, after, pages, hands=hands, seen=seen, sorter=self._sorter, problems=problems)

    def _take_over(self, lease: Lease) -> Hands:
        """Begin from what the stores say: another may have led meanwhile, or our last tick wasn't written."""
        self._counted = self._stores.cursors.read(GATEWAY)
        self._reader.forget()
        self._sorter.forget()
        self._aliases.forget()
        self._trials.clear()
        self._past = self._reader.last_flows()
        self._guard.reload()
        if self._watchers is not None:
            self._watchers.reload()
        return Hands(
            self._world,
            self._chores,
            self._aliases,
            fence=lease.fence,
            prompts=self._prompts,
            may_act=lambda: self.leads,
        )

    def _open_trials(self, agenda: Agenda) -> tuple[dict[str, Trial], dict[str, str]]:
        """Return the living rollouts by service, and why one can't be gone on with."""
        trials, problems = {}, {}
        for name, row in agenda.rollouts.items():
            if name not in agenda.services:
                continue
            known = self._trials.get(row.id)
            try:
                if known is None or known.row.revision != row.revision:
                    known = open_trial(row, self._reader.spec(name, row.service_revision))
            except (RoostError, ValueError) as error:
                problems[name] = f"rollout {row.id} can't be gone on with: {error}"
                continue
            trials[name] = known
            if row.id in self._past:
                self._sorter.recall(name, *self._past.pop(row.id))
        return trials, problems

    def _fetch(self) -> tuple[TelemetryReply, Counted]:
        """Return the telemetry that is not counted yet, nothing while the gateways are away.

        Of a long backlog only the newest outputs are judged: a tick that judged all would outlive its lease.
        """
        try:
            reply, counted = take_new(self._world.data_plane.fetch(self._counted), self._counted)
        except Unavailable:
            return NO_TELEMETRY, self._counted
        if len(reply.samples) > MOST_SAMPLES:
            reply = reply.model_copy(update={"samples": reply.samples[-MOST_SAMPLES:]})
        return reply, counted

    def _sight(
        self, agenda: Agenda, trials: Mapping[str, Trial], reply: TelemetryReply, at_s: float
    ) -> dict[str, Sight]:
        sights = {}
        parts = part_by_service(reply, agenda.services, self._speaks_for)
        for name, service in agenda.services.items():
            trial = trials.get(name)
            spec = trial.spec if trial is not None else service.spec
            judged = self._sorter.judge(spec, parts[name])
            state = trial.state if trial is not None else None
            sights[name] = Sight(spec, service.production, state, parts[name].batches, judged, at_s)
        return sights

    def _is_refused(self, service: str, version: VersionId) -> bool:
        """Tell whether a version's content was rolled back from a service, or can't be asked for."""
        try:
            record = self._world.catalogue.get(VersionRef(version.model, number=version.number))
        except RoostError:
            return True
        return self._stores.rollouts.rolled_back(service, record.digest) is not None

    def _announce(self, event: Event) -> None:
        if self._watchers is not None:
            self._watchers.tell(event)
        self._tell(event)

    def _resign(self) -> None:
        """Give the lease back; a database that is away ends it in time."""
        self._lease = None
        with suppress(RoostError, SQLAlchemyError):
            self._leader.resign()

    def _note(self, problem: str, begun_s: float) -> None:
        leads = self.leads
        self._snapshot = Snapshot(
            leads=leads,
            fence=self._lease.fence if leads and self._lease is not None else 0,
            at_s=self._world.clock.now_s(),
            tick_s=self._world.clock.monotonic_s() - begun_s,
            ticks=self._snapshot.ticks + 1,
            services=self._views if leads else {},
            problem=problem,
        )


def _require_right_clock(ahead_s: float) -> None:
    if abs(ahead_s) > MOST_SKEW_S:
        told = "ahead of" if ahead_s > 0 else "behind"
        raise Conflict(
            f"this machine's clock is {abs(ahead_s):.0f} s {told} the database's: it does not lead",
            hint="set both clocks by NTP; roost doctor shows the difference",
        )
