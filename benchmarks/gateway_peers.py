"""What the gateway's benchmark starts: a stub worker, HAProxy doing the same routing, the gateway itself, Ray Serve."""

import hashlib
import importlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.ids import VersionId
from contracts.specs.service import Cache, Fallback, Lane, PromptIntake, StickyKey
from contracts.wire.gateway import GatewaySpec
from contracts.wire.routing import Endpoint, RoutingTable, ServiceRoutes, Split
from serving.gateway.client import GatewayClient
from serving.process import start_child

TOKEN = "token-of-the-benchmark"
PATH = "/v1/images/generations"
CHAMPION, CHALLENGER = VersionId("stub", 1), VersionId("stub", 2)
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
HAPROXY_PATHS = "/usr/sbin:/usr/local/sbin"
DEFAULTS = """
global
  nbthread 1
  maxconn 4000
  log /dev/null local0
defaults
  mode http
  timeout connect 2s
  timeout client 30s
  timeout server 30s
  option http-buffer-request
"""
# The same routing as the gateway's: sticky by user, a share to the canary, its failures answered by the stable one.
ROUTING = """
frontend f
  bind 127.0.0.1:{port}
  http-request set-var(txn.key) req.body,json_query('$.user')
  http-request set-var(txn.key) req.body,json_query('$.prompt') if !{{ var(txn.key) -m found }}
  http-request set-var(txn.b) var(txn.key),crc32(1),mod(100)
  http-request set-var(txn.cut) str(cut),map_str_int({cut},0)
  use_backend canary if {{ var(txn.b),sub(txn.cut) -m int lt 0 }}
  default_backend stable
backend stable
  balance leastconn
  server s1 127.0.0.1:{stable} maxconn 512
backend canary
  retry-on conn-failure empty-response 503
  retries 2
  option redispatch 1
  use-server c1 if TRUE
  server c1 127.0.0.1:{canary} weight 1 maxconn 512
  server s1 127.0.0.1:{stable} weight 255 maxconn 512
"""


@dataclass(frozen=True)
class Peer:
    """A front under test: where it listens, on which path, and the processes whose CPU time is its cost."""

    name: str
    port: int
    path: str
    pids: tuple[int, ...]

    def cpu_s(self) -> float:
        """Return the processor time used so far, user and system."""
        return sum(_cpu_s(pid) for pid in self.pids)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def command(name: str) -> str | None:
    """Return where a program is, None when it isn't installed."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{HAPROXY_PATHS}")


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def haproxy(folder: Path, name: str, config: str) -> Iterator[int]:
    """Run HAProxy in the foreground; yields its process id."""
    file = folder / f"{name}.cfg"
    file.write_text(DEFAULTS + config)
    process = subprocess.Popen([str(command("haproxy")), "-db", "-q", "-f", str(file)])
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()


@contextmanager
def stub_workers(folder: Path) -> Iterator[tuple[int, int]]:
    """Run two workers that answer at once with the same small picture; yields their ports."""
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, format="PNG")
    picture = folder / "stub.png"
    picture.write_bytes(file.getvalue())
    ports = free_port(), free_port()
    binds = "".join(f"  bind 127.0.0.1:{port}\n" for port in ports)
    answer = f"  http-request return status 200 content-type image/png file {picture}\n"
    with haproxy(folder, "stub", "frontend f\n" + binds + answer):
        _await_port(ports[0])
        yield ports


@contextmanager
def haproxy_peer(folder: Path, workers: tuple[int, int], weight: float) -> Iterator[Peer]:
    """Run HAProxy with the same routing."""
    cut = folder / "cut.map"
    cut.write_text(f"cut {round(100 * weight)}\n")
    port = free_port()
    config = ROUTING.format(port=port, cut=cut, stable=workers[0], canary=workers[1])
    with haproxy(folder, "peer", config) as pid:
        _await_port(port)
        yield Peer("HAProxy, same routing", port, PATH, (pid,))


@contextmanager
def gateway_peer(folder: Path, workers: tuple[int, int], weight: float, *, mirror_share: float) -> Iterator[Peer]:
    """Run the gateway with every feature on: split, lanes, fallback, mirror, cache, policy, samples, access log."""
    spec = GatewaySpec(
        name="bench", control_token=TOKEN, state_directory=str(folder / "gateway"), access_log=str(folder / "access")
    )
    child = start_child("serving.gateway.main", spec.model_dump_json(), folder / "gateway.log")
    client = GatewayClient(f"http://127.0.0.1:{child.port}", TOKEN)
    try:
        client.push(routing_table(workers, weight, mirror_share))
        yield Peer("Roost's gateway, every feature on", child.port, PATH, (child.process.pid,))
    finally:
        client.close()
        child.end()


def routing_table(workers: tuple[int, int], weight: float, mirror_share: float) -> RoutingTable:
    """Return the routing table of the benchmark."""
    split = Split(rollout_id="r1", salt="saltsalt", challenger=CHALLENGER, weight=weight, mirror_share=mirror_share)
    rules = [{"mentions": ["forbidden", "not this"], "verdict": "deny", "reason": "not here"}]
    routes = ServiceRoutes(
        service="stub",
        champion=CHAMPION,
        split=split,
        sticky=StickyKey.USER,
        lanes={"draft": Lane(steps=8, max_concurrency=512), "final": Lane(steps=25, max_concurrency=512)},
        route=({"when": {"prompt_mentions": ["brand"]}, "lane": "final"},),
        fallback=Fallback.model_validate({"on": ["oom", "overload", "error"], "to": "champion"}),
        cache=Cache(),
        intake=PromptIntake.model_validate({"rules": rules}),
        score_sample=0.001,
        latency_thresholds_s={"fast": 0.1},
        endpoints={
            str(version): (
                Endpoint(replica=f"v{version.number}-0", url=f"http://127.0.0.1:{port}", max_concurrency=512),
            )
            for version, port in zip((CHAMPION, CHALLENGER), workers, strict=True)
        },
    )
    return RoutingTable(fence=1, revision=1, services={"stub": routes})


class NoOp:
    """A deployment that does nothing."""

    async def __call__(self, request: object) -> bytes:
        """Answer with as many bytes as the stub's picture."""
        return b"x" * 69


