"""Pictures a second through a worker: dynamic batching, one at a time, and the bare pipeline in a loop, side by side.

All draw the same prompts with the same seeds on one thread. Rounds are interleaved, so that a busy machine slows all of
them alike; ratios are of CPU time, which other processes change least, and of wall time.
"""

import argparse
import io
import json
import math
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from contracts.ids import VersionId
from contracts.manifest import make_manifest
from contracts.rng import SeededRng
from contracts.wire.capacity import WorkerLimits
from contracts.wire.worker import GenerateRequest, GenerationDefaults, WorkerSpec, WorkerState
from controlplane.demo.model.versions import assemble, find_version
from serving.process import Child, start_child

BATCH = 8
CLIENTS = 16
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
TARGET = 0.95
LARGEST_DIFFERENCE = 1.0
"""Mean difference of two pictures' channels, of 255, up to which they are the same: order of summation, no more."""

Way = Callable[["Seen", list[GenerateRequest]], None]


@dataclass
class Seen:
    """What one way of drawing took, round by round."""

    name: str
    pictures: int = 0
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)

    def to_document(self, per_round: int) -> dict[str, Any]:
        """Return medians over rounds."""
        return {
            "way": self.name,
            "pictures_per_s": round(per_round / statistics.median(self.wall_s), 2),
            "pictures_per_cpu_s": round(per_round / statistics.median(self.cpu_s), 2),
            "p50_s": round(self.quantile_s(0.5), 4),
            "p95_s": round(self.quantile_s(0.95), 4),
        }

    def quantile_s(self, share: float) -> float:
        """Return a quantile of the latencies (nearest rank)."""
        ordered = sorted(self.latencies_s)
        return ordered[math.ceil(share * len(ordered)) - 1]


