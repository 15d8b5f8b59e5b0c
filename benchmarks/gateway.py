"""The gateway beside HAProxy doing the same routing, and Ray Serve's proxy if it is installed, in one run.

Run from the repository root::

    python -m benchmarks.gateway            # two minutes
    python -m benchmarks.gateway --quick    # half a minute

Needs ``haproxy`` and ``wrk`` (Debian's packages). The figure is requests per CPU-second of the proxy's own processes,
which a busy machine disturbs least; rounds alternate between the fronts, and each ratio is within one round.
"""

import argparse
import importlib.util
import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.gateway_peers import (
    PATH,
    Peer,
    command,
    gateway_peer,
    haproxy_peer,
    ray_peer,
    stub_workers,
    write_load,
)

WEIGHT, MIRROR_SHARE = 0.2, 0.1
UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True)
class Load:
    """What one run of wrk against one front showed."""

    requests: int
    errors: int
    cpu_s: float
    p50_s: float
    p99_s: float

    @property
    def per_cpu_s(self) -> float:
        """Requests per CPU-second."""
        return self.requests / max(self.cpu_s, 0.01)


@dataclass(frozen=True)
class Row:
    """One front over all rounds: medians, and the ratio to HAProxy within each round."""

    name: str
    per_cpu_s: float
    ratio: float
    ratio_low: float
    ratio_high: float
    added_p50_ms: float
    p50_ms: float
    p99_ms: float
    errors: int


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two short rounds")
    parser.add_argument("--out", type=Path, default=Path("build/bench-gateway"), help="where results.json goes")
    arguments = parser.parse_args()
    missing = [name for name in ("haproxy", "wrk") if command(name) is None]
    if missing:
        sys.exit(f"not installed: {', '.join(missing)} (Debian's packages)")
    rows = run(rounds=2 if arguments.quick else 7, seconds=2 if arguments.quick else 5)
    show(rows)
    if not has_ray():
        print("Ray Serve's proxy is not among them: the extra is not installed (pip install 'roost[ray]')")
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "results.json").write_text(json.dumps([asdict(row) for row in rows], indent=2))


def has_ray() -> bool:
    """Tell whether the extra ``ray`` is installed."""
    return importlib.util.find_spec("ray") is not None


def run(rounds: int, seconds: int) -> list[Row]:
    """Load each front in turn, ``rounds`` times."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        workers = stack.enter_context(stub_workers(folder))
        script = write_load(folder)
        peers = [
            stack.enter_context(haproxy_peer(folder, workers, WEIGHT)),
            stack.enter_context(gateway_peer(folder, workers, WEIGHT, mirror_share=MIRROR_SHARE)),
        ]
        if has_ray():
            peers.append(stack.enter_context(ray_peer()))
        direct = Peer("the stub itself", workers[0], PATH, ())
        for peer in peers:
            measure(peer, script, connections=16, seconds=1)
        busy: dict[str, list[Load]] = {peer.name: [] for peer in peers}
        calm: dict[str, list[float]] = {peer.name: [] for peer in peers}
        for _ in range(rounds):
            alone_s = measure(direct, script, connections=1, seconds=max(1, seconds // 2)).p50_s
            for peer in peers:
                busy[peer.name].append(measure(peer, script, connections=64, seconds=seconds))
                one = measure(peer, script, connections=1, seconds=max(1, seconds // 2))
                calm[peer.name].append(one.p50_s - alone_s)
        return [_row(peer.name, busy[peer.name], busy[peers[0].name], calm[peer.name]) for peer in peers]


def measure(peer: Peer, script: Path, *, connections: int, seconds: int) -> Load:
    """Run wrk against a front and read its processor time before and after."""
    before_s = peer.cpu_s()
    words = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script)]
    url = f"http://127.0.0.1:{peer.port}{peer.path}"
    text = subprocess.run([*words, url], capture_output=True, text=True, check=True).stdout
    cpu_s = peer.cpu_s() - before_s
    requests = int(_find(r"(\d+) requests in", text))
    not_ok = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    return Load(
        requests=requests,
        errors=int(not_ok[1]) if not_ok else 0,
        cpu_s=cpu_s,
        p50_s=_latency_s(text, "50%"),
        p99_s=_latency_s(text, "99%"),
    )


def show(rows: Sequence[Row]) -> None:
    """Print the table."""
    head = f"{'req/CPU-s':>10} {'of HAProxy [least-most]':>24} {'added p50':>10} {'p50 / p99, 64 conns':>21} err"
    print(f"{'':36} {head}")
    for row in rows:
        span = f"{row.ratio:.3f} [{row.ratio_low:.3f}-{row.ratio_high:.3f}]"
        busy = f"{row.p50_ms:.2f} / {row.p99_ms:.1f} ms"
        print(f"{row.name:36} {row.per_cpu_s:>10,.0f} {span:>24} {row.added_p50_ms:>7.3f} ms {busy:>21} {row.errors}")


def _row(name: str, loads: Sequence[Load], reference: Sequence[Load], added_s: Sequence[float]) -> Row:
    ratios = [load.per_cpu_s / other.per_cpu_s for load, other in zip(loads, reference, strict=True)]
    return Row(
        name=name,
        per_cpu_s=statistics.median(load.per_cpu_s for load in loads),
        ratio=statistics.median(ratios),
        ratio_low=min(ratios),
        ratio_high=max(ratios),
        added_p50_ms=1000 * statistics.median(added_s),
        p50_ms=1000 * statistics.median(load.p50_s for load in loads),
        p99_ms=1000 * statistics.median(load.p99_s for load in loads),
        errors=sum(load.errors for load in loads),
    )


def _latency_s(text: str, share: str) -> float:
    match = re.search(rf"{share}\s+([\d.]+)(us|ms|s)", text)
    if match is None:
        sys.exit(f"wrk's output has no {share}:\n{text}")
    return float(match[1]) * UNITS_S[match[2]]


def _find(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        sys.exit(f"wrk's output has no {pattern!r}:\n{text}")
    return match[1]


if __name__ == "__main__":
    main()