@contextmanager
def ray_peer() -> Iterator[Peer]:
    """Run Ray Serve's own HTTP proxy before a deployment that does nothing; needs the extra ``ray``."""
    os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")
    ray: Any = importlib.import_module("ray")
    serve: Any = importlib.import_module("ray.serve")

    port = free_port()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(serve.deployment(NoOp, max_ongoing_requests=512).bind(), route_prefix="/")
    try:
        yield Peer("Ray Serve's proxy, no-op deployment", port, "/", _ray_proxies())
    finally:
        serve.shutdown()
        ray.shutdown()


def _ray_proxies() -> tuple[int, ...]:
    """Return the processes of Ray's HTTP proxies; the replica's own time is not counted."""
    found = []
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            try:
                title = (directory / "cmdline").read_bytes()
            except OSError:
                continue
            if b"ProxyActor" in title:
                found.append(int(directory.name))
    return tuple(found)


def write_load(folder: Path) -> Path:
    """Write wrk's script: 512 different requests of 50 users, one after another."""
    bodies = [
        json.dumps(
            {
                "model": "stub",
                "user": f"user-{i % 50}",
                "size": "64x32",
                "prompt": f"a price tag of {_digits(i)} crowns",
            }
        )
        for i in range(512)
    ]
    script = folder / "load.lua"
    quoted = ",\n".join(f"[==[{body}]==]" for body in bodies)
    script.write_text(
        f"local bodies = {{\n{quoted}\n}}\nlocal i = 0\n"
        'wrk.method = "POST"\nwrk.headers["content-type"] = "application/json"\n'
        "request = function()\n  i = i % #bodies + 1\n  return wrk.format(nil, nil, nil, bodies[i])\nend\n"
    )
    return script


def _digits(index: int) -> str:
    return str(int(hashlib.blake2b(b"%d" % index, digest_size=4).hexdigest(), 16) % 10_000)


def _await_port(port: int) -> None:
    deadline_s = time.monotonic() + 10
    while time.monotonic() < deadline_s:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit(f"nobody listens on {port}")
