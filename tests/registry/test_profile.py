"""Profiles: what is measured is what the version does, and what can't be measured is said."""

import random
from pathlib import Path
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import InvalidInput, Unavailable
from contracts.ids import VersionId
from contracts.rng import SeededRng
from contracts.wire.worker import GenerationDefaults
from registry.catalogue import VersionRecord
from registry.profile.conclude import conclude
from registry.profile.document import Fitting, Price, Profile
from registry.profile.environment import read_environment
from registry.profile.grid import Grid, Point, default_grid, parse_numbers, parse_sizes
from registry.profile.measure import Effort, Measurement, find_largest_batch, measure
from registry.profile.port import WorkerGone
from registry.profile.prices import load_prices, require_price
from registry.profile.quantiles import estimate_quantile
from tests.registry.fake_bench import LAW, MIB, FakeBench

DEFAULTS = GenerationDefaults(num_inference_steps=8, guidance_scale=2.0, height=32, width=64)
RECORD = VersionRecord(VersionId("tags", 1), "sha256:" + "1" * 64, 100, 0.0, defaults=DEFAULTS)
GRID = default_grid(DEFAULTS)


def run(bench: FakeBench, grid: Grid = GRID, effort: Effort | None = None) -> Measurement:
    effort = effort or Effort(budget_s=300.0)
    return measure(bench, grid.points(), effort, clock=bench.clock, rng=SeededRng(1), tell=lambda message: None)


def make_profile(bench: FakeBench, grid: Grid = GRID, fitting: Fitting | None = None) -> Profile:
    environment = read_environment("cpu", threads=1)
    price = Price(currency="USD", per_hour=0.36, example=False)
    return conclude(RECORD, run(bench, grid), environment, price=price, measured_at_s=0.0, fitting=fitting)


def test_the_figures_are_those_of_the_version() -> None:
    profile = make_profile(FakeBench())
    assert len(profile.points) == 16
    for point in profile.points:
        truth_s = LAW.latency_s(point.height * point.width, point.batch, point.steps, 2.0)
        assert point.p50 is not None
        assert point.p95 is not None
        assert point.p50.value_s == pytest.approx(truth_s, rel=0.03)
        assert point.p95.value_s == pytest.approx(truth_s * 1.0857, rel=0.04)  # exp(0.05 · 1.645)
        assert point.peak_memory_bytes == round(LAW.peak_memory_bytes(point.height * point.width, point.batch))
        assert point.throughput_per_s is not None
        assert point.throughput_per_s == pytest.approx(point.batch / truth_s, rel=0.03)
        assert point.cost_per_1k == pytest.approx(0.36 / 3600 * 1000 / point.throughput_per_s)
        assert point.energy_j is None
    assert (profile.loading.cold_s, profile.loading.warm_s, profile.loading.first_picture_s) == (3.0, 2.0, 0.2)
    metrics = profile.metrics()
    assert metrics["profile.p50_s"] == pytest.approx(LAW.latency_s(2048, 1, 8, 2.0), rel=0.03)
    assert "profile.energy_j" not in metrics


def test_rounds_end_when_every_interval_is_narrow_or_the_time_is_spent() -> None:
    effort = Effort(budget_s=1e6)
    narrow = run(FakeBench(), effort=effort)
    assert all(samples.is_narrow(effort) for samples in narrow.samples)
    assert max(len(samples.latencies_s) for samples in narrow.samples) < 500
    bench = FakeBench(noise=1.0)
    short = run(bench, effort=Effort(budget_s=20.0))
    assert not any(samples.is_narrow(effort) for samples in short.samples)
    assert bench.clock.monotonic_s() < 10.0 + 16 + 20.0 + 5.0  # starts, warm-up, the budget, and one visit


def test_the_first_draws_of_a_point_are_not_counted() -> None:
    bench = FakeBench()
    found = run(bench)
    assert len(bench.drawn) == 2 * 16 + sum(len(samples.latencies_s) for samples in found.samples)


def test_cold_and_warm_starts_take_turns() -> None:
    bench = FakeBench()
    run(bench)
    assert bench.starts == [True, False, True, False]


def test_concurrency_is_clients_that_wait_for_one_another() -> None:
    profile = make_profile(FakeBench(), Grid(((32, 64),), (4, 8), (1, 2), concurrency=(1, 3)))
    together = [point for point in profile.points if point.concurrency == 3]
    assert len(together) == 4
    assert all(point.repeats % 6 == 0 and point.cpu_p50 is None for point in together)
    assert profile.capacity is None
    assert "too few" in profile.no_capacity


def test_what_runs_out_of_memory_is_told_and_larger_points_are_left_out() -> None:
    bench = FakeBench(room_bytes=LAW.peak_memory_bytes(64 * 128, 2))
    profile = make_profile(bench)
    dead = {(point.height * point.width * point.batch) for point in profile.points if point.out_of_memory}
    assert dead == {64 * 128 * 4, 64 * 128 * 8}
    assert all(point.p50 is None for point in profile.points if point.out_of_memory)
    assert 64 * 128 * 8 not in {point.pixels * point.batch for point in bench.drawn}
    assert profile.capacity is not None


def test_a_killed_worker_counts_as_out_of_memory_and_the_rest_is_measured() -> None:
    bench = FakeBench(dies_at=Point(64, 128, 8, 8))
    profile = make_profile(bench)
    assert [(p.steps, p.batch) for p in profile.points if p.out_of_memory] == [(8, 8)]
    assert sum(point.p50 is not None for point in profile.points) == 15


