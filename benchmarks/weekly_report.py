"""The weekly report over a synthetic history of a million requests: CPU time, size, and what it was made from.

    python -m benchmarks.weekly_report [--requests 1000000]

The history is written row by row into SQLite as a control plane would have left it: minutes for the last two days,
hours before, a score for one output in twenty, examples, events and a ledger of ten rollouts.
"""

import argparse
import io
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from sqlalchemy import insert

from contracts.events import Event
from contracts.specs.loading import load_service_spec
from controlplane.reporting import Wishes, report_week, write_report
from controlplane.settings import Settings
from controlplane.store.history import COUNTS, EXAMPLES, SCORES, History
from controlplane.store.ledger import FileLedger
from evaluation.report.week import Week

SPEC = """
service: tags
model: price-tags
lanes:
  draft: {steps: 8, latency: {objective: 95%, threshold: 400ms}}
  final: {steps: 25, latency: {objective: 95%, threshold: 1500ms}}
slos:
  availability: {objective: 99.5%, window: 28d}
  text: {scorer: text-accuracy, objective: 97%, sample: 5%}
"""
WEEK = Week(2026, 40)
SCORED_SHARE = 0.05
BUCKETS = tuple(range(-30, 30))
VERSIONS = ("price-tags@12", "price-tags@13")


def fill(settings: Settings, requests: int, rng: np.random.Generator) -> dict[str, int]:
    """Write two weeks of history with ``requests`` in each; return how many rows there are."""
    history = History(settings.history_uri)
    history.record_spec(load_service_spec(SPEC, subject="spec"), WEEK.before.start_s)
    counts = [row for start_s in (WEEK.before.start_s, WEEK.start_s) for row in count_rows(start_s, requests, rng)]
    scores = [row for start_s in (WEEK.before.start_s, WEEK.start_s) for row in score_rows(start_s, requests, rng)]
    with history.engine.begin() as connection:
        connection.execute(insert(COUNTS), counts)
        connection.execute(insert(SCORES), scores)
        connection.execute(insert(EXAMPLES), example_rows(scores[-200:], rng))
    history.record_event(Event(code="alarm.no-data", at_s=WEEK.start_s + 9e4, subject="rollout/x", message="no data"))
    history.close()
    decisions = write_ledger(settings)
    return {"count rows": len(counts), "scores": len(scores), "decisions": decisions}


def count_rows(start_s: float, requests: int, rng: np.random.Generator) -> list[dict[str, object]]:
    """Return a week's counts: hours, and minutes for its last two days."""
    rows: list[dict[str, object]] = []
    for hour in range(168):
        step = 60 if hour >= 120 else 3600
        share = requests / 168 / len(VERSIONS) / 2 / (3600 / step)
        for start in range(int(start_s) + 3600 * hour, int(start_s) + 3600 * (hour + 1), step):
            for lane in ("draft", "final"):
                head = {"resolution_s": step, "start_s": start, "service": "tags", "lane": lane, "mirrored": False}
                total = 2 * share
                rows += [
                    {**head, "version": "", "measure": "requests", "amount": total},
                    {**head, "version": "", "measure": "requests-bad", "amount": float(rng.poisson(0.002 * total))},
                ]
                for version in VERSIONS:
                    rows += attempt_rows({**head, "version": version}, lane, share, rng)
    return rows


def attempt_rows(head: dict[str, object], lane: str, share: float, rng: np.random.Generator) -> list[dict[str, object]]:
    """Return the measures of one version, lane and bucket of time."""
    spread = rng.multinomial(int(share), np.full(len(BUCKETS), 1 / len(BUCKETS)))
    measures = {
        "attempts": share,
        "attempts-bad": float(rng.poisson(0.002 * share)),
        f"slow/latency-{lane}": float(rng.poisson(0.03 * share)),
        "latency-sum-s": 0.4 * share,
        **{f"latency/{bucket}": float(n) for bucket, n in zip(BUCKETS, spread, strict=True) if n},
    }
    return [{**head, "measure": measure, "amount": amount} for measure, amount in measures.items()]


def score_rows(start_s: float, requests: int, rng: np.random.Generator) -> list[dict[str, object]]:
    """Return a score for one output in twenty."""
    n = int(SCORED_SHARE * requests)
    times = np.sort(start_s + rng.random(n) * 7 * 86400)
    good = rng.random(n) < 0.98
    return [
        {
            "service": "tags", "metric": "text-accuracy", "request_id": f"r{start_s:.0f}-{i}",
            "version": VERSIONS[i % 2], "mirrored": False, "at_s": float(times[i]), "lane": "draft",
            "prompt_class": ("short", "long")[i % 3 == 0],
            "value": float(good[i]), "reason": "" if good[i] else "asked 41, shows 47", "digest": "sha256:0",
            "prompt": f"price tag {i % 997} in red ink",
        }
        for i in range(n)
    ]  # fmt: skip


def example_rows(scores: list[dict[str, object]], rng: np.random.Generator) -> list[dict[str, object]]:
    """Return some of the scored outputs with a picture."""
    out = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(out, "PNG")
    kept = [{n: v for n, v in row.items() if n not in {"prompt_class", "digest", "prompt"}} for row in scores]
    more = {"seed": 1, "image": out.getvalue()}
    return [
        {**row, "day": int(float(str(row["at_s"])) // 86400), "prompt": f"price tag {i}", **more}
        for i, row in enumerate(kept)
    ]


def write_ledger(settings: Settings) -> int:
    """Write ten rollouts of three hundred decisions each."""
    ledger = FileLedger(settings.ledger, code_version="bench")
    verdict = {"gate": "text", "n": 900, "value": 0.98, "limit": 0.92, "evidence": 0.4, "needed": 200.0}
    for rollout in range(10):
        for tick in range(300):
            phase = "promoted" if tick == 299 else "progressing"
            decision = {"phase": phase, "weight": 0.2, "reason": "ramp.raised", "sentence": "share raised",
                        "champion": VERSIONS[0], "challenger": VERSIONS[1], "verdicts": [verdict] * 4}  # fmt: skip
            at_s = WEEK.start_s + 40_000 * rollout + tick
            ledger.append(at_s=at_s, rollout_id=f"tags-{rollout}", policy_digest="sha256:0", observation={},
                          decision=decision)  # fmt: skip
    return 3000


def main() -> None:
    """Fill a history, make the report, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    requests = parser.parse_args().requests
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(Path(folder))
        rows = fill(settings, requests, np.random.default_rng(0))
        for form in ("html", "json"):
            cpu_s, wall_s = time.process_time(), time.perf_counter()
            report = report_week(settings, WEEK, now_s=WEEK.end_s + 1, wishes=Wishes(usd_per_hour=2.0))
            size = write_report(report, Path(folder) / f"report.{form}")
            cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
            print(f"{form}: {requests} requests a week, {cpu_s:.1f} s CPU, {wall_s:.1f} s, {size / 1000:.0f} kB")
        print(", ".join(f"{number} {name}" for name, number in rows.items()))


if __name__ == "__main__":
    main()
