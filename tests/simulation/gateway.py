"""A gateway in virtual time: it refuses old tables, serves by the newest, and hands counts over until acknowledged."""

from dataclasses import dataclass, field

import numpy as np

from contracts.clock import FakeClock
from contracts.errors import Conflict
from contracts.ids import VersionId
from contracts.wire.counted import Counted
from contracts.wire.routing import RoutingTable, Split
from contracts.wire.telemetry import (
    AttemptCounts,
    Exposure,
    RequestCounts,
    SampledOutput,
    TelemetryBatch,
    TelemetryReply,
)

SERVICE = "tags"
REQUESTS_PER_S = 20.0
SAMPLES = 12
KEPT_SAMPLES = 600


@dataclass
class Quality:
    """How a version does: its shares of errors and of wrong outputs, from ``since_s`` on; before that it is fine."""

    bad: float = 0.002
    wrong: float = 0.0
    since_s: float = 0.0


@dataclass
class SimulatedGateway:
    """One gateway, and the truth of what it served."""

    clock: FakeClock
    rng: np.random.Generator
    qualities: dict[int, Quality] = field(default_factory=dict)
    outage: bool = False
    withheld: int = 0
    table_in_force: RoutingTable | None = None
    broken: list[str] = field(default_factory=list)
    served: list[TelemetryBatch] = field(default_factory=list)
    zeroed: set[str] = field(default_factory=set)
    _kept: list[TelemetryBatch] = field(default_factory=list)
    _samples: list[SampledOutput] = field(default_factory=list)
    _numbers: int = 0

    def push(self, table: RoutingTable) -> None:
        """Take a table that is newer than the one in force."""
        if not table.is_newer_than(self.table_in_force):
            raise Conflict("another leader has written since")
        self.table_in_force = table
        split = self.split
        if split is not None and not 0.0 <= split.weight <= 1.0:
            self.broken.append(f"weight {split.weight} is none")
        if split is not None and split.weight > 0 and split.rollout_id in self.zeroed:
            self.broken.append(f"{split.rollout_id} gained weight again after its rollback")

    def table(self) -> RoutingTable | None:
        """Return the table in force."""
        return self.table_in_force

    def fetch(self, counted: Counted) -> TelemetryReply:
        """Hand over what nobody acknowledged; some of it is late."""
        last, sample = counted.get("b", (-1, -1))
        self._kept = [one for one in self._kept if one.sequence > last]
        self._samples = [one for one in self._samples if one.number > sample]
        ready = self._kept[: len(self._kept) - self.withheld] if self.withheld else self._kept
        return TelemetryReply(boot="b", batches=tuple(ready), samples=tuple(self._samples))

    @property
    def split(self) -> Split | None:
        """The split in force."""
        routes = self.table_in_force.services.get(SERVICE) if self.table_in_force is not None else None
        return routes.split if routes is not None else None

    def serve(self, duration_s: float) -> None:
        """Answer users for a while by the table in force."""
        routes = self.table_in_force.services.get(SERVICE) if self.table_in_force is not None else None
        if self.table_in_force is None or routes is None or routes.closed:
            return
        split, total = routes.split, int(self.rng.poisson(REQUESTS_PER_S * duration_s)) + 1
        on_challenger = int(self.rng.binomial(total, split.weight)) if split is not None else 0
        arms = [(routes.champion, total - on_challenger)]
        arms += [(split.challenger, on_challenger)] if split is not None else []
        rows = [self._attempt(version, n) for version, n in arms if n]
        exposures = (
            (
                Exposure(
                    service=SERVICE,
                    rollout_id=split.rollout_id,
                    weight=split.weight,
                    champion=total - on_challenger,
                    challenger=on_challenger,
                ),
            )
            if split is not None and split.weight
            else ()
        )
        bad = sum(row.n_bad for row in rows)
        batch = TelemetryBatch(
            gateway="gateway-1",
            boot="b",
            sequence=len(self.served),
            start_s=self.clock.now_s(),
            end_s=self.clock.now_s() + duration_s,
            table_revision=self.table_in_force.revision,
            attempts=tuple(rows),
            requests=(RequestCounts(service=SERVICE, lane="default", total=total, bad=bad),),
            exposures=exposures,
        )
        self.served.append(batch)
        self._kept.append(batch)
        for row in rows:
            self._sample(row, batch.end_s)
        del self._samples[:-KEPT_SAMPLES]

    def _attempt(self, version: VersionId, total: int) -> AttemptCounts:
        quality = self._quality(version)
        rate = 0.6 if self.outage else quality.bad
        bad = int(self.rng.binomial(total, rate))
        reasons = {"error": bad} if bad else {}
        return AttemptCounts(service=SERVICE, version=version, replica="a", lane="default", total=total, bad=reasons)

    def _sample(self, row: AttemptCounts, at_s: float) -> None:
        wrong = self._quality(row.version).wrong
        for index in range(min(SAMPLES, row.total - row.n_bad)):
            self._samples.append(
                SampledOutput(
                    service=SERVICE,
                    version=row.version,
                    request_id=f"r{len(self.served)}-{row.version.number}-{index}",
                    lane="default",
                    prompt="0" if self.rng.uniform() < wrong else "1",
                    seed=0,
                    at_s=at_s,
                    image_png=b"",
                    number=self._numbers,
                )
            )
            self._numbers += 1

    def _quality(self, version: VersionId) -> Quality:
        found = self.qualities.get(version.number, Quality())
        return found if self.clock.now_s() >= found.since_s else Quality()
