"""The fleet of one machine: workers as processes on loopback, supervised by a thread of this process."""

import asyncio
import fcntl
import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import aiohttp

from contracts.errors import Conflict
from contracts.ids import VersionId
from contracts.wire.worker import WorkerSpec
from serving.fleet.budget import MemoryBudget
from serving.fleet.keeper import Keeper, Means, Patience
from serving.fleet.launch import Launcher, Running
from serving.fleet.lease import renew
from serving.fleet.port import FleetState, Placement, ReplicaState, Tier

TICK_S = 0.1
HEALTH_TIMEOUT_S = 5.0


@dataclass
class Use:
    """When a version was last asked for anything, by the pictures that its replicas have handed out."""

    pictures: int
    since_s: float


class LocalFleet:
    """Keeps workers running as placed.

    By itself its workers end with this process, however it ends. With ``outlives`` they go on without it: a new fleet
    on the same folder adopts them, and when none comes within the lease they finish what they have and end. ``close``
    then leaves them running; ``apply(())`` stops them.
    """

    def __init__(
        self,
        folder: Path,
        *,
        logs: Path | None = None,
        outlives: bool = False,
        memory_budget_bytes: int | None = None,
        patience: Patience | None = None,
    ) -> None:
        """Begin to supervise; ``Conflict`` when another process supervises the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = _occupy(folder)
        self._outlives = outlives
        self._lease = folder / "lease"
        self._starts = folder / "starts.json"
        self._launcher = Launcher(folder / "workers", logs or folder / "logs", self._lease if outlives else None)
        self._budget = MemoryBudget(memory_budget_bytes)
        self._patience = patience or Patience()
        self._placements: tuple[Placement, ...] = ()
        self._applied = False
        self._drained: frozenset[str] = frozenset()
        self._state = FleetState()
        self._start_s = _read_starts(self._starts)
        self._keepers: list[Keeper] = []
        self._leaving: dict[Keeper, asyncio.Task[None]] = {}
        self._uses: dict[VersionId, Use] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._supervise()), name="fleet", daemon=True)
        self._thread.start()

    def apply(self, placements: tuple[Placement, ...]) -> None:
        """Make this and nothing else run; returns at once, ``observe`` tells how far it is."""
        for placed in placements:
            if placed not in self._placements:
                self._uses.pop(placed.spec.version, None)
        self._placements = placements
        self._applied = True

    def drain(self, processes: frozenset[str]) -> None:
        """Replace these worker processes and no others; returns at once."""
        self._drained = processes

    def observe(self) -> FleetState:
        """Return what should run and what does."""
        seen = self._state
        placed = {placement.spec.version for placement in self._placements}
        replicas = tuple(
            replica for replica in seen.replicas if replica.version in placed or replica.state is ReplicaState.DRAINING
        )
        return FleetState(self._placements, replicas, seen.cold_start_s, seen.asleep & placed)

    def close(self) -> None:
        """Stop every worker, or leave them to the next fleet if they outlive this one."""
        self._closing.set()
        self._thread.join()
        self._lock.close()

    async def _supervise(self) -> None:
        timeout = aiohttp.ClientTimeout(total=HEALTH_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
            self._means = Means(self._launcher, self._budget, session, self._patience, self._note_start)
            while not self._closing.is_set():
                if self._outlives:
                    renew(self._lease)
                if self._applied:
                    self._reconcile()
                self._publish()
                await asyncio.sleep(TICK_S)
            await self._finish()

    def _reconcile(self) -> None:
        """Make one step from what runs to what should."""
        wanted = {p.spec: p.replicas for p in self._placements if not self._is_asleep(p)}
        kept = {(keeper.spec, keeper.index) for keeper in self._keepers if not self._is_drained(keeper)}
        strangers = self._find_strangers()
        for spec, replicas in wanted.items():
            for index in range(replicas):
                if (spec, index) not in kept:
                    self._keepers.append(Keeper(spec, index, self._means, _take(strangers, spec)))
        for keeper in list(self._keepers):
            if self._is_drained(keeper):
                leaves = keeper.index >= wanted.get(keeper.spec, 0) or self._has_stand_in(keeper)
            else:
                leaves = keeper.index >= wanted.get(keeper.spec, 0) and self._may_leave(keeper)
            if leaves:
                self._keepers.remove(keeper)
                self._dismiss(keeper)
        for stranger in strangers:
            if stranger.report is not None:
                self._dismiss(Keeper(stranger.report.spec, 0, self._means, stranger))
        self._leaving = {keeper: task for keeper, task in self._leaving.items() if not task.done()}

    def _dismiss(self, keeper: Keeper) -> None:
        self._leaving[keeper] = asyncio.create_task(keeper.stop(drain=True))

    def _may_leave(self, keeper: Keeper) -> bool:
        """Let a worker serve on until the one that takes its place is ready, or can't get ready beside it."""
        if keeper.replica.state is not ReplicaState.READY:
            return True
        heirs = (k for k in self._keepers if k.spec.version == keeper.spec.version and k is not keeper)
        return all(heir.replica.state is not ReplicaState.STARTING for heir in heirs)

    def _is_drained(self, keeper: Keeper) -> bool:
        return keeper.replica.process in self._drained

    def _has_stand_in(self, keeper: Keeper) -> bool:
        """Tell whether another worker of the version takes requests."""
        others = (k for k in self._keepers if k.spec.version == keeper.spec.version and not self._is_drained(k))
        return any(other.replica.state is ReplicaState.READY for other in others)

    def _find_strangers(self) -> list[Running]:
        """Return the workers of an earlier fleet on this folder; without ``outlives`` there can't be any."""
        if not self._outlives:
            return []
        ours = [keeper.running for keeper in (*self._keepers, *self._leaving)]
        return self._launcher.find({running.file for running in ours if running is not None})

    def _is_asleep(self, placed: Placement) -> bool:
        """Tell whether a placement is cold, or nobody has asked it for longer than it is kept."""
        if placed.tier is not Tier.TTL or placed.ttl_s is None:
            return placed.tier is Tier.COLD
        version, now_s = placed.spec.version, asyncio.get_running_loop().time()
        mine = [k.replica for k in self._keepers if k.spec.version == version]
        pictures = sum(replica.health.pictures for replica in mine if replica.health is not None)
        in_flight = sum(replica.health.in_flight for replica in mine if replica.health is not None)
        use = self._uses.setdefault(version, Use(pictures, now_s))
        if mine and (pictures != use.pictures or in_flight):
            use.pictures, use.since_s = pictures, now_s
        return now_s - use.since_s > placed.ttl_s

    def _note_start(self, spec: WorkerSpec, took_s: float) -> None:
        self._start_s[spec.digest] = took_s
        draft = self._starts.with_suffix(".draft")
        draft.write_text(json.dumps(self._start_s), encoding="utf-8")
        draft.replace(self._starts)

    def _publish(self) -> None:
        keepers = (*self._keepers, *self._leaving)
        self._state = FleetState(
            self._placements,
            tuple(keeper.replica for keeper in keepers),
            dict(self._start_s),
            frozenset(placed.spec.version for placed in self._placements if self._is_asleep(placed)),
        )

    async def _finish(self) -> None:
        for task in self._leaving.values():
            task.cancel()
        await asyncio.gather(*self._leaving.values(), return_exceptions=True)
        keepers = (*self._keepers, *self._leaving)
        if self._outlives:
            await asyncio.gather(*(keeper.let_go() for keeper in keepers))
        else:
            await asyncio.gather(*(keeper.stop(drain=False) for keeper in keepers))


def _take(strangers: list[Running], spec: WorkerSpec) -> Running | None:
    """Take a worker with this very spec out of a list."""
    for stranger in strangers:
        if stranger.report is not None and stranger.report.spec == spec:
            strangers.remove(stranger)
            return stranger
    return None


def _occupy(folder: Path) -> IO[str]:
    lock = (folder / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise Conflict(f"another process supervises the workers of {folder}", hint="end it, or name another") from None
    return lock


def _read_starts(file: Path) -> dict[str, float]:
    try:
        return {str(digest): float(took_s) for digest, took_s in json.loads(file.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError):
        return {}
