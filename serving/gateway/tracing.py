"""OpenTelemetry traces: request, queue, attempt and fallback, written when the answer is known. Off by default."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from contracts.errors import InvalidInput
from serving.gateway.attempts import Attempt
from serving.gateway.dispatch import Answer
from serving.gateway.intake import Intake

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

NS_PER_S = 1_000_000_000


def otlp_provider(endpoint: str) -> "TracerProvider":
    """Return what sends spans to an OTLP endpoint in the background.

    Raises:
        InvalidInput: when the ``traces`` extra isn't installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise InvalidInput("traces_to: traces need more packages", hint="install roost[traces]") from None
    provider = TracerProvider(resource=Resource.create({"service.name": "roost-gateway"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return provider


class Traces:
    """Turns served requests into spans, under the client's trace if its headers name one."""

    def __init__(self, provider: "TracerProvider") -> None:
        self._provider = provider
        self._tracer: Tracer = provider.get_tracer("roost.gateway")

    def record(self, headers: Mapping[bytes, bytes], intake: Intake, answers: list[Answer], start_s: float) -> None:
        """Write the spans of one request; ``start_s`` is on the clock of ``perf_counter``."""
        from opentelemetry.trace import SpanKind, set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier = {"traceparent": headers.get(b"traceparent", b"").decode("latin-1")}
        parent = TraceContextTextMapPropagator().extract(carrier)
        offset_ns = time.time_ns() - time.perf_counter_ns()
        span = self._tracer.start_span(
            "roost.request",
            parent,
            kind=SpanKind.SERVER,
            start_time=int(start_s * NS_PER_S) + offset_ns,
            attributes={
                "roost.service": intake.service.name,
                "roost.lane": intake.lane,
                "roost.request_id": intake.request_id,
                "roost.pictures": len(answers),
                "roost.cached": all(answer.cached for answer in answers),
            },
        )
        context = set_span_in_context(span)
        for answer in answers:
            if answer.cached:
                continue
            if answer.fell_back_from is not None:
                self._record_attempt("roost.attempt", answer.fell_back_from, context, offset_ns)
                self._record_attempt("roost.fallback", answer.attempt, context, offset_ns)
            else:
                self._record_attempt("roost.attempt", answer.attempt, context, offset_ns)
        span.end()

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()

    def _record_attempt(self, name: str, attempt: Attempt, context: "Context", offset_ns: int) -> None:
        from opentelemetry.trace import Status, StatusCode

        start_ns = int(attempt.start_s * NS_PER_S) + offset_ns
        asked_ns = start_ns + int(attempt.queue_s * NS_PER_S)
        self._tracer.start_span("roost.queue", context, start_time=start_ns).end(asked_ns)
        attributes = {"roost.version": attempt.version, "roost.replica": attempt.replica}
        span = self._tracer.start_span(name, context, start_time=asked_ns, attributes=attributes)
        if attempt.failure is not None:
            span.set_status(Status(StatusCode.ERROR, f"{attempt.failure}: {attempt.message}"[:200]))
        span.end(start_ns + int(attempt.latency_s * NS_PER_S))
