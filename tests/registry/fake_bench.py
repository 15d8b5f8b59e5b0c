"""A bench without processes: latencies and memory follow a law, and faults come where a test wants them."""

import random
from dataclasses import dataclass, field

from contracts.clock import FakeClock
from contracts.wire.capacity import CapacityModel
from registry.profile.grid import Point
from registry.profile.port import Drawing, Loading, Usage, WorkerGone

MIB = 2**20
LAW = CapacityModel(
    device="cpu",
    memory_fixed_bytes=500 * MIB,
    memory_per_pixel_bytes=900.0,
    memory_error=0.0,
    latency_fixed_s=0.010,
    latency_per_pixel_s=1e-6,
    latency_per_step_s=0.004,
    latency_per_step_pixel_s=2e-7,
    latency_error=0.0,
)


@dataclass
class FakeBench:
    """Draws by ``LAW`` with log-normal noise; memory sticks, as a process's does, until it is started anew."""

    clock: FakeClock = field(default_factory=FakeClock)
    noise: float = 0.05
    guidance: float = 2.0
    room_bytes: float = float("inf")
    dies_at: Point | None = None
    killed: bool = True
    starts: list[bool] = field(default_factory=list)
    drawn: list[Point] = field(default_factory=list)
    stopped: bool = True
    limit_bytes: float = float("inf")

    def __post_init__(self) -> None:
        self._rng = random.Random(5)
        self._peak_bytes = 0.0
        self._cpu_s = 0.0

    def start(self, *, cold: bool = False, memory_limit_bytes: int | None = None) -> Loading:
        self.starts.append(cold)
        self.stopped = False
        self.limit_bytes = memory_limit_bytes or self.room_bytes
        self._peak_bytes = LAW.memory_fixed_bytes
        self.clock.advance(3.0 if cold else 2.0)
        return Loading(3.0 if cold else 2.0, 1.0, 0.2, round(LAW.memory_fixed_bytes))

    def draw(self, point: Point, seed: int) -> Drawing:
        assert not self.stopped
        self.drawn.append(point)
        if point == self.dies_at:
            raise WorkerGone("the worker ended", hint="read its log", killed=self.killed)
        need_bytes = LAW.peak_memory_bytes(point.pixels, point.batch)
        if need_bytes > self.limit_bytes:
            return Drawing(0.001, out_of_memory=True)
        latency_s = LAW.latency_s(point.pixels, point.batch, point.steps, self.guidance)
        latency_s *= self._rng.lognormvariate(0.0, self.noise)
        self._peak_bytes = max(self._peak_bytes, need_bytes)
        self._cpu_s += latency_s
        self.clock.advance(latency_s)
        return Drawing(latency_s)

    def reset_peak(self) -> None:
        self._peak_bytes = LAW.memory_fixed_bytes

    def usage(self) -> Usage:
        return Usage(round(self._peak_bytes), round(self._peak_bytes), self._cpu_s, None)

    def stop(self) -> None:
        self.stopped = True
