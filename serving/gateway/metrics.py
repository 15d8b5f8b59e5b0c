"""Prometheus: everything that was ever counted, made from the same tallies as the telemetry, at no cost per request."""

from collections.abc import Callable, Collection, Iterator
from copy import deepcopy
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from contracts.sketch import merge, upper_edge_s
from contracts.wire.worker import FailureReason
from serving.gateway.counting import AttemptKey, AttemptTally, RequestTally, Tick
from serving.gateway.exchange import UNKNOWN_SERVICE
from serving.gateway.lanes import DEFAULT_LANE
from serving.gateway.protocols.dialect import REFUSAL_STATUS
from serving.gateway.service import Service

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
NO_FAILURES = dict.fromkeys(map(str, FailureReason), 0)
REFUSALS = (*REFUSAL_STATUS, "policy.failed", "post-check.failed", "attempt.no-picture", "internal")
MOST_VERSIONS = MOST_SERVICES = 200
"""Versions and services whose counts are kept; beyond it those that the routing table no longer knows are forgotten."""

AttemptSeries = tuple[str, str, str, str]


@dataclass(slots=True)
class Totals:
    """Counts since the start: attempts by (service, version, lane, traffic), requests by (service, lane)."""

    attempts: dict[AttemptSeries, AttemptTally] = field(default_factory=dict)
    requests: dict[tuple[str, str], RequestTally] = field(default_factory=dict)
    refusals: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, tick: Tick) -> None:
        """Add a tick's counts."""
        for fields, tally in tick.attempts.items():
            key = AttemptKey(*fields)
            traffic = "mirror" if key.mirrored else "forced" if key.forced else "live"
            total = self.attempts.setdefault((key.service, key.version, key.lane, traffic), AttemptTally())
            for name in ("total", "latency_sum_s", "cancelled", "cold"):
                setattr(total, name, getattr(total, name) + getattr(tally, name))
            for name in ("bad", "slow", "latency", "queue"):
                setattr(total, name, merge([getattr(total, name), getattr(tally, name)]))
        for place, requests in tick.requests.items():
            known = self.requests.setdefault(place, RequestTally())
            for name in ("total", "bad", "fell_back", "cached", "cancelled"):
                setattr(known, name, getattr(known, name) + getattr(requests, name))
            known.reasons = merge([known.reasons, requests.reasons])
        for refusal, count in tick.refusals.items():
            self.refusals[refusal] = self.refusals.get(refusal, 0) + count

    def expect(self, services: Collection[Service]) -> None:
        """Begin at 0 whatever may be counted of the services: a rate needs a value from before the first failure."""
        for service in services:
            for lane in tuple(service.routes.lanes) or (DEFAULT_LANE,):
                self.requests.setdefault((service.name, lane), RequestTally())
                for version, traffic in _expected_traffic(service):
                    tally = self.attempts.setdefault((service.name, version, lane, traffic), AttemptTally())
                    for objective, _ in service.latency_thresholds_s:
                        tally.slow.setdefault(objective, 0)
        for name in (*(service.name for service in services), UNKNOWN_SERVICE):
            for reason in REFUSALS:
                self.refusals.setdefault((name, reason), 0)

    def forget_all_but(self, services: Collection[Service]) -> None:
        """Keep the label sets bounded, however many services and versions come and go."""
        versions = {str(version) for service in services for version in service.lines}
        names = {UNKNOWN_SERVICE, *(service.name for service in services)}
        if len({series[1] for series in self.attempts}) > MOST_VERSIONS:
            self.attempts = {series: tally for series, tally in self.attempts.items() if series[1] in versions}
        if len({name for name, _ in self.refusals.keys() | self.requests.keys()}) > MOST_SERVICES:
            self.requests = {series: tally for series, tally in self.requests.items() if series[0] in names}
            self.refusals = {series: count for series, count in self.refusals.items() if series[0] in names}


def _expected_traffic(service: Service) -> Iterator[tuple[str, str]]:
    """Yield the versions of a service with the kinds of traffic that they may get."""
    for version in service.lines:
        yield str(version), "live"
        if service.routes.force is not None:
            yield str(version), "forced"
    if service.challenger is not None and service.mirror_share:
        yield service.challenger.name, "mirror"


@dataclass(frozen=True)
class Gauges:
    """What the gateway holds at this moment."""

    services: Collection[Service]
    revision: int
    spooled_batches: int
    dropped_batches: int
    dropped_samples: int
    dropped_copies: int


class Metrics(Collector):
    """The gateway's own registry: nothing of other libraries is in it."""

    def __init__(self, live: Callable[[], Tick], gauges: Callable[[], Gauges]) -> None:
        self.totals = Totals()
        self._live, self._gauges = live, gauges
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def expose(self) -> bytes:
        """Return all metrics as text."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield every family; called by ``expose``."""
        totals = deepcopy(self.totals)
        gauges = self._gauges()
        totals.add(self._live())
        totals.expect(gauges.services)
        yield from _attempt_families(totals)
        yield from _request_families(totals)
        yield from _gauge_families(gauges)


