"""Drift detectors side by side: false alarms without a shift, values until a shift is seen, cost per value.

    python -m benchmarks.drift [--runs 40] [--months 300]

Scores with mean 0.7 and standard deviation 0.1 in [0, 1]. Beside the e-detector: Evidently's defaults (the test that it
chooses by the size of the reference) on consecutive windows, and river's detectors. alibi-detect is not here: it can't
be installed beside numpy 2, pandas 3 and transformers 5, and its licence is not a free one.
"""

import argparse
import io
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass

import numpy as np
from scipy.stats import ks_2samp, norm, wasserstein_distance

from evaluation.drift.detector import Array, Detector
from evaluation.drift.reference import frozen_reference
from evaluation.drift.watch import SIDES, Budget

MONTH_VALUES = 43_200
MEAN, SD = 0.7, 0.1
SHIFTS = (0.1, 0.2, 0.3, 0.5)
STEADY, LONGEST = 2000, 20_000
AA_VALUES = 20_000

Watcher = Callable[[Array, Array], int | None]
"""Takes reference and stream, returns after how many values it alarmed, None when it never did."""


@dataclass(frozen=True)
class Contender:
    """One detector, the size of the reference it gets, and how many runs its speed allows."""

    name: str
    watch: Watcher
    reference: int
    runs: float = 1.0


def draw(rng: np.random.Generator, n: int, shift_sd: float = 0.0) -> Array:
    """Return scores, lower by so many standard deviations."""
    return np.clip(rng.normal(MEAN - shift_sd * SD, SD, n), 0, 1)


def e_detector(average_run_length: float, level: float) -> Watcher:
    """Return our detector, two-sided."""

    def watch(reference: Array, stream: Array) -> int | None:
        known = frozen_reference(reference, level)
        if known is None:
            return None
        alarms = Detector(known.range, average_run_length).update(stream)
        return alarms[0].at if alarms else None

    return watch


def windows(n: int, *, drifted: Callable[[Array, Array], bool]) -> Watcher:
    """Return a test that is asked after every ``n`` values."""

    def watch(reference: Array, stream: Array) -> int | None:
        for start in range(0, len(stream) - n + 1, n):
            if drifted(reference, stream[start : start + n]):
                return start + n
        return None

    return watch


def evidently_ks(reference: Array, window: Array) -> bool:
    """Evidently's default up to 1000 reference values."""
    return float(ks_2samp(reference, window).pvalue) < 0.05


def evidently_wasserstein(reference: Array, window: Array) -> bool:
    """Evidently's default above 1000 reference values."""
    return float(wasserstein_distance(reference, window) / max(np.std(reference), 0.001)) >= 0.1


def river(make: Callable[[], object]) -> Watcher:
    """Return one of river's detectors; it sees no reference but the stream's own beginning."""

    def watch(_: Array, stream: Array) -> int | None:
        detector = make()
        for position, value in enumerate(stream.tolist(), 1):
            detector.update(value)  # type: ignore[attr-defined]
            if detector.drift_detected:  # type: ignore[attr-defined]
                return position
        return None

    return watch


def contenders() -> list[Contender]:
    """Return everybody, ours first."""
    from river.drift import ADWIN, KSWIN, PageHinkley

    budget = Budget(MONTH_VALUES)
    level, month = 0.2 * budget.alpha, budget.average_run_length(is_exact=False)
    return [
        Contender("e-detector, 1 % a month, reference 43 200", e_detector(month, level), MONTH_VALUES),
        Contender("e-detector, 1 % a month, reference 10 000", e_detector(month, level), 10_000),
        Contender("e-detector, run length 20 000, reference 10 000", e_detector(SIDES * 20_000, level), 10_000),
        Contender("e-detector, run length 20 000, reference 2 000", e_detector(SIDES * 20_000, 0.05), 2_000),
        Contender("Evidently K-S, windows of 200", windows(200, drifted=evidently_ks), 1000),
        Contender("Evidently Wasserstein, windows of 200", windows(200, drifted=evidently_wasserstein), 5000),
        Contender("Evidently Wasserstein, windows of 1000", windows(1000, drifted=evidently_wasserstein), 5000),
        Contender("river ADWIN", river(ADWIN), 0),
        Contender("river PageHinkley", river(PageHinkley), 0),
        Contender("river KSWIN", river(lambda: KSWIN(seed=1)), 0, runs=0.1),
    ]


def measure(contender: Contender, runs: int) -> list[str]:
    """Return a row: share of A/A streams with an alarm, then detection by shift, then microseconds per value."""
    count = max(int(runs * contender.runs), 3)
    cpu_s, values, alarmed = 0.0, 0, 0
    for run in range(count):
        rng = np.random.default_rng([1, run])
        reference, stream = draw(rng, contender.reference), draw(rng, AA_VALUES)
        start_s = time.process_time()
        at = contender.watch(reference, stream)
        cpu_s += time.process_time() - start_s
        values += at or AA_VALUES
        alarmed += at is not None
    row = [contender.name, f"{100 * alarmed / count:.0f} % of {count}"]
    return [*row, *(delays(contender, shift, count) for shift in SHIFTS), f"{1e6 * cpu_s / values:.1f}"]


