"""Measuring a version over a grid: peak memory first, then latencies in rounds until their intervals are narrow.

Each round visits the points in another order, so that a disturbance of the machine meets all of them alike. The first
visit of every point is warm-up: it measures memory and no time.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from contracts.clock import Clock
from contracts.errors import Unavailable
from contracts.rng import Rng
from registry.profile.grid import Point
from registry.profile.port import Bench, Drawing, Loading, Usage, WorkerGone
from registry.profile.quantiles import estimate_quantile

MEMORY_DRAWS = 2
DRAWS_EACH = 2
FEWEST_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Effort:
    """When to stop: every interval narrow, or the time of the rounds spent; and how often to start, cold and warm.

    Widths are half of the 95 % interval, relative to the quantile.
    """

    budget_s: float = 180.0
    p50_width: float = 0.03
    p95_width: float = 0.10
    starts: int = 2


@dataclass
class Samples:
    """What was seen at one point: latencies in seconds, and wall time, CPU time and energy of all rounds together.

    ``cpu_each_s`` is the worker's CPU time of each request, while only one is under way.
    """

    point: Point
    latencies_s: list[float] = field(default_factory=list)
    cpu_each_s: list[float] = field(default_factory=list)
    wall_s: float = 0.0
    cpu_s: float = 0.0
    energy_j: float | None = None
    peak_bytes: int | None = None
    host_peak_bytes: int | None = None
    out_of_memory: bool = False

    def is_narrow(self, effort: Effort) -> bool:
        """Tell whether both intervals are as narrow as wanted."""
        return bool(self.latencies_s) and all(
            estimate_quantile(self.latencies_s, q).half_width <= width
            for q, width in ((0.5, effort.p50_width), (0.95, effort.p95_width))
        )


@dataclass(frozen=True)
class Measurement:
    """All that was measured of a version: its starts and its points, those that ran out of memory among them."""

    cold: tuple[Loading, ...]
    warm: tuple[Loading, ...]
    samples: tuple[Samples, ...]
    rounds: int


def measure(
    bench: Bench, points: Sequence[Point], effort: Effort, *, clock: Clock, rng: Rng, tell: Callable[[str], None]
) -> Measurement:
    """Measure a version at every point, smallest first; what runs out of memory is told, and larger points left out.

    The worker still runs afterwards.

    Raises:
        Unavailable: when the worker doesn't get ready, dies, or can't draw the smallest point.
    """
    session = _Session(bench, clock, rng, tell)
    session.start_all(effort.starts)
    samples = [session.measure_memory(point) for point in points]
    alive = [one for one in samples if not one.out_of_memory]
    if not alive:
        raise Unavailable(f"{points[0]} runs out of memory already", hint="measure a smaller size")
    rounds = session.run_rounds(alive, effort)
    return Measurement(tuple(session.cold), tuple(session.warm), tuple(samples), rounds)


class _Session:
    """One measuring: the worker that runs now, and which sizes are known not to fit."""

    def __init__(self, bench: Bench, clock: Clock, rng: Rng, tell: Callable[[str], None]) -> None:
        self._bench, self._clock, self._rng, self._tell = bench, clock, rng, tell
        self.cold: list[Loading] = []
        self.warm: list[Loading] = []
        self._too_large: int | None = None

    def start_all(self, starts: int) -> None:
        """Start cold and warm in turn; the last one stays."""
        for turn in range(starts):
            self._tell(f"start {turn + 1} of {starts}, cold and warm")
            self.cold.append(self._bench.start(cold=True))
            self._bench.stop()
            self.warm.append(self._bench.start())
            if turn + 1 < starts:
                self._bench.stop()

    def measure_memory(self, point: Point) -> Samples:
        """Draw at a point without counting time, and note the peak; a worker killed in it is started once more."""
        samples = Samples(point)
        load = point.pixels * point.batch
        if self._too_large is not None and load >= self._too_large:
            samples.out_of_memory = True
            return samples
        self._tell(f"memory at {point}")
        self._bench.reset_peak()
        try:
            drawn = [drawing for _ in range(MEMORY_DRAWS) for drawing in self._draw_at_once(point)]
            if any(drawing.out_of_memory for drawing in drawn):
                self._too_large, samples.out_of_memory = load, True
            else:
                usage = self._bench.usage()
                samples.peak_bytes, samples.host_peak_bytes = usage.peak_bytes, usage.host_peak_bytes
        except WorkerGone as gone:
            if not gone.killed:
                raise
            self._tell(f"the worker was killed at {point}")
            self._too_large, samples.out_of_memory = load, True
            self._bench.stop()
            self._bench.start()
        return samples

    def run_rounds(self, samples: Sequence[Samples], effort: Effort) -> int:
        """Visit the points round after round until all intervals are narrow or the time is spent."""
        deadline_s, rounds = self._clock.monotonic_s() + effort.budget_s, 0
        open_ = list(samples)
        while open_ and (rounds < FEWEST_ROUNDS or self._clock.monotonic_s() < deadline_s):
            for one in sorted(open_, key=lambda _: self._rng.uniform()):
                if rounds >= FEWEST_ROUNDS and self._clock.monotonic_s() >= deadline_s:
                    break
                self._visit(one)
            rounds += 1
            open_ = [one for one in open_ if not one.is_narrow(effort)]
            left_s = max(0.0, deadline_s - self._clock.monotonic_s())
            self._tell(
                f"round {rounds}: {len(samples) - len(open_)} of {len(samples)} points done, {left_s:.0f} s left"
            )
        return rounds

    def _visit(self, samples: Samples) -> None:
        before, start_s = self._bench.usage(), self._clock.monotonic_s()
        drawn = self._draw_at_once(samples.point)
        wall_s, after = self._clock.monotonic_s() - start_s, self._bench.usage()
        if any(drawing.out_of_memory for drawing in drawn):
            raise Unavailable(
                f"{samples.point} drew at first and then ran out of memory", hint="is something else using the device?"
            )
        samples.latencies_s += [drawing.latency_s for drawing in drawn]
        samples.wall_s += wall_s
        samples.cpu_s += after.cpu_s - before.cpu_s
        if len(drawn) == 1:
            samples.cpu_each_s.append(after.cpu_s - before.cpu_s)
        used_j = _difference(before, after)
        if used_j is not None:
            samples.energy_j = (samples.energy_j or 0.0) + used_j

    def _draw_at_once(self, point: Point) -> list[Drawing]:
        """Ask for a batch; with concurrency so many clients ask at once, each a few times in turn."""
        if point.concurrency == 1:
            return [self._bench.draw(point, self._rng.integer(2**31))]
        seeds = [[self._rng.integer(2**31) for _ in range(DRAWS_EACH)] for _ in range(point.concurrency)]
        with ThreadPoolExecutor(point.concurrency) as pool:
            turns = pool.map(lambda own: [self._bench.draw(point, seed) for seed in own], seeds)
            return [drawing for turn in turns for drawing in turn]


def _difference(before: Usage, after: Usage) -> float | None:
    if before.energy_j is None or after.energy_j is None:
        return None
    return after.energy_j - before.energy_j


def find_largest_batch(bench: Bench, point: Point, limit_bytes: int, *, most: int = 64) -> int:
    """Return the largest batch that a worker draws within a real memory limit, by doubling and bisection; 0 for none.

    An attempt that fails may kill its worker, and nothing else.

    Raises:
        InvalidInput: when the loaded version holds more than the limit.
        Unavailable: when the worker doesn't get ready.
    """
    fits, fails = 0, most + 1
    try:
        bench.start(memory_limit_bytes=limit_bytes)
        while fails - fits > 1:
            trial = min(2 * fits or 1, most) if fails == most + 1 else (fits + fails) // 2
            if _fits(bench, point, trial, limit_bytes):
                fits = trial
            else:
                fails = trial
    finally:
        bench.stop()
    return fits


def _fits(bench: Bench, point: Point, batch: int, limit_bytes: int) -> bool:
    """Try one batch; after a failure a fresh process is started, for what is left of the attempt may be in the way."""
    tried = Point(point.height, point.width, point.steps, batch)
    try:
        if not bench.draw(tried, seed=batch).out_of_memory:
            return True
    except WorkerGone:
        pass
    bench.stop()
    bench.start(memory_limit_bytes=limit_bytes)
    return False