def _attempt_families(totals: Totals) -> Iterator[Metric]:
    labels = ["service", "version", "lane", "traffic"]
    attempts = CounterMetricFamily("roost_gateway_attempts", "Attempts by outcome.", labels=[*labels, "outcome"])
    slow = CounterMetricFamily(
        "roost_gateway_slow_attempts", "Attempts later than an objective's threshold.", labels=[*labels, "objective"]
    )
    cold = CounterMetricFamily("roost_gateway_cold_attempts", "First attempts on a replica.", labels=labels)
    latency = HistogramMetricFamily("roost_gateway_attempt_latency_seconds", "Good attempts.", labels=labels)
    queue = HistogramMetricFamily("roost_gateway_queue_seconds", "Waiting for a replica.", labels=labels)
    for (service, version, lane, traffic), tally in totals.attempts.items():
        values = [service, version, lane, traffic]
        good = tally.total - sum(tally.bad.values())
        for outcome, count in {**NO_FAILURES, "good": good, "cancelled": tally.cancelled, **tally.bad}.items():
            attempts.add_metric([*values, outcome], count)
        for objective, count in tally.slow.items():
            slow.add_metric([*values, objective], count)
        cold.add_metric(values, tally.cold)
        latency.add_metric(values, _buckets(tally.latency), tally.latency_sum_s)
        queue.add_metric(values, _buckets(tally.waits()), _sum_s(tally.queue))
    yield from (attempts, slow, cold, latency, queue)


def _request_families(totals: Totals) -> Iterator[Metric]:
    labels = ["service", "lane"]
    requests = CounterMetricFamily("roost_gateway_requests", "Requests by what users got.", labels=[*labels, "outcome"])
    fallbacks = CounterMetricFamily("roost_gateway_fallbacks", "Requests that a fallback answered.", labels=labels)
    cached = CounterMetricFamily("roost_gateway_cached", "Requests answered from the cache.", labels=labels)
    for values, tally in totals.requests.items():
        outcomes = {**NO_FAILURES, "good": tally.total - tally.bad, "cancelled": tally.cancelled, **tally.reasons}
        for outcome, count in outcomes.items():
            requests.add_metric([*values, outcome], count)
        fallbacks.add_metric(list(values), tally.fell_back)
        cached.add_metric(list(values), tally.cached)
    refusals = CounterMetricFamily("roost_gateway_refusals", "Refused requests.", labels=["service", "reason"])
    for named, count in totals.refusals.items():
        refusals.add_metric(list(named), count)
    yield from (requests, fallbacks, cached, refusals)


def _gauge_families(gauges: Gauges) -> Iterator[Metric]:
    outstanding = GaugeMetricFamily(
        "roost_gateway_outstanding", "Requests on a replica.", labels=["service", "version", "replica"]
    )
    waiting = GaugeMetricFamily("roost_gateway_waiting", "Requests in the queue.", labels=["service", "version"])
    cache = GaugeMetricFamily("roost_gateway_cache_bytes", "Answers kept.", labels=["service"])
    for service in gauges.services:
        for version, line in service.lines.items():
            waiting.add_metric([service.name, str(version)], len(line.waiting))
            for replica in line.replicas:
                place = [service.name, str(version), replica.endpoint.replica]
                outstanding.add_metric(place, replica.outstanding)
        if service.cache is not None:
            cache.add_metric([service.name], service.cache.size_bytes)
    yield from (outstanding, waiting, cache)
    yield GaugeMetricFamily("roost_gateway_table_revision", "Routing table in force.", value=gauges.revision)
    yield GaugeMetricFamily("roost_gateway_spooled_batches", "Batches not fetched.", value=gauges.spooled_batches)
    yield CounterMetricFamily("roost_gateway_dropped_batches", "Lost unfetched.", value=gauges.dropped_batches)
    yield CounterMetricFamily("roost_gateway_dropped_samples", "Lost unfetched.", value=gauges.dropped_samples)
    yield CounterMetricFamily("roost_gateway_dropped_copies", "Copies not made.", value=gauges.dropped_copies)


def _buckets(sketch: dict[int, int]) -> list[tuple[str, float]]:
    """Return a sketch as cumulative counts below Prometheus' bounds; each is within 2 % of its bound."""
    counts = [(str(bound), sum(n for k, n in sketch.items() if upper_edge_s(k) <= bound * 1.02)) for bound in BOUNDS_S]
    return [*[(bound, float(count)) for bound, count in counts], ("+Inf", float(sum(sketch.values())))]


def _sum_s(sketch: dict[int, int]) -> float:
    return sum(count * upper_edge_s(bucket) for bucket, count in sketch.items())