def main() -> None:
    """Measure and print a table; exit status 1 when a worker draws less than 0.95 of what the bare pipeline draws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--pictures", type=int, default=32, help="pictures a round")
    parser.add_argument("--out", type=Path, default=Path("build/bench-serving"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        directory, defaults = assemble("good", folder / "good"), find_version("good").defaults
        ways = measure(directory, defaults, folder, rounds=options.rounds, pictures=options.pictures)
    rows, ratios = [way.to_document(options.pictures) for way in ways], compare(ways)
    for row in (*rows, ratios):
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "results.json").write_text(json.dumps({"rows": rows, "ratios": ratios}, indent=2) + "\n")
    sys.exit(ratios["one_at_a_time_over_bare"] < TARGET)


def measure(directory: Path, defaults: GenerationDefaults, folder: Path, *, rounds: int, pictures: int) -> list[Seen]:
    """Return what each way of drawing took; the first round of each is thrown away."""
    spec = WorkerSpec(
        version=VersionId("bench", 1),
        digest=make_manifest(directory).digest,
        directory=str(directory),
        defaults=defaults,
        limits=WorkerLimits(max_queue=256),
    )
    batching = spec.model_copy(
        update={"limits": WorkerLimits(max_batch_size=BATCH, batch_window_s=0.02, max_queue=256)}
    )
    bare = load_bare(directory)
    with worker(spec, folder) as one, worker(batching, folder) as many:
        for child in (one, many):
            expect_same_picture(bare, defaults, child)
        ways: list[tuple[Seen, Way]] = [
            (Seen("bare pipeline in a loop"), partial(draw_bare, bare, defaults)),
            (Seen("worker, one client, one at a time"), partial(draw_by, one, 1)),
            (Seen(f"worker, {CLIENTS} clients, one at a time"), partial(draw_by, one, CLIENTS)),
            (Seen(f"worker, {CLIENTS} clients, batches"), partial(draw_by, many, CLIENTS)),
        ]
        for number in range(rounds + 1):
            for seen, draw in ways:
                draw(seen, requests(number, pictures))
                if number == 0:
                    seen.wall_s.clear()
                    seen.cpu_s.clear()
                    seen.latencies_s.clear()
    return [seen for seen, _ in ways]


def compare(ways: Sequence[Seen]) -> dict[str, float]:
    """Return throughputs over one another, medians of the ratios within each round, and what batching does to p95.

    By CPU time, if nothing else is said.
    """
    bare, one, queued, batched = ways
    p95_s = [way.quantile_s(0.95) for way in (batched, queued)]
    return {
        "one_at_a_time_over_bare": _median_ratio(bare.cpu_s, one.cpu_s),
        "one_at_a_time_over_bare_by_wall": _median_ratio(bare.wall_s, one.wall_s),
        "batches_over_bare": _median_ratio(bare.cpu_s, batched.cpu_s),
        "batches_over_one_at_a_time": _median_ratio(queued.cpu_s, batched.cpu_s),
        "p95_batches_over_one_at_a_time": round(p95_s[0] / p95_s[1], 3),
    }


def _median_ratio(times_s: Sequence[float], others_s: Sequence[float]) -> float:
    return round(statistics.median(one / other for one, other in zip(times_s, others_s, strict=True)), 3)


def requests(number: int, pictures: int) -> list[GenerateRequest]:
    """Return the requests of one round: the same for every way."""
    rng = SeededRng(number)
    prompts = [f"the digits {rng.integer(10)} {rng.integer(10)} {rng.integer(10)}" for _ in range(pictures)]
    return [GenerateRequest(prompt=prompt, seed=rng.integer(2**31)) for prompt in prompts]


def load_bare(directory: Path) -> Any:
    """Return the pipeline as its library loads it."""
    import torch
    from diffusers import DiffusionPipeline

    torch.set_num_threads(1)
    pipeline = DiffusionPipeline.from_pretrained(directory, use_safetensors=True, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def expect_same_picture(pipeline: Any, defaults: GenerationDefaults, child: Child) -> None:
    """End unless a worker draws what the bare pipeline draws: only the same work may be compared."""
    import numpy as np
    from PIL import Image

    [request] = requests(0, 1)
    answer = httpx.post(
        worker_url(child), content=request.model_dump_json(exclude_none=True), timeout=120, trust_env=False
    )
    drawn = np.asarray(Image.open(io.BytesIO(answer.raise_for_status().content)).convert("RGB"), dtype=float)
    expected = np.asarray(draw_one(pipeline, defaults, request).convert("RGB"), dtype=float)
    if drawn.shape != expected.shape or np.abs(drawn - expected).mean() > LARGEST_DIFFERENCE:
        sys.exit("the worker draws another picture than the bare pipeline")


def draw_one(pipeline: Any, defaults: GenerationDefaults, request: GenerateRequest) -> Any:
    """Return one picture of the bare pipeline, not even encoded."""
    import torch

    settings = defaults.model_dump(exclude={"torch_dtype"})
    with torch.inference_mode():
        generator = torch.Generator("cpu").manual_seed(request.seed)
        return pipeline(request.prompt, generator=generator, **settings).images[0]


def draw_bare(pipeline: Any, defaults: GenerationDefaults, seen: Seen, wanted: list[GenerateRequest]) -> None:
    """Draw in this process, one after another, without even encoding the pictures."""
    begun_s, cpu_s = time.perf_counter(), _own_cpu_s()
    for request in wanted:
        one_s = time.perf_counter()
        draw_one(pipeline, defaults, request)
        seen.latencies_s.append(time.perf_counter() - one_s)
    seen.wall_s.append(time.perf_counter() - begun_s)
    seen.cpu_s.append(_own_cpu_s() - cpu_s)


def worker_url(child: Child) -> str:
    """Return where a worker is asked for a picture."""
    return f"http://127.0.0.1:{child.port}/generate"


def draw_by(child: Child, clients: int, seen: Seen, wanted: list[GenerateRequest]) -> None:
    """Have a worker draw for so many clients; CPU time is the worker's alone."""
    limits = httpx.Limits(max_connections=clients)
    url = worker_url(child)
    with httpx.Client(timeout=120, limits=limits, trust_env=False) as client, ThreadPoolExecutor(clients) as pool:

        def ask(request: GenerateRequest) -> float:
            one_s = time.perf_counter()
            answer = client.post(url, content=request.model_dump_json(exclude_none=True))
            answer.raise_for_status()
            return time.perf_counter() - one_s

        begun_s, cpu_s = time.perf_counter(), _cpu_s(child.process.pid)
        seen.latencies_s += pool.map(ask, wanted)
        seen.wall_s.append(time.perf_counter() - begun_s)
        seen.cpu_s.append(_cpu_s(child.process.pid) - cpu_s)


@contextmanager
def worker(spec: WorkerSpec, folder: Path) -> Iterator[Child]:
    """Run a worker while the block runs."""
    child = start_child("serving.worker.main", spec.model_dump_json(), folder / "worker.log")
    try:
        while True:
            health = httpx.get(f"http://127.0.0.1:{child.port}/health", timeout=60, trust_env=False).json()
            if health["state"] == WorkerState.FAILED:
                sys.exit(health["message"])
            if health["state"] == WorkerState.READY:
                break
            time.sleep(0.2)
        yield child
    finally:
        child.end()


def _own_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


if __name__ == "__main__":
    main()