def delays(contender: Contender, shift: float, runs: int) -> str:
    """Return the median delay of the runs that had not alarmed before the shift, and how many of all those are."""
    found, early = [], 0
    for run in range(runs):
        rng = np.random.default_rng([2, run])
        reference = draw(rng, contender.reference)
        stream = np.concatenate([draw(rng, STEADY), draw(rng, LONGEST, shift)])
        at = contender.watch(reference, stream)
        early += at is not None and at <= STEADY
        if at is None:
            found.append(np.inf)
        elif at > STEADY:
            found.append(at - STEADY)
    middle = float(np.median(found)) if found else np.inf
    shown = f"{middle:.0f}" if np.isfinite(middle) else "–"
    return shown + (f" ({early} early)" if early else "")


def fixed_size(shift: float, alpha: float, power: float) -> float:
    """Return the values that the best one-sided test of a known mean and deviation needs at one look."""
    return float(((norm.ppf(1 - alpha) + norm.ppf(power)) / shift) ** 2)


def months(count: int) -> None:
    """Print false alarms over months without a shift, for smooth and for binary scores."""
    budget = Budget(MONTH_VALUES)
    for name, sample in (
        ("smooth", draw),
        ("binary, 97 %", lambda rng, n: (rng.random(n) < 0.97).astype(float)),
    ):
        alarmed = 0
        for month in range(count):
            rng = np.random.default_rng([3, month])
            watch = e_detector(budget.average_run_length(is_exact=False), 0.2 * budget.alpha)
            alarmed += watch(sample(rng, 10_000), sample(rng, MONTH_VALUES)) is not None
        print(f"{name}: {alarmed} of {count} months of {MONTH_VALUES} values raised an alarm (stated: at most 1 %)")


def against_fixed(runs: int) -> None:
    """Print values to see 0.2 sd beside the best fixed-size test, by the error that it is allowed."""
    budget = Budget(MONTH_VALUES)
    for size in (MONTH_VALUES, 10_000):
        watch = e_detector(budget.average_run_length(is_exact=False), 0.2 * budget.alpha)
        found = []
        for run in range(runs):
            rng = np.random.default_rng([4, run])
            stream = np.concatenate([draw(rng, STEADY), draw(rng, LONGEST, 0.2)])
            found.append((watch(draw(rng, size), stream) or len(stream)) - STEADY)
        mean, median, late = np.mean(found), np.median(found), np.quantile(found, 0.95)
        print(f"0.2 sd, reference {size}: mean {mean:.0f}, median {median:.0f}, 95 % within {late:.0f}; {runs} runs")
        for power in (0.99, 0.95, 0.8):
            n = fixed_size(0.2, 0.01, power)
            print(f"  one look, α = 1 %, power {power:.0%}: {n:.0f} values; ours {mean / n:.2f} times that in the mean")
        looks = fixed_size(0.2, 0.01, 0.99)
        for _ in range(20):
            looks = fixed_size(0.2, 0.01 * looks / MONTH_VALUES, 0.99)
        print(f"  the same watching all month (α split over its windows), power 99 %: {looks:.0f} values a window, "
              f"and on average half a window of waiting; ours {mean / (1.5 * looks):.2f} times that")  # fmt: skip


def aa_windows() -> None:
    """Print what Evidently itself says of 200 windows without a shift, 12 columns each, and that we quote it right."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift
    from pandas import DataFrame

    columns = [f"c{i}" for i in range(12)]
    definition = DataDefinition(numerical_columns=columns)
    for size, rule in ((1000, evidently_ks), (5000, evidently_wasserstein)):
        rng = np.random.default_rng(5)
        reference = DataFrame({c: draw(rng, size) for c in columns})
        known = Dataset.from_pandas(reference, data_definition=definition)
        any_column = every_column = wrong = 0
        for _ in range(200):
            window = DataFrame({c: draw(rng, 200) for c in columns})
            with redirect_stdout(io.StringIO()):
                report = Report([ValueDrift(column=c) for c in columns])
                answer = report.run(Dataset.from_pandas(window, data_definition=definition), known).dict()["metrics"]
            flags = [m["value"] < 0.05 if rule is evidently_ks else m["value"] >= 0.1 for m in answer]
            mine = [rule(reference[c].to_numpy(), window[c].to_numpy()) for c in columns]
            wrong += sum(a != b for a, b in zip(flags, mine, strict=True))
            any_column, every_column = any_column + any(flags), every_column + sum(flags)
        print(f"Evidently, reference {size}, windows of 200: {any_column / 2:.0f} % of 200 A/A windows have a "
              f"drifted column of 12, {100 * every_column / 2400:.1f} % of columns; {wrong} of 2400 answers "
              "differ from its rule as used above")  # fmt: skip


def main() -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--months", type=int, default=300)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    months(given.months)
    against_fixed(5 * given.runs)
    heads = ["detector", f"alarm in {AA_VALUES} A/A values", *(f"{s} sd" for s in SHIFTS), "µs a value"]
    print("\n| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    for contender in contenders():
        print("| " + " | ".join(measure(contender, given.runs)) + " |", flush=True)
    print()
    aa_windows()


if __name__ == "__main__":
    main()
