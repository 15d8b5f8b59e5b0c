"""The job that profiles one version: worker processes, the measuring, and what is kept of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version as distribution_version
from pathlib import Path

from contracts.clock import Clock, SystemClock
from contracts.errors import InvalidInput
from contracts.ids import VersionId
from contracts.rng import Rng, SystemRng
from contracts.wire.artefact import ModelKind, read_plan
from contracts.wire.capacity import WorkerLimits
from contracts.wire.worker import WorkerSpec
from controlplane.loop.effects import worker_spec
from controlplane.profiling.bench import ProcessBench
from controlplane.profiling.device import find_environment
from controlplane.profiling.judges import Asked
from controlplane.settings import Settings
from registry.catalogue import VersionRecord
from registry.mlflow_catalogue import MlflowCatalogue
from registry.profile.conclude import conclude
from registry.profile.document import Fitting, Price, Profile, QualityFigure
from registry.profile.grid import Grid, Point
from registry.profile.measure import Effort, find_largest_batch, measure
from registry.profile.prices import PriceTable, require_price
from registry.profile.quality import measure_quality
from registry.provenance.attestation import Job, attest
from registry.provenance.job_key import job_key

UNLIMITED = WorkerLimits(max_batch_size=64, max_queue=1024, max_concurrency=64)
"""Limits of a worker that is measured: it must be able to do what is not yet known to be too much."""


@dataclass(frozen=True)
class ProfilePlan:
    """How to profile: the device, the grid, how long, and what is wanted of the memory and of the prices."""

    grid: Grid
    device: str = "cpu"
    threads: int = 1
    effort: Effort = field(default_factory=Effort)
    memory_limit_bytes: int | None = None
    prices: PriceTable | None = None
    asked: Asked = field(default_factory=Asked)


def profile_version(
    catalogue: MlflowCatalogue,
    record: VersionRecord,
    plan: ProfilePlan,
    settings: Settings,
    *,
    tell: Callable[[str], None],
    clock: Clock | None = None,
    rng: Rng | None = None,
) -> Profile:
    """Profile a version and store what was found; nothing is stored before everything is measured.

    Raises:
        InvalidInput: when the device is absent, has no price, or the memory limit is less than the version holds.
        IntegrityError, NotPermitted: when the version's bytes are not what was registered.
        Unavailable: when the worker can't load the version or dies.
    """
    clock, rng, key = clock or SystemClock(), rng or SystemRng(), job_key(settings.home / "keys")
    environment = find_environment(plan.device, threads=plan.threads)
    price = _price(plan, environment.device_name)
    started_s = clock.now_s()
    bench = ProcessBench(
        bench_spec(catalogue, record.id, device=plan.device, threads=plan.threads),
        plan.asked.prompts,
        settings.logs / f"profile-{record.id}.log",
    )
    try:
        fitting = _fit_memory(bench, record, plan, tell)
        found = measure(bench, plan.grid.points(), plan.effort, clock=clock, rng=rng, tell=tell)
        quality = _judge(bench, plan.asked, tell)
    finally:
        bench.close()
    profile = conclude(record, found, environment, price=price, measured_at_s=started_s, fitting=fitting)
    profile = profile.model_copy(update={"quality": quality})
    job = _describe(record, profile, plan, job_id=f"profile-{rng.token()}", ended_s=clock.now_s())
    catalogue.profiles.keep(profile, attest(job, record.id.model, record.digest, key))
    return profile


def bench_spec(catalogue: MlflowCatalogue, version: VersionId, *, device: str, threads: int) -> WorkerSpec:
    """Return how to start a worker that is measured: as in service, but without limits that measuring is to find.

    Raises:
        InvalidInput: when the version draws no pictures.
    """
    spec = worker_spec(catalogue, version)
    kind = read_plan(Path(spec.directory)).kind
    if kind is not ModelKind.DIFFUSERS:
        raise InvalidInput(
            f"{version} is a {kind} model and draws no pictures", hint="profiles and tuning are of pipelines"
        )
    return spec.model_copy(update={"device": device, "threads": threads, "limits": UNLIMITED, "capacity": None})


def _price(plan: ProfilePlan, device_name: str) -> Price | None:
    if plan.prices is None:
        return None
    per_hour = require_price(plan.prices, plan.device, device_name)
    if per_hour is None:
        return None
    return Price(currency=plan.prices.currency, per_hour=per_hour, example=plan.prices.example)


def _fit_memory(
    bench: ProcessBench, record: VersionRecord, plan: ProfilePlan, tell: Callable[[str], None]
) -> Fitting | None:
    """Find by trying which batch fits the memory limit, at the version's own size and as few steps as the grid has."""
    if plan.memory_limit_bytes is None:
        return None
    tell("largest batch that fits, by trying")
    own = Point(record.defaults.height, record.defaults.width, min(plan.grid.steps))
    measured = find_largest_batch(bench, own, plan.memory_limit_bytes)
    return Fitting(
        memory_limit_bytes=plan.memory_limit_bytes,
        height=own.height,
        width=own.width,
        predicted=None,
        measured=measured,
    )


def _judge(bench: ProcessBench, asked: Asked, tell: Callable[[str], None]) -> QualityFigure | None:
    if asked.judge is None:
        return None
    tell(f"quality: {len(asked.prompts)} pictures, judged by {asked.judge.name}")
    return measure_quality(bench, asked.judge, asked.prompts)


def _describe(record: VersionRecord, profile: Profile, plan: ProfilePlan, *, job_id: str, ended_s: float) -> Job:
    return Job(
        id=job_id,
        recipe="profile",
        inputs={str(record.id): record.digest},
        code_version=distribution_version("roost"),
        device=profile.environment.describe(),
        started_s=profile.measured_at_s,
        ended_s=ended_s,
        parameters={
            "points": [str(point) for point in plan.grid.points()],
            "budget_s": plan.effort.budget_s,
            "memory_limit_bytes": plan.memory_limit_bytes,
            "libraries": profile.environment.libraries,
        },
    )
