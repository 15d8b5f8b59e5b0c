"""How well the capacity model predicts points of the demo model that it has not seen: peak memory and latency.

Run from the repository root::

    python -m benchmarks.registry_capacity --budget 4m

Profiles the demo model in real worker processes over sizes, steps and batches, fits the model without one size and one
batch, and holds it against them. Latency is shown in wall time, which holds the share of whatever else runs, and in CPU
time of the worker, which on a CPU is what the version itself takes. Writes ``capacity.json`` to ``--out``.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from contracts.units import parse_duration_s
from contracts.wire.capacity import CapacityModel
from controlplane.demo.model.versions import assemble, find_version
from controlplane.profiling.job import ProfilePlan, profile_version
from controlplane.settings import Settings
from registry.catalogue import Registration
from registry.mlflow_catalogue import MlflowCatalogue
from registry.profile.document import PointFigures, Profile
from registry.profile.fit import Seen, fit_capacity
from registry.profile.grid import Grid, Point
from registry.profile.measure import Effort

SIZES = ((32, 64), (48, 96), (64, 128))
HELD_OUT_SIZE, HELD_OUT_BATCH = (48, 96), 4
LIMITS = {"peak memory": 0.10, "p95, wall": 0.15, "p95, CPU": 0.15}

Errors = dict[str, list[float]]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", default="4m")
    parser.add_argument("--out", type=Path, default=Path("build/bench-registry"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        profile = profile_demo(Path(home), parse_duration_s(arguments.budget))
    errors = judge(profile)
    share = median(point.cpu_share or 0.0 for point in profile.points)
    print(f"\n{profile.environment.describe()}; {profile.rounds} rounds; the worker had {share:.0%} of a core")
    print(f"{'held-out error':20} {'median':>8} {'largest':>8} {'wanted':>8}")
    for name, values in errors.items():
        wanted = f"{LIMITS[name]:8.0%}" if name in LIMITS else ""
        print(f"{name:20} {median(values):8.1%} {max(values):8.1%} {wanted}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    document = {"profile": profile.model_dump(mode="json"), "errors": errors}
    (arguments.out / "capacity.json").write_text(json.dumps(document, indent=2) + "\n")


def profile_demo(home: Path, budget_s: float) -> Profile:
    """Profile the demo model over the whole grid."""
    settings = Settings(home)
    catalogue = MlflowCatalogue(settings.mlflow_uri, artifacts=settings.artifacts, manifests=settings.manifests)
    directory = assemble("good", home / "good")
    record = catalogue.register("tags", Registration(directory, defaults=find_version("good").defaults))
    grid = Grid(SIZES, steps=(2, 4, 8), batches=(1, 2, 4, 8))
    plan = ProfilePlan(grid, effort=Effort(budget_s=budget_s))
    return profile_version(catalogue, record, plan, settings, tell=lambda message: print(message, flush=True))


def judge(profile: Profile) -> Errors:
    """Return the relative errors on held-out points, of the model in wall time and of one in CPU time."""
    guidance = profile.defaults.guidance_scale
    wall = _judge(profile, lambda p: (p.p50.value_s, p.p95.value_s) if p.p50 and p.p95 else None, guidance)
    cpu = _judge(
        profile, lambda p: (p.cpu_p50.value_s, p.cpu_p95.value_s) if p.cpu_p50 and p.cpu_p95 else None, guidance
    )
    return {
        "peak memory": wall["memory"],
        "growth of memory": wall["growth"],
        "median, wall": wall["p50"],
        "p95, wall": wall["p95"],
        "median, CPU": cpu["p50"],
        "p95, CPU": cpu["p95"],
    }


def _judge(
    profile: Profile, times: Callable[[PointFigures], tuple[float, float] | None], guidance: float
) -> dict[str, list[float]]:
    seen = [
        Seen(Point(p.height, p.width, p.steps, p.batch), p.peak_memory_bytes, *found)
        for p in profile.points
        if p.peak_memory_bytes is not None and (found := times(p)) is not None
    ]
    model = fit_capacity([one for one in seen if not _is_held_out(one)], device="cpu", guidance=guidance)
    if not isinstance(model, CapacityModel):
        raise SystemExit(model)
    return _errors(model, [one for one in seen if _is_held_out(one)], guidance, profile.loading.memory_bytes)


def _errors(model: CapacityModel, unseen: Sequence[Seen], guidance: float, held_bytes: int) -> dict[str, list[float]]:
    errors: dict[str, list[float]] = {"memory": [], "growth": [], "p50": [], "p95": []}
    for one in unseen:
        where = (one.point.pixels, one.point.batch)
        peak_bytes = model.peak_memory_bytes(*where)
        errors["memory"].append(abs(peak_bytes / one.peak_bytes - 1))
        errors["growth"].append(abs(peak_bytes - one.peak_bytes) / max(one.peak_bytes - held_bytes, 2**20))
        errors["p50"].append(abs(model.latency_s(*where, one.point.steps, guidance) / one.p50_s - 1))
        errors["p95"].append(abs(model.p95_s(*where, one.point.steps, guidance) / one.p95_s - 1))
    return errors


def _is_held_out(one: Seen) -> bool:
    point = one.point
    return (point.height, point.width) == HELD_OUT_SIZE or point.batch == HELD_OUT_BATCH


if __name__ == "__main__":
    main()
