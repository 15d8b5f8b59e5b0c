"""Roost's decision core beside its peers' rules, on the same simulated streams, side by side in one run.

Run from the repository root::

    python -m benchmarks.decision_core --out build/decision_core            # full, under 10 minutes on 2 cores
    python -m benchmarks.decision_core --quick --out build/decision_core    # under a minute

Prints the table and writes ``table.csv``, ``results.json`` and ``table.svg`` to ``--out``.
"""

import argparse
import csv
import json
import math
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, fields
from pathlib import Path

from benchmarks.decision_core_cells import ROOST, Cell, Row, clopper_pearson, measure, rules, scenarios
from benchmarks.decision_core_limits import Detection, detection, false_alarms, speed

RATES = (0.1, 2.0, 20.0, 200.0)
BURNS = (1.5, 2.0, 4.0, 10.0, 20.0, 40.0, 200.0)


def main() -> None:
    """Run the benchmark."""
    arguments = _arguments()
    begun = time.perf_counter()
    rates = (2.0, 20.0) if arguments.quick else RATES
    runs = 40 if arguments.quick else 300
    contenders = [ROOST, *rules(1)]
    cells = [Cell(who, name, rate, runs) for rate in rates for name in scenarios(rate) for who in contenders]
    with ProcessPoolExecutor(arguments.jobs) as pool:
        alarm = pool.submit(false_alarms, 200 if arguments.quick else 2000, 4_000 if arguments.quick else 20_000)
        found = [pool.submit(detection, burn, 60 if arguments.quick else 400) for burn in BURNS]
        rows = list(pool.map(measure, cells))
        detections = [one.result() for one in found]
        alarms = alarm.result()
    quickness = speed(2_000 if arguments.quick else 10_000)
    print_table(rows)
    print_detections(detections)
    streams = 200 if arguments.quick else 2000
    low, high = clopper_pearson(alarms, streams)
    print(f"\nfalse alarms exactly at the bound: {alarms} of {streams} streams, 95 % interval [{low:.4f}, {high:.4f}]")
    print("speed:", json.dumps(quickness))
    elapsed_s = time.perf_counter() - begun
    extra = {"false_alarms": alarms, "false_alarm_streams": streams, "speed": quickness, "elapsed_s": elapsed_s}
    write(arguments.out, rows, detections, extra)
    print(f"{len(cells)} cells in {elapsed_s:.0f} s; written to {arguments.out}")


def print_table(rows: list[Row]) -> None:
    """Print one line per cell, Roost first in each block."""
    head = (
        f"{'':28} {'rolled back [95 %]':>22} {'promoted':>8} {'bad':>7} {'requests':>9} {'to back':>8} {'to prom':>8}"
    )
    block: tuple[float, str] | None = None
    for row in rows:
        if (row.request_rate, row.scenario) != block:
            block = row.request_rate, row.scenario
            print(f"\n{row.request_rate:g} requests/s, {row.scenario}\n{head}")
        share = f"{row.rolled_back:.1%} [{row.rolled_back_low:.1%}, {row.rolled_back_high:.1%}]"
        numbers = (row.bad_until_rollback, row.requests_until_rollback, row.time_to_rollback_s, row.time_to_promote_s)
        bad, requests, back, promote = ("-" if math.isnan(number) else f"{number:.0f}" for number in numbers)
        print(f"{row.contender:28} {share:>22} {row.promoted:>8.1%} {bad:>7} {requests:>9} {back:>8} {promote:>8}")


def print_detections(detections: list[Detection]) -> None:
    """Print requests to detection over the information limit."""
    print("\nrequests to detection over ln(1/alpha)/KL\n  burn     limit  without onset  with onset  after a good hour")
    for one in detections:
        print(
            f"{one.burn:6g} {one.limit_requests:9.1f} {one.without_onset:14.2f} {one.with_onset:11.2f} {one.late:18.2f}"
        )


def write(folder: Path, rows: list[Row], detections: list[Detection], extra: dict[str, object]) -> None:
    """Write the table as CSV, everything as JSON, and the rates of rollback as a picture."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    document = {"rows": [_plain(row) for row in rows], "detections": [_plain(one) for one in detections], **extra}
    (folder / "results.json").write_text(json.dumps(document, indent=1))
    _draw(folder / "table.svg", rows)


def _plain(row: Row | Detection) -> dict[str, object]:
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value for name, value in asdict(row).items()
    }


def _draw(path: Path, rows: list[Row]) -> None:
    """Draw the share rolled back, one panel per request rate: contenders by scenarios."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    rates = sorted({row.request_rate for row in rows})
    names, whos = (list(dict.fromkeys(getattr(row, key) for row in rows)) for key in ("scenario", "contender"))
    figure, axes = plt.subplots(len(rates), 1, figsize=(10, 3.4 * len(rates)), squeeze=False, layout="constrained")
    for axis, rate in zip(axes[:, 0], rates, strict=True):
        share = {(row.contender, row.scenario): row.rolled_back for row in rows if row.request_rate == rate}
        axis.imshow(
            [[share[who, name] for name in names] for who in whos], vmin=0, vmax=1, cmap="cividis", aspect="auto"
        )
        axis.set_xticks(range(len(names)), names, rotation=30, ha="right")
        axis.set_yticks(range(len(whos)), whos)
        axis.set_title(f"share rolled back at {rate:g} requests/s ('healthy' and 'outage of both' should be 0)")
        for y, who in enumerate(whos):
            for x, name in enumerate(names):
                value = share[who, name]
                axis.text(x, y, f"{value:.0%}", ha="center", va="center", color="white" if value < 0.6 else "black")
    figure.savefig(path)
    plt.close(figure)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rates and runs; under a minute")
    parser.add_argument("--out", type=Path, default=Path("build/decision_core"), help="folder for CSV, JSON and SVG")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
