"""Writes the history beside a ledger: telemetry by lane, scored outputs drawn by two versions, an alarm."""

import io
from pathlib import Path

from PIL import Image

from contracts.events import Event
from contracts.ids import VersionId
from contracts.sketch import bucket_of
from contracts.specs.monitor import MonitorSpec
from contracts.specs.service import ServiceSpec
from contracts.wire.routing import Endpoint, RoutingTable, ServiceRoutes, Split
from contracts.wire.telemetry import AttemptCounts, RequestCounts, SampledOutput, TelemetryBatch
from controlplane.settings import Settings
from controlplane.store.history import History, ScoredOutput
from tests.web.writer import load_spec

SERVICE, MODEL = "tags", "price-tags"
TICK_S = 10.0
QUICK_S, SLOW_S = 0.2, 0.9
"""What the champion's and the challenger's answers take."""
OOM_A_TICK = 1


def png(colour: tuple[int, int, int]) -> bytes:
    """Return a small picture."""
    out = io.BytesIO()
    Image.new("RGB", (16, 16), colour).save(out, "PNG")
    return out.getvalue()


def record_spec(home: Path, at_s: float) -> ServiceSpec:
    """Write down the service's spec with a monitor."""
    monitor = MonitorSpec(metric="text-accuracy", at_least=0.9)
    spec = load_spec().model_copy(update={"monitors": {"text-drop": monitor}})
    history = History(Settings(home).history_uri)
    history.record_spec(spec, at_s)
    history.close()
    return spec


def record_rollout(home: Path, challenger: int, begin_s: float, end_s: float, words: str, boot: str = "first") -> None:
    """Write what a rollout's traffic was, on two lanes; ``words`` stand wherever users or models write."""
    history = History(Settings(home).history_uri)
    for tick in range(int((end_s - begin_s) / TICK_S)):
        start_s = begin_s + tick * TICK_S
        attempts = [
            _attempts(version, lane, latency_s, oom)
            for lane in ("draft", "final")
            for version, latency_s, oom in ((1, QUICK_S, 0), (challenger, SLOW_S, OOM_A_TICK))
        ]
        requests = [RequestCounts(service=SERVICE, lane=lane, total=12, bad=OOM_A_TICK) for lane in ("draft", "final")]
        history.record(
            [
                TelemetryBatch(
                    gateway="g",
                    boot=f"{boot}-{challenger}",
                    sequence=tick,
                    start_s=start_s,
                    end_s=start_s + TICK_S,
                    table_revision=1,
                    attempts=tuple(attempts),
                    requests=tuple(requests),
                )
            ],
            [
                _scored(f"r-{boot}-{challenger}-{tick}", version, value, start_s, words)
                for version, value in ((1, 1.0), (challenger, max(0.5 - 0.01 * tick, 0.0)))
            ],
        )
    sentence = f"monitor text-drop: {words}"
    history.record_event(
        Event(code="monitor.alarm", at_s=end_s, subject=f"version/{MODEL}@{challenger}", message=sentence)
    )
    history.close()


def write_routes(home: Path, challenger: int, weight: float, *, ports: tuple[int, int] = (1, 2)) -> RoutingTable:
    """Write the gateway's table: the first version is champion, a rollout splits its traffic."""
    versions = VersionId(MODEL, 1), VersionId(MODEL, challenger)
    rollout_id = f"tags-{challenger}-abc{challenger}"
    split = Split(rollout_id=rollout_id, salt="12345678", challenger=versions[1], weight=weight)
    endpoints = {
        str(version): (Endpoint(replica=f"v{version.number}-0", url=f"http://127.0.0.1:{port}"),)
        for version, port in zip(versions, ports, strict=True)
    }
    routes = ServiceRoutes(service=SERVICE, champion=versions[0], split=split, endpoints=endpoints)
    table = RoutingTable(revision=7, fence=1, services={SERVICE: routes})
    folder = Settings(home).gateway_state
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "routing.json").write_text(table.model_dump_json())
    return table


def _attempts(version: int, lane: str, latency_s: float, oom: int) -> AttemptCounts:
    return AttemptCounts(
        service=SERVICE,
        version=VersionId(MODEL, version),
        replica=f"v{version}-0",
        lane=lane,
        total=6,
        bad={"oom": oom} if oom else {},
        latency_sum_s=(6 - oom) * latency_s,
        latency={bucket_of(latency_s): 6 - oom},
    )


def _scored(request_id: str, version: int, value: float, at_s: float, words: str) -> ScoredOutput:
    output = SampledOutput(
        request_id=request_id,
        service=SERVICE,
        version=VersionId(MODEL, version),
        lane="final",
        mirrored=version != 1,
        at_s=at_s,
        prompt=words,
        seed=4,
        image_png=png((40 * version, 10, 10)),
    )
    return ScoredOutput(output, "text-accuracy", value, reason=words)