def test_a_worker_that_dies_otherwise_ends_the_measuring() -> None:
    bench = FakeBench(dies_at=Point(64, 128, 8, 8), killed=False)
    with pytest.raises(WorkerGone):
        run(bench)


def test_a_version_that_can_not_draw_the_smallest_point_has_no_profile() -> None:
    with pytest.raises(Unavailable, match="out of memory already"):
        run(FakeBench(room_bytes=1.0))


@given(largest=st.integers(0, 70))
def test_bisection_finds_the_largest_batch_that_fits(largest: int) -> None:
    limit_bytes = round(LAW.peak_memory_bytes(2048, largest) + 1)
    bench = FakeBench()
    assert find_largest_batch(bench, Point(32, 64, 4), limit_bytes) == min(largest, 64)
    assert bench.stopped
    assert len(bench.drawn) <= 13


@pytest.mark.parametrize("killed", [True, False])
def test_bisection_survives_workers_that_die(killed: bool) -> None:
    bench = FakeBench(dies_at=Point(32, 64, 4, 16), killed=killed)
    assert find_largest_batch(bench, Point(32, 64, 4), 10**12) == 15


def test_limits_take_no_larger_batch_than_raises_throughput() -> None:
    profile = make_profile(FakeBench())
    per_s = {p.batch: p.throughput_per_s or 0.0 for p in profile.points if (p.height, p.steps) == (32, 8)}
    assert per_s[profile.limits.max_batch_size] >= 0.95 * max(per_s.values())
    fitting = Fitting(memory_limit_bytes=510 * MIB, height=32, width=64, predicted=None, measured=2)
    limited = make_profile(FakeBench(), fitting=fitting)
    assert (limited.limits.max_batch_size, limited.limits.memory_limit_bytes) == (2, 510 * MIB)
    assert limited.fitting is not None
    assert limited.fitting.predicted == pytest.approx(10 * MIB / (900 * 2048), abs=1)


def test_a_profile_is_the_same_after_it_was_written_and_read() -> None:
    profile = make_profile(FakeBench())
    assert Profile.model_validate_json(profile.model_dump_json()) == profile


@pytest.mark.parametrize("q", [0.5, 0.95])
@pytest.mark.parametrize("n", [10, 40, 120])
def test_intervals_of_quantiles_hold_as_often_as_they_say(q: float, n: int) -> None:
    rng, truth, held, runs = random.Random(n), NormalDist().inv_cdf(q), 0, 2000
    for _ in range(runs):
        found = estimate_quantile([10 + rng.gauss(0, 1) for _ in range(n)], q)
        held += (found.low is None or found.low <= 10 + truth) and (found.high is None or 10 + truth <= found.high)
    assert held / runs > 0.95 - 3 * (0.95 * 0.05 / runs) ** 0.5


def test_too_few_repeats_give_no_end_of_an_interval() -> None:
    found = estimate_quantile([1.0, 1.1, 1.2], 0.95)
    assert found.high is None
    assert found.half_width == float("inf")


@pytest.mark.parametrize(
    ("axes", "named"),
    [
        ({"sizes": ((30, 64),)}, "sizes"),
        ({"sizes": ((0, 64),)}, "sizes"),
        ({"steps": (0,)}, "steps"),
        ({"batches": (65,)}, "batches"),
        ({"concurrency": (0,)}, "concurrency"),
        ({"batches": ()}, "grid"),
        ({"sizes": tuple((8 * k, 64) for k in range(1, 70))}, "grid"),
    ],
)
def test_a_grid_that_can_not_be_served_names_the_axis(axes: dict[str, tuple[int, ...]], named: str) -> None:
    wanted: dict[str, object] = {"sizes": ((32, 64),), "steps": (4,)} | dict(axes)
    with pytest.raises(InvalidInput, match=named):
        Grid(**wanted)  # type: ignore[arg-type]


def test_axes_are_read_as_people_write_them() -> None:
    assert parse_sizes("32x64, 64x128") == ((32, 64), (64, 128))
    assert parse_numbers("1,2, 4", "batches") == (1, 2, 4)
    for text in ("", "64", "64x", "x64", "axb"):
        with pytest.raises(InvalidInput, match="sizes"):
            parse_sizes(text)
    for text in (",", "1.5", "two", "-1"):
        with pytest.raises(InvalidInput, match="steps"):
            parse_numbers(text, "steps")


def test_prices_are_by_name_or_kind_of_device(tmp_path: Path) -> None:
    table = tmp_path / "prices.yaml"
    table.write_text('{currency: EUR, per_hour: {cuda: 2.5, "NVIDIA H200": 4}}')
    prices = load_prices(table)
    assert require_price(prices, "cuda:1", "NVIDIA H200") == 4
    assert require_price(prices, "cuda:1", "NVIDIA A10") == 2.5
    with pytest.raises(InvalidInput, match="no price for Xeon"):
        require_price(prices, "cpu", "Xeon")
    assert load_prices(None).example


@pytest.mark.parametrize("text", ["{", "[1]", "per_hour: {}", "per_hour: {cpu: -1}", "per_hour: {cpu: 1}\nunit: h"])
def test_a_price_table_with_mistakes_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "prices.yaml").write_text(text)
    with pytest.raises(InvalidInput, match="prices"):
        load_prices(tmp_path / "prices.yaml")
    with pytest.raises(InvalidInput, match="prices"):
        load_prices(tmp_path / "absent.yaml")
