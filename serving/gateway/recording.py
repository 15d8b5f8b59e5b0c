"""Recording: what the gateway counted goes to the spool, the metrics, the access log and the traces."""

import asyncio
import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from contracts.clock import Clock
from contracts.wire.gateway import GatewaySpec
from contracts.wire.telemetry import TelemetryReply
from serving.gateway.access_log import AccessLog
from serving.gateway.counting import Counter
from serving.gateway.dispatch import Answer, Dispatcher
from serving.gateway.exchange import Exchange
from serving.gateway.intake import Intake
from serving.gateway.metrics import Gauges, Metrics
from serving.gateway.spool import BatchSpool, SampleQueue, reply
from serving.gateway.tracing import Traces, otlp_provider

TICK_S = 1.0


class Recorder:
    """Everything that is kept of the traffic. Disk is touched by one thread only, in the order of the calls."""

    def __init__(self, spec: GatewaySpec, counter: Counter, clock: Clock) -> None:
        state = Path(spec.state_directory)
        self._counter, self._clock = counter, clock
        self._spool = BatchSpool(state / "spool", limit_bytes=spec.spool_limit_bytes)
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._last_cut_s = clock.monotonic_s()
        self.samples = SampleQueue()
        self._revision = 0
        self._dispatcher: Dispatcher | None = None
        self.metrics = Metrics(lambda: counter.tick, self._gauges)
        self.log = AccessLog(Path(spec.access_log), prompts=spec.access_log_prompts) if spec.access_log else None
        self.traces = Traces(otlp_provider(spec.traces_to)) if spec.traces_to else None

    def follow(self, revision: int, dispatcher: Dispatcher) -> None:
        """Label what is counted from now on with the routing table's revision."""
        self._revision, self._dispatcher = revision, dispatcher
        self.metrics.totals.forget_all_but(dispatcher.services.values())

    def note(self, exchange: Exchange, intake: Intake, answers: list[Answer], start_s: float) -> None:
        """Log and trace a request that was served, where that is asked for."""
        if self.log is not None:
            self.log.note(intake, answers, exchange.status, time.perf_counter() - start_s, self._clock.now_s())
        if self.traces is not None:
            self.traces.record(exchange.headers, intake, answers, start_s)

    def note_gone(self, intake: Intake) -> None:
        """Log a request whose client went away before the answer."""
        if self.log is not None:
            self.log.note_gone(intake, self._clock.now_s())

    async def cut(self) -> None:
        """End the tick and put its batch into the spool."""
        self._last_cut_s = self._clock.monotonic_s()
        self.metrics.totals.add(self._counter.tick)
        batch = self._counter.cut(self._revision)
        # Shielded: whoever waits may be cancelled, but what was cut must reach the spool.
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._disk, self._spool.append, batch))

    async def hand_over(self, boot: str | None, batch: int, sample: int) -> bytes:
        """Forget what is acknowledged, and return the reply to a pull as JSON."""
        if boot == self._counter.boot:
            self.samples.acknowledge(sample)
        await self.cut()

        def answer() -> bytes:
            self._spool.acknowledge(boot, batch)
            told: TelemetryReply = reply(self._counter.boot, self._spool, self.samples)
            return told.model_dump_json(exclude_defaults=True).encode()

        return await asyncio.get_running_loop().run_in_executor(self._disk, answer)

    async def run(self) -> None:
        """Cut ticks while nobody fetches them, and write the log, until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            away = self._clock.monotonic_s() - self._last_cut_s >= TICK_S
            if away and not self._counter.tick.is_empty:
                await self.cut()
            if self.log is not None:
                await asyncio.get_running_loop().run_in_executor(self._disk, self.log.flush)

    async def close(self) -> None:
        """Keep what was counted last, and send the traces that are left."""
        with contextlib.suppress(asyncio.CancelledError):
            await self.cut()
        if self.log is not None:
            self.log.flush()
        if self.traces is not None:
            await asyncio.to_thread(self.traces.close)
        self._disk.shutdown()

    def _gauges(self) -> Gauges:
        return Gauges(
            services=self._dispatcher.services.values() if self._dispatcher is not None else (),
            revision=self._revision,
            spooled_batches=len(self._spool),
            dropped_batches=self._spool.dropped,
            dropped_samples=self.samples.dropped,
            dropped_copies=self._dispatcher.mirror.dropped if self._dispatcher is not None else 0,
        )
