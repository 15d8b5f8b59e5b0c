"""The profile of a version: the document that is stored, shown and compared."""

from typing import Annotated, Any, Literal

from pydantic import Field

from contracts.ids import VersionId
from contracts.model import Frozen
from contracts.units import ByteSize
from contracts.wire.capacity import CapacityModel, WorkerLimits
from contracts.wire.worker import GenerationDefaults
from registry.profile.environment import Environment

Seconds = Annotated[float, Field(ge=0)]


class QuantileFigure(Frozen):
    """A quantile of latency with its 95 % interval; an end is None where the repeats were too few to give one."""

    value_s: Seconds
    low_s: Seconds | None
    high_s: Seconds | None


class PointFigures(Frozen):
    """One point of the grid. A latency is that of a whole request of ``batch`` pictures, as its client sees it.

    ``throughput_per_s`` counts pictures. ``cpu_share`` is the worker's CPU time over wall time: on a CPU, well below 1
    says that it had to wait for others; ``cpu_p50`` and ``cpu_p95`` are of its CPU time for a request. Energy and cost
    are per picture and per 1000, None where nothing tells them. ``peak_memory_bytes`` is of the memory that limits,
    ``host_peak_bytes`` of the process.
    """

    height: int
    width: int
    steps: int
    batch: int
    concurrency: int
    out_of_memory: bool = False
    repeats: int = 0
    p50: QuantileFigure | None = None
    p95: QuantileFigure | None = None
    p99: QuantileFigure | None = None
    throughput_per_s: float | None = None
    peak_memory_bytes: int | None = None
    host_peak_bytes: int | None = None
    cpu_share: float | None = None
    cpu_p50: QuantileFigure | None = None
    cpu_p95: QuantileFigure | None = None
    energy_j: float | None = None
    cost_per_1k: float | None = None


class LoadFigures(Frozen):
    """How long a start takes, in medians of ``starts`` starts each way; memory as soon as it is ready.

    ``cold_s``: the version's files were out of the page cache, where the system lets go of them. ``load_s`` is the part
    of a warm start in which libraries are imported and bytes verified and loaded, ``first_picture_s`` the part in which
    the first picture pays what is paid once.
    """

    starts: int
    cold_s: Seconds
    warm_s: Seconds
    load_s: Seconds | None
    first_picture_s: Seconds | None
    memory_bytes: int


class Fitting(Frozen):
    """The largest batch of the version's own size within a memory limit: as predicted, and as found by trying."""

    memory_limit_bytes: ByteSize
    height: int
    width: int
    predicted: int | None
    measured: int


class QualityFigure(Frozen):
    """The mean of a scorer's judgements of pictures drawn as the version draws by default, with its 95 % interval.

    ``n`` pictures were judged, ``unjudged`` could not be; ``prompts_digest`` and ``seed`` tell which were asked for, so
    that versions with like figures are compared picture by picture.
    """

    scorer: str
    scorer_digest: str
    value: Annotated[float, Field(ge=0, le=1)]
    low: Annotated[float, Field(ge=0, le=1)]
    high: Annotated[float, Field(ge=0, le=1)]
    n: Annotated[int, Field(ge=1)]
    unjudged: Annotated[int, Field(ge=0)] = 0
    prompts_digest: str
    seed: int


class Price(Frozen):
    """What an hour of the device costs; ``example`` when nobody gave a table and ours is made up."""

    currency: str
    per_hour: float
    example: bool


class Profile(Frozen):
    """What one version needs and gives on one device.

    ``capacity`` is None with the reason in ``no_capacity`` when the points don't determine it; ``limits`` are how a
    worker of this version is to be started.
    """

    schema_version: Literal[1] = 1
    version: VersionId
    digest: str
    defaults: GenerationDefaults
    measured_at_s: float
    environment: Environment
    loading: LoadFigures
    points: tuple[PointFigures, ...]
    rounds: int
    capacity: CapacityModel | None
    no_capacity: str = ""
    fitting: Fitting | None = None
    limits: WorkerLimits = WorkerLimits()
    price: Price | None = None
    quality: QualityFigure | None = None

    def at_defaults(self, *, batch: int = 1) -> PointFigures | None:
        """Return the point with the version's own size and steps and one request at a time, if it was measured."""
        wanted = (self.defaults.height, self.defaults.width, self.defaults.num_inference_steps, batch, 1)
        for point in self.points:
            if (point.height, point.width, point.steps, point.batch, point.concurrency) == wanted:
                return None if point.out_of_memory else point
        return None

    def cheapest(self) -> float | None:
        """Return the least cost of 1000 pictures at the version's own size and steps, over batches and concurrency."""
        own = (self.defaults.height, self.defaults.width, self.defaults.num_inference_steps)
        costs = [
            p.cost_per_1k for p in self.points if (p.height, p.width, p.steps) == own and p.cost_per_1k is not None
        ]
        return min(costs, default=None)

    def metrics(self) -> dict[str, float]:
        """Return the figures that stand for the profile in MLflow: those at the version's own size and steps."""
        own = self.at_defaults()
        told: dict[str, Any] = {
            "load_cold_s": self.loading.cold_s,
            "load_warm_s": self.loading.warm_s,
            "first_picture_s": self.loading.first_picture_s,
            "cost_per_1k": self.cheapest(),
            "quality": self.quality.value if self.quality is not None else None,
        }
        if own is not None:
            quantiles = {"p50_s": own.p50, "p95_s": own.p95, "p99_s": own.p99}
            told |= {name: figure.value_s for name, figure in quantiles.items() if figure is not None}
            told |= {
                "throughput_per_s": own.throughput_per_s,
                "peak_memory_bytes": own.peak_memory_bytes,
                "energy_j": own.energy_j,
            }
        if self.capacity is not None:
            told |= {
                "capacity_memory_error": self.capacity.memory_error,
                "capacity_latency_error": self.capacity.latency_error,
                "capacity_tail_error": self.capacity.tail_error,
            }
        return {f"profile.{name}": float(value) for name, value in told.items() if value is not None}
